//! Routes for operators, on the service itself and never through the gateway.

use crate::base::i18n::Text;
use crate::base::patience;
use crate::base::problem::{Problem, kind};
use crate::http::{Id, Query};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::mailbox::parked::{self, Parked};
use crate::storage::Db;
use crate::workers::consumer::Replay;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;

/// Parked events in one answer.
const MOST: i64 = 1_000;

#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
    pub(crate) replay: Arc<dyn Replay>,
}

/// The paths of [`routes`].
pub(crate) const PATHS: &[&str] =
    &["/admin/parked", "/admin/parked/replay", "/admin/parked/{id}/replay", "/admin/parked/{id}"];

pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/admin/parked", get(list))
        .route("/admin/parked/replay", post(replay_all))
        .route("/admin/parked/{id}/replay", post(replay))
        .route("/admin/parked/{id}", delete(discard))
        .with_state(admin)
}

async fn list(State(admin): State<Admin>) -> Result<Json<Vec<Parked>>, Problem> {
    Ok(Json(parked::list(&admin.db, MOST).await?))
}

async fn replay_all(State(admin): State<Admin>) -> Result<Json<Value>, Problem> {
    replayed(&admin, None).await
}

async fn replay(State(admin): State<Admin>, Id(id): Id) -> Result<Json<Value>, Problem> {
    replayed(&admin, Some(id)).await
}

async fn replayed(admin: &Admin, id: Option<i64>) -> Result<Json<Value>, Problem> {
    // It reads and writes a page after the other, for as long as that takes.
    let replayed = patience::without_end(admin.replay.replay(id)).await?;
    let replayed = replayed.ok_or_else(not_parked)?;
    info!(replayed, "replayed parked events");
    Ok(Json(json!({ "replayed": replayed })))
}

/// Gives an event up, for a reason that goes into the log.
async fn discard(
    State(admin): State<Admin>,
    Id(id): Id,
    query: Query,
) -> Result<StatusCode, Problem> {
    let Some(reason) = query.get(&["reason"]).filter(|reason| !reason.is_empty()) else {
        return Err(crate::http::bad_query(
            "say why the event is given up: ?reason=TEXT".into(),
            "이벤트를 버리는 이유를 ?reason=TEXT 로 적어 주세요".into(),
        ));
    };
    match admin.housekeeping.execute(HousekeepingCommand::Discard { parked: id }).await? {
        0 => Err(not_parked()),
        _ => {
            info!(parked.id = id, reason, "gave a parked event up");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

fn not_parked() -> Problem {
    Problem::new(
        kind::NOT_FOUND,
        Text::fixed(
            "no event is parked under this id; GET /admin/parked lists those that are",
            "이 id로 보관된 이벤트가 없습니다. GET /admin/parked 에서 확인해 주세요",
        ),
    )
}
