//! A writer's connection runs the queries of sqlx.

use crate::storage::connection::RawConnection;
use crate::storage::pool::Connection;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, Either, Execute, Executor, SqlStr};

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        mut query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let connection = match self.inner() {
            RawConnection::SqliteWriter(connection) => connection,
            RawConnection::Postgres(connection, _) => return connection.fetch_many(query),
            RawConnection::SqliteReader(..) => unreachable!("a reader fetches all"),
        };
        let steps = async move {
            let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
            let sql = query.sql();
            let steps = connection.steps(sql.as_str(), arguments)?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(steps).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move { self.fetch(query).try_next().await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
    where
        'c: 'e,
    {
        match self.inner() {
            RawConnection::Postgres(connection, _) => connection.prepare_with(sql, parameters),
            _ => Box::pin(async {
                Err(sqlx::Error::AnyDriverError("a writer prepares by itself".into()))
            }),
        }
    }
}
