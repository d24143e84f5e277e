//! Where services have their data: a directory, or Kafka and Postgres.

use chaos::servers::Servers;
use chassis::base::config::DatabaseUrl;
use std::path::Path;
use tempfile::TempDir;

/// Where services have their data.
pub(crate) enum Storage {
    Dir(TempDir),
    Servers(Servers),
}

impl Storage {
    pub(crate) fn new(real: bool) -> anyhow::Result<Self> {
        Ok(if real {
            Self::Servers(Servers::start_to_measure()?)
        } else {
            Self::Dir(tempfile::tempdir()?)
        })
    }

    /// Returns the URL of the database of a service.
    pub(crate) fn database(&self, service: &str) -> anyhow::Result<DatabaseUrl> {
        let url = match self {
            Self::Dir(dir) => database_in(dir.path(), service),
            Self::Servers(servers) => servers.database(service),
        };
        url.parse().map_err(anyhow::Error::msg)
    }
}

/// Returns the URL of the SQLite database of a service in a directory.
pub(crate) fn database_in(dir: &Path, service: &str) -> String {
    format!("sqlite:{}", dir.join(format!("{service}.db")).display())
}
