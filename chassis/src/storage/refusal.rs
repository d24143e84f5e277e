//! The problems of requests whose database work failed.

use crate::base::problem::{Problem, kind};
use crate::base::unavailable::Unavailable;
use crate::storage::fault::is_database_fault;
use tracing::debug;

/// For a failed read. A database that is away or full recovers, and readers become free: the client may try again.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            Unavailable::Overloaded { at: "readers" }.into()
        } else if is_database_fault(&error) {
            debug!(%error, "a read failed"); // `Db` logs the outage once
            Self::of(kind::UNAVAILABLE).retry_after(1)
        } else {
            Self::internal(error)
        }
    }
}

/// For failed work. The cause may be the database.
impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<sqlx::Error>() {
            Ok(error) => error.into(),
            Err(error) => match error.downcast::<Unavailable>() {
                Ok(unavailable) => unavailable.into(),
                Err(error) => Self::internal(error),
            },
        }
    }
}
