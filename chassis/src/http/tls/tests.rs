use super::*;
use crate::testing::TestCertificate;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Returns TLS with a certificate, its metrics, and the directory of its files.
fn opened(certificate: &TestCertificate) -> (Arc<Tls>, TlsMetrics, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let metrics = TlsMetrics::new(&Metrics::default());
    let tls = Tls::open(&certificate.write(dir.path()), metrics.clone()).unwrap().unwrap();
    (tls, metrics, dir)
}

/// Starts a server whose connections end after their handshakes.
async fn serve(tls: &Arc<Tls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, tls) = (listener.local_addr().unwrap(), Arc::clone(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = Arc::clone(&tls);
            tokio::spawn(
                async move { tls.open_connection(stream, &CancellationToken::new()).await },
            );
        }
    });
    addr
}

#[tokio::test]
async fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
    let [old, new] = [TestCertificate::until(2040, 1, 1), TestCertificate::until(2050, 1, 1)];
    let (tls, metrics, dir) = opened(&old);
    let addr = serve(&tls).await;
    assert!(old.connect(addr).await.is_ok());
    let ends = metrics.expiry.get();

    // A Secret is replaced by changing a link, so for a moment the files may be of two certificates, or not there.
    std::fs::write(dir.path().join("tls.crt"), &new.certificate).unwrap();
    tls.look().await;
    assert_eq!(metrics.reload_failures.get(), 0);
    for _ in 0..3 {
        tls.look().await;
        assert_eq!(metrics.reload_failures.get(), 1, "it is counted and logged once");
    }
    assert!(old.connect(addr).await.is_ok());
    std::fs::remove_file(dir.path().join("tls.key")).unwrap();
    tls.look().await;
    tls.look().await;
    assert_eq!(metrics.reload_failures.get(), 2);

    new.write(dir.path());
    tls.look().await;
    assert!(new.connect(addr).await.is_ok() && old.connect(addr).await.is_err());
    assert!(metrics.expiry.get() > ends);
    old.write(dir.path());
    tls.look().await;
    assert!(old.connect(addr).await.is_ok());
    assert_eq!(metrics.reload_failures.get(), 2);
}

#[tokio::test]
async fn a_link_to_another_directory_is_followed() {
    let [old, new] = [TestCertificate::lasting(), TestCertificate::lasting()];
    let dir = tempfile::tempdir().unwrap();
    for (name, certificate) in [("1", &old), ("2", &new)] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        certificate.write(&dir.path().join(name));
    }
    let link = dir.path().join("..data");
    std::os::unix::fs::symlink("1", &link).unwrap();
    let file = |name| Some(link.join(name));
    let files = TlsFiles { tls_certificate: file("tls.crt"), tls_key: file("tls.key") };
    let tls = Tls::open(&files, TlsMetrics::default()).unwrap().unwrap();
    let addr = serve(&tls).await;
    assert!(old.connect(addr).await.is_ok());
    std::os::unix::fs::symlink("2", dir.path().join("..tmp")).unwrap();
    std::fs::rename(dir.path().join("..tmp"), &link).unwrap();
    tls.look().await;
    assert!(new.connect(addr).await.is_ok());
}

#[test]
fn files_that_cannot_be_used_are_named_and_a_key_is_not_shown() {
    let (dir, good) = (tempfile::tempdir().unwrap(), TestCertificate::lasting());
    let other = TestCertificate::lasting();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let refused = |certificate: &str, key: &str| {
        let pair = TestCertificate { certificate: certificate.into(), key: key.into() };
        let error = Tls::open(&pair.write(dir.path()), TlsMetrics::default()).unwrap_err();
        let line = error.to_string();
        assert!(!line.contains('\n') && !line.contains("MI"), "{line}");
        (error.setting, line)
    };
    for (certificate, key, setting, why) in [
        ("", &*good.key, "TLS_CERTIFICATE", "no certificate"),
        (&*good.key, &*good.key, "TLS_CERTIFICATE", "no certificate"),
        (broken, &*good.key, "TLS_CERTIFICATE", "broken"),
        (&*good.certificate, "", "TLS_KEY", "no private key"),
        (&*good.certificate, &*good.certificate, "TLS_KEY", "no private key"),
        (&*good.certificate, encrypted, "TLS_KEY", "without a password"),
        (&*good.certificate, &good.key[..good.key.len() / 2], "TLS_KEY", "no private key"),
        (&*good.certificate, &*other.key, "TLS_KEY", "another certificate"),
    ] {
        let (named, line) = refused(certificate, key);
        assert!(named == setting && line.contains(why), "{line}");
    }
    let both = good.write(dir.path());
    let open = |files: TlsFiles| Tls::open(&files, TlsMetrics::default()).unwrap_err();
    let one = open(TlsFiles { tls_key: None, ..both.clone() });
    assert_eq!(one.setting, "TLS_KEY");
    let one = open(TlsFiles { tls_certificate: None, ..both.clone() });
    assert_eq!(one.setting, "TLS_CERTIFICATE");
    let pasted = open(TlsFiles { tls_key: Some(good.key.clone().into()), ..both.clone() });
    assert!(pasted.setting == "TLS_KEY" && !pasted.why.contains("MI"), "{pasted}");
    let missing = open(TlsFiles { tls_key: Some("/no/such/key".into()), ..both });
    assert!(missing.to_string().contains("/no/such/key"), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_begins_nothing_is_given_up() {
    let (tls, metrics, _dir) = opened(&TestCertificate::lasting());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (running, stopped) = (CancellationToken::new(), CancellationToken::new());
    stopped.cancel();
    for (stop, bound) in [(running, TLS_HANDSHAKE_TIMEOUT), (stopped, DRAIN_IDLE_TIMEOUT)] {
        let _client = std::net::TcpStream::connect(addr).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let began = Instant::now();
        assert!(tls.open_connection(stream, &stop).await.is_none());
        let took = began.elapsed();
        assert!(took >= bound && took < bound + Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(metrics.handshake_failures.get(), 2);
}
