//! TLS at a listener: handshakes, and a certificate that is read again when its files change.
//!
//! The files are read by their paths at each look, since Kubernetes replaces those of a Secret by changing a link above them.

mod certificate;
mod validity;

use crate::base::config::{InvalidSetting, TlsFiles};
use crate::base::limits::{DRAIN_IDLE_TIMEOUT, TLS_HANDSHAKE_TIMEOUT};
use crate::base::metrics::{Counter, Gauge, Metrics};
use certificate::{Files, Loaded};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The first byte of a handshake: the content type of its record (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// TLS at the public address of a process.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    current: Arc<Current>,
    looks: Mutex<Looks>,
    config: Arc<ServerConfig>,
    metrics: TlsMetrics,
}

/// The certificate that handshakes get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

/// What the looks at the files have found.
#[derive(Debug)]
struct Looks {
    /// The digest of the content that is used.
    used: Vec<u8>,
    /// Why the last look found nothing that can be used, and whether that was logged.
    failed: Option<(String, bool)>,
}

/// What a client began with.
pub(super) enum Opening {
    /// A handshake that succeeded.
    Encrypted(Box<TlsStream<TcpStream>>),
    /// Something else, most likely plain HTTP.
    Plain(TcpStream),
}

/// The metrics of TLS, which a process without TLS has too.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsMetrics {
    expiry: Gauge<f64, AtomicU64>,
    reload_failures: Counter,
    handshake_failures: Counter,
}

impl TlsMetrics {
    /// Returns the metrics, registered.
    pub(crate) fn new(registry: &Metrics) -> Self {
        let metrics = Self::default();
        metrics.expiry.set(f64::NAN);
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate in use ends; NaN without TLS",
            metrics.expiry.clone(),
        );
        registry.register(
            "tls_certificate_reload_failures",
            "Changed certificate files that could not be used",
            metrics.reload_failures.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before their handshake did",
            metrics.handshake_failures.clone(),
        );
        metrics
    }
}

impl Tls {
    /// Returns TLS with the certificate in `files`, or `None` if they are not set. Fails if they cannot be used.
    pub(crate) fn open(
        files: &TlsFiles,
        metrics: TlsMetrics,
    ) -> Result<Option<Arc<Self>>, InvalidSetting> {
        let Some((certificate, key)) = files.paths()? else { return Ok(None) };
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let content = files.read_at_start()?;
        let Loaded { key, ends } = certificate::load(&files, &content)?;
        metrics.expiry.set(ends);
        let current = Arc::new(Current(RwLock::new(key)));
        let config = server_config(Arc::clone(&current));
        let config = config.map_err(|error| InvalidSetting {
            setting: crate::base::config::TLS_CERTIFICATE,
            why: format!("TLS cannot be set up: {error}"),
        })?;
        let looks = Mutex::new(Looks { used: content.digest(), failed: None });
        Ok(Some(Arc::new(Self { files, current, looks, config: Arc::new(config), metrics })))
    }

    /// Looks at the files now and then, for ever.
    pub(crate) async fn follow_files(&self) {
        loop {
            sleep(LOOK_INTERVAL).await;
            self.look().await;
        }
    }

    /// Takes what is in the files, if it has changed and can be used.
    ///
    /// What cannot be used is logged at the second look that finds it: the two files may change one after the other.
    async fn look(&self) {
        let content = self.files.read().await;
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match content {
            Ok(content) if content.digest() == looks.used => {
                looks.failed = None;
                return;
            }
            Ok(content) => {
                let loaded = certificate::load(&self.files, &content);
                loaded.map(|loaded| (loaded, content.digest()))
            }
            Err(error) => Err(error),
        };
        match loaded {
            Ok((Loaded { key, ends }, digest)) => {
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = key;
                self.metrics.expiry.set(ends);
                *looks = Looks { used: digest, failed: None };
                info!(ends, "new connections get the certificate that is in the files now");
            }
            Err(error) => {
                let cause = error.to_string();
                match &mut looks.failed {
                    Some((before, logged)) if *before == cause => {
                        if !*logged {
                            *logged = true;
                            self.metrics.reload_failures.inc();
                            warn!(
                                cause,
                                "the files of TLS have changed and cannot be used; the certificate from before stays"
                            );
                        }
                    }
                    failed => *failed = Some((cause, false)),
                }
            }
        }
    }

    /// Returns what a client begins with, or `None` if it began nothing in time or its handshake failed.
    pub(super) async fn open_connection(
        &self,
        stream: TcpStream,
        stop: &CancellationToken,
    ) -> Option<Opening> {
        let open = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if first[0] != HANDSHAKE_RECORD {
                return Ok(Opening::Plain(stream));
            }
            let encrypted = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
            Ok::<_, std::io::Error>(Opening::Encrypted(Box::new(encrypted)))
        };
        let drained = async {
            stop.cancelled().await;
            sleep(DRAIN_IDLE_TIMEOUT).await;
        };
        let failed = tokio::select! {
            opened = timeout(TLS_HANDSHAKE_TIMEOUT, open) => match opened {
                Ok(Ok(opening)) => return Some(opening),
                Ok(Err(error)) => error.to_string(),
                Err(late) => late.to_string(),
            },
            () = drained => "the process stops".to_owned(),
        };
        self.metrics.handshake_failures.inc();
        debug!(why = failed, "a connection ended before its handshake did");
        None
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Returns the configuration of handshakes: TLS 1.2 and 1.3, HTTP/1.1, sessions that resume by tickets.
fn server_config(current: Arc<Current>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(certificate::provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests;
