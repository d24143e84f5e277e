//! A certificate and its key, out of two PEM files.

use crate::base::config::{InvalidSetting, TLS_CERTIFICATE, TLS_KEY};
use crate::http::tls::validity;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};

/// The paths of the two files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What the two files hold. It has no `Debug`: one is a key.
pub(super) struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What TLS uses of them.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// When the certificate ends, in seconds since 1970.
    pub(super) ends: f64,
}

impl Files {
    /// Returns what the files hold.
    pub(super) async fn read(&self) -> Result<Content, InvalidSetting> {
        let certificate = tokio::fs::read(&self.certificate).await;
        let key = tokio::fs::read(&self.key).await;
        self.content(certificate, key)
    }

    /// Does the same, and blocks meanwhile: for the start of the process.
    pub(super) fn read_at_start(&self) -> Result<Content, InvalidSetting> {
        self.content(std::fs::read(&self.certificate), std::fs::read(&self.key))
    }

    fn content(
        &self,
        certificate: std::io::Result<Vec<u8>>,
        key: std::io::Result<Vec<u8>>,
    ) -> Result<Content, InvalidSetting> {
        let unread = |setting, path: &Path, error: &std::io::Error| {
            invalid(setting, path, &format!("{error}; it is a PEM file"))
        };
        Ok(Content {
            certificate: certificate
                .map_err(|error| unread(TLS_CERTIFICATE, &self.certificate, &error))?,
            key: key.map_err(|error| unread(TLS_KEY, &self.key, &error))?,
        })
    }
}

impl Content {
    /// Returns a digest of both.
    pub(super) fn digest(&self) -> Vec<u8> {
        let digests = [&self.certificate, &self.key].map(|file| Sha256::digest(file).to_vec());
        digests.concat()
    }
}

/// Returns the cryptography that TLS uses: the same as that of TLS to Postgres.
pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Returns the certificate and the key in `content`, which is that of `files`. Errors say nothing of what is in the key file.
pub(super) fn load(files: &Files, content: &Content) -> Result<Loaded, InvalidSetting> {
    let certificate = |why: &str| invalid(TLS_CERTIFICATE, &files.certificate, why);
    let key = |why: &str| invalid(TLS_KEY, &files.key, why);
    let chain = CertificateDer::pem_slice_iter(&content.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.unwrap_or_default();
    let first = chain.first().ok_or_else(|| certificate("it has no certificate in PEM form"))?;
    let ends =
        validity::end(first).ok_or_else(|| certificate("its first certificate is broken"))?;
    let private = PrivateKeyDer::from_pem_slice(&content.key)
        .map_err(|_| key("it has no private key in PEM form without a password"))?;
    let private = provider().key_provider.load_private_key(private);
    let private = private.map_err(|_| key("its key is neither RSA nor ECDSA nor Ed25519"))?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => return Err(key("it is the key of another certificate")),
        Err(_) => return Err(certificate("its first certificate is broken")),
    }
    #[expect(clippy::cast_precision_loss, reason = "a time that a metric shows")]
    let ends = ends as f64;
    Ok(Loaded { key: Arc::new(certified), ends })
}

/// Returns the error for a file.
fn invalid(setting: &'static str, path: &Path, why: &str) -> InvalidSetting {
    InvalidSetting { setting, why: format!("{}: {why}", path.display()) }
}
