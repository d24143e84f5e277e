# One image for each process of the shop, by its name:
#   docker build --build-arg SERVICE=cart -t gifticon/cart .
# SERVICE is a service, gateway or standalone. The stages before the last are the same for all.

# Dependencies are compiled in a layer of their own. It needs the manifests, the settings of cargo, an empty crate for each manifest,
# and an empty file for each test that a manifest names. It is reused while these are the same.
FROM rust:1.95-bookworm AS manifests
WORKDIR /src
COPY . .
RUN find . -type f -not -name Cargo.toml -not -name Cargo.lock -not -path './.cargo/*' -delete && \
    for manifest in */Cargo.toml tools/*/Cargo.toml; do \
      crate=$(dirname "$manifest") && mkdir -p "$crate/src" "$crate/tests" && touch "$crate/src/lib.rs" && \
      echo 'fn main() {}' >"$crate/src/main.rs" && \
      sed -n '/^\[\[test\]\]/,/^name/s/^name = "\(.*\)"/\1/p' "$manifest" >/tmp/tests && \
      while read -r test; do touch "$crate/tests/$test.rs" || exit 1; done </tmp/tests || exit 1; \
    done

# FEATURES adds TLS, SCRAM and OAUTHBEARER to Kafka. They need OpenSSL, which is built with perl and make; this image has both.
# TRAIN=yes makes standalone and gateway faster, and the build take more than twice as long: docs/decisions/0052-images-may-be-trained.md.
FROM rust:1.95-bookworm AS build
ARG FEATURES=kafka-tls
ARG TRAIN=no
WORKDIR /src
COPY --from=manifests /src .
RUN [ "$TRAIN" = yes ] || \
    cargo build --profile dist --locked --bins --features "$FEATURES" --workspace --exclude chaos --exclude bench
COPY . .
# The empty crates are newer than the files that were just copied: without touch, cargo would keep them.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + && \
    if [ "$TRAIN" = yes ]; then \
      rustup component add llvm-tools && tools/train cart gateway gifticon mypage payment standalone && \
      rm -rf target/dist && mv target/trained/dist target/; \
    else \
      cargo build --profile dist --locked --bins --features "$FEATURES" --workspace --exclude chaos --exclude bench; \
    fi && \
    mkdir /data
# The root of an image holds the libraries that the programs are linked to, the certificates that TLS trusts, and the order in
# which names are looked up. It has no shell, and no package that could need a security update.
RUN mkdir -p /image/etc/ssl/certs && \
    find target/dist -maxdepth 1 -type f -executable -exec ldd {} \; >linked && \
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
COPY --from=build /src/target/dist/${SERVICE} /usr/local/bin/service
# A process on SQLite keeps its files here, and its temporary files too, such as those of the migration of a large table. The rest
# of the file system may be read-only.
COPY --from=build --chown=10001:10001 /data /data
ENV LISTEN_ADDR=0.0.0.0:8080 GATEWAY_ADDR=0.0.0.0:8080 MANAGEMENT_ADDR=0.0.0.0:9080 DATA_DIR=/data SQLITE_TMPDIR=/data
# The allocator returns what it no longer needs to the kernel: docs/decisions/0023-mimalloc.md.
ENV MIMALLOC_GENERIC_COLLECT=100 MIMALLOC_PURGE_DELAY=100
USER 10001:10001
EXPOSE 8080 9080
ENTRYPOINT ["/usr/local/bin/service"]
