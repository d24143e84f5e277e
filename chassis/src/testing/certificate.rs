//! Certificates for servers on loopback, and clients that trust them.

use crate::base::config::TlsFiles;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate for `localhost` and 127.0.0.1, signed by its own key, in PEM form.
#[derive(Clone, Debug)]
pub struct TestCertificate {
    pub certificate: String,
    pub key: String,
}

impl TestCertificate {
    /// Returns one that lasts for longer than the test.
    pub fn lasting() -> Self {
        Self::until(2099, 12, 31)
    }

    /// Returns one that ends at the beginning of this day.
    pub fn until(year: i32, month: u8, day: u8) -> Self {
        let names = ["localhost", "127.0.0.1"].map(String::from);
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a key can sign");
        Self { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes both into `dir`, in place of others that are there, and returns their paths.
    pub fn write(&self, dir: &Path) -> TlsFiles {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a file can be written");
            Some(path)
        };
        TlsFiles {
            tls_certificate: write("tls.crt", &self.certificate),
            tls_key: write("tls.key", &self.key),
        }
    }

    /// Connects to a server. Fails unless it has this certificate.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let certificate = certificate.expect("it is a certificate");
        roots.add(certificate).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::IpAddress(addr.ip().into());
        let stream = TcpStream::connect(addr).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
