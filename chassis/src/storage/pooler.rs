//! Detects a pooler that may give each transaction another session of Postgres, such as pgbouncer in transaction mode.
//!
//! The timeouts of a connection, its prepared statements and the lock of a migration belong to a session. With such a pooler
//! in between, they would apply to the statements of other clients.

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection, Executor, Row};

/// How often the check is repeated: other clients of the pooler may take the session in between.
const CHECKS: usize = 3;

/// Fails if two connections share a session, or if a connection has several.
pub(super) async fn refuse(url: &AnyConnectOptions) -> anyhow::Result<()> {
    let mut first = AnyConnection::connect_with(url).await?;
    let mut second = AnyConnection::connect_with(url).await?;
    for _ in 0..CHECKS {
        let session = session_of(&mut first).await?;
        second.execute("begin").await?;
        // A pooler assigns the session that was used last, or takes turns: then `first` gets another session now.
        let shared =
            session_of(&mut second).await? == session || session_of(&mut first).await? != session;
        second.execute("commit").await?;
        if shared {
            anyhow::bail!(
                "a pooler in transaction mode is in front of Postgres: connect to Postgres itself, \
                 or set pool_mode = session in pgbouncer"
            );
        }
    }
    let _ = (first.close().await, second.close().await);
    Ok(())
}

/// Returns the process id of the session. The query is sent as text: a prepared statement would belong to one session.
async fn session_of(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    connection.fetch_one("select pg_backend_pid()::bigint").await?.try_get(0)
}
