# One image for each process of the shop, by its name:
#   docker build --build-arg SERVICE=cart -t gifticon/cart .
# SERVICE is gifticon, cart, payment, mypage, gateway or standalone. The first stage is the same for all.

# The features: TLS, SCRAM and OAUTHBEARER to Kafka, for which OpenSSL is built with perl and make; this image has both.
FROM rust:1.95-bookworm AS build
ARG FEATURES=gifticon/kafka-tls,cart/kafka-tls,payment/kafka-tls,mypage/kafka-tls,standalone/kafka-tls
WORKDIR /src
# What others wrote is compiled in a layer of its own, which stays until Cargo.lock changes: with the
# manifests and empty crates, and an empty file for each test that a manifest names.
COPY Cargo.toml Cargo.lock ./
COPY common-events/Cargo.toml common-events/
COPY chassis/Cargo.toml chassis/
COPY gifticon/Cargo.toml gifticon/
COPY cart/Cargo.toml cart/
COPY payment/Cargo.toml payment/
COPY mypage/Cargo.toml mypage/
COPY gateway/Cargo.toml gateway/
COPY standalone/Cargo.toml standalone/
COPY tools/chaos/Cargo.toml tools/chaos/
COPY tools/bench/Cargo.toml tools/bench/
RUN for manifest in */Cargo.toml tools/*/Cargo.toml; do \
      crate=$(dirname "$manifest") && mkdir "$crate/src" && touch "$crate/src/lib.rs" && \
      echo 'fn main() {}' >"$crate/src/main.rs"; \
    done && \
    mkdir standalone/tests && touch standalone/tests/failpoints.rs && touch standalone/tests/kafka_tls.rs && \
    cargo build --release --locked --bins --features "$FEATURES" -p gifticon -p cart -p payment -p mypage -p gateway -p standalone
COPY . .
# The empty crates are younger than what was just copied.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + && \
    cargo build --release --locked --bins --features "$FEATURES" -p gifticon -p cart -p payment -p mypage -p gateway -p standalone && \
    mkdir /data
# The root of an image: the libraries that the programs are linked to, the certificates that TLS trusts, and where
# names are looked up. Nothing else, so there is no shell in it and no package that could need a patch.
RUN mkdir -p /image/etc/ssl/certs && \
    for service in gifticon cart payment mypage gateway standalone; do ldd "target/release/$service"; done >linked && \
    ! grep 'not found' linked && grep -o '/[^ ]*' linked >libraries && \
    while read -r library; do install -D "$library" "/image$library" || exit 1; done <libraries && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
    echo 'hosts: files dns' >/image/etc/nsswitch.conf

FROM scratch
ARG SERVICE
LABEL org.opencontainers.image.title="gifticon ${SERVICE}" \
      org.opencontainers.image.description="Mobile gift vouchers out of a limited stock: ${SERVICE}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /image /
COPY --from=build /src/target/release/${SERVICE} /usr/local/bin/service
# Only what runs on SQLite keeps files, and spills there what is too much for its memory, as when a large table is
# migrated. Everything else of the system may be read-only.
COPY --from=build --chown=10001:10001 /data /data
ENV LISTEN_ADDR=0.0.0.0:8080 GATEWAY_ADDR=0.0.0.0:8080 MANAGEMENT_ADDR=0.0.0.0:9080 DATA_DIR=/data SQLITE_TMPDIR=/data
USER 10001:10001
EXPOSE 8080 9080
ENTRYPOINT ["/usr/local/bin/service"]
