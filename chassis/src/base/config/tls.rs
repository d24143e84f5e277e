//! The settings of TLS to clients.

use crate::base::config::invalid::{InvalidSetting, unusable};
use std::path::{Path, PathBuf};

/// The names of the settings, for errors.
pub(crate) const TLS_CERTIFICATE: &str = "TLS_CERTIFICATE";
pub(crate) const TLS_KEY: &str = "TLS_KEY";

/// The files with the certificate of a server and its key.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TlsFiles {
    /// PEM file of the certificate for HTTPS, followed by those between it and its CA; unset serves plain HTTP
    #[arg(long, env)]
    pub tls_certificate: Option<PathBuf>,

    /// PEM file of the key of that certificate
    #[arg(long, env)]
    pub tls_key: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns the paths of the certificate and of the key, or `None` if neither is set.
    pub(crate) fn paths(&self) -> Result<Option<(&Path, &Path)>, InvalidSetting> {
        match (&self.tls_certificate, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(unusable(TLS_KEY, "it is missing, and TLS_CERTIFICATE needs it"))
            }
            (None, Some(_)) => {
                Err(unusable(TLS_CERTIFICATE, "it is missing, and TLS_KEY needs it"))
            }
            (Some(certificate), Some(key)) => {
                for (setting, path) in [(TLS_CERTIFICATE, certificate), (TLS_KEY, key)] {
                    refuse_content(setting, path)?;
                }
                Ok(Some((certificate, key)))
            }
        }
    }
}

/// Refuses the content of a PEM file where its path belongs, without showing it: it may be a key.
pub(super) fn refuse_content(setting: &'static str, path: &Path) -> Result<(), InvalidSetting> {
    if path.to_string_lossy().contains("-----BEGIN") {
        return Err(unusable(setting, "it is the path of a PEM file, not what is in the file"));
    }
    Ok(())
}
