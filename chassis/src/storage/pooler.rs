//! Recognises a pooler that gives each transaction another session of Postgres, as pgbouncer does in transaction mode.
//!
//! The time-outs of a connection, its prepared statements and the lock of a migration belong to a session. Through such a
//! pooler they would come and go with the statements of others.

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection, Executor, Row};

/// How often to look: other clients of the pooler may take the session in between.
const ROUNDS: usize = 3;

/// Fails where two connections share a session, or one has several.
pub(super) async fn refuse(url: &AnyConnectOptions) -> anyhow::Result<()> {
    let mut one = AnyConnection::connect_with(url).await?;
    let mut other = AnyConnection::connect_with(url).await?;
    for _ in 0..ROUNDS {
        let first = session(&mut one).await?;
        other.execute("begin").await?;
        // A pooler gives the session that was used last, unless it takes turns: then `one` gets another one now.
        let shared = session(&mut other).await? == first || session(&mut one).await? != first;
        other.execute("commit").await?;
        if shared {
            anyhow::bail!(
                "a pooler in transaction mode is in front of Postgres: connect to Postgres itself, \
                 or set pool_mode = session in pgbouncer"
            );
        }
    }
    let _ = (one.close().await, other.close().await);
    Ok(())
}

/// The process that serves the connection. Asked in text: a prepared statement would be of one session.
async fn session(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    connection.fetch_one("select pg_backend_pid()::bigint").await?.try_get(0)
}
