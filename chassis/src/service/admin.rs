//! The management routes of the dead-letter table (`parked`) and of the audit log. The gateway does not serve them.

use crate::auth::Principal;
use crate::base::i18n::Text;
use crate::base::patience;
use crate::base::problem::{Problem, kind};
use crate::http::{Id, Query};
use crate::mailbox::AuditLog;
use crate::mailbox::audit::{self, AuditEntry};
use crate::mailbox::dead_letters::{self, ParkedEvent};
use crate::mailbox::housekeeping::{GivenUp, Housekeeper, HousekeepingCommand};
use crate::model::AuditedChange;
use crate::storage::Db;
use crate::workers::dead_letter_replay::{Replay, Replayed};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use std::sync::Arc;
use tracing::info;

/// Parked events in one response at most.
const LIST_MAX: i64 = 1_000;
/// Rows of the audit log in one response at most.
const AUDIT_MAX: i64 = 200;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
    pub(crate) replay: Arc<dyn Replay>,
}

/// The paths of [`routes`].
pub(crate) const PATHS: &[&str] = &[
    "/admin/audit",
    "/admin/parked",
    "/admin/parked/replay",
    "/admin/parked/{id}/replay",
    "/admin/parked/{id}",
];

/// Returns the routes of [`PATHS`].
pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/admin/audit", get(audit))
        .route("/admin/parked", get(list))
        .route("/admin/parked/replay", post(replay_all))
        .route("/admin/parked/{id}/replay", post(replay))
        .route("/admin/parked/{id}", delete(discard))
        .with_state(admin)
}

async fn list(State(admin): State<Admin>) -> Result<Json<Vec<ParkedEvent>>, Problem> {
    Ok(Json(dead_letters::list(&admin.db, LIST_MAX).await?))
}

/// Returns the newest rows of the audit log, or those before the row `?before=`.
async fn audit(State(admin): State<Admin>, query: Query) -> Result<Json<Vec<AuditEntry>>, Problem> {
    let before = match query.get(&["before"]) {
        Some(_) => query.number(&["before"])?,
        None => i64::MAX,
    };
    Ok(Json(audit::list(&admin.db, before, AUDIT_MAX).await?))
}

async fn replay_all(
    State(admin): State<Admin>,
    principal: Principal,
) -> Result<Json<Replayed>, Problem> {
    replay_events(&admin, &principal, None).await
}

async fn replay(
    State(admin): State<Admin>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<Replayed>, Problem> {
    replay_events(&admin, &principal, Some(id)).await
}

async fn replay_events(
    admin: &Admin,
    principal: &Principal,
    id: Option<i64>,
) -> Result<Json<Replayed>, Problem> {
    let subject = id.map_or("all parked events".into(), |id| format!("parked event {id}"));
    let audit = AuditLog::new(admin.housekeeping.clone());
    audit.record(principal.owner(), AuditedChange::of("replay", subject)).await?;
    // It reads and writes page after page, and must not be refused in the middle.
    let replayed = patience::without_end(admin.replay.replay(id)).await?;
    let replayed = replayed.ok_or_else(not_parked)?;
    info!(replayed = replayed.replayed, left = replayed.left, "replayed parked events");
    Ok(Json(replayed))
}

/// Deletes a parked event, and logs the reason.
async fn discard(
    State(admin): State<Admin>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<StatusCode, Problem> {
    let Some(reason) = query.get(&["reason"]).filter(|reason| !reason.is_empty()) else {
        return Err(crate::http::bad_query(
            "say why the event is given up: ?reason=TEXT".into(),
            "이벤트를 버리는 이유를 ?reason=TEXT 로 적어 주세요".into(),
        ));
    };
    let given_up = GivenUp { actor: principal.owner().clone(), reason: reason.to_owned() };
    let discard = HousekeepingCommand::Discard { parked: id, given_up: Some(given_up) };
    match admin.housekeeping.execute(discard).await? {
        0 => Err(not_parked()),
        _ => {
            info!(parked.id = id, reason, "discarded a parked event");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

fn not_parked() -> Problem {
    Problem::new(
        kind::NOT_FOUND,
        Text::fixed(
            "no event is parked under this id; GET /admin/parked lists those that are",
            "이 id로 보류된 이벤트가 없습니다. GET /admin/parked 에서 확인해 주세요",
        ),
    )
}
