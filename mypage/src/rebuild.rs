//! Building the view again from the topic, while customers look and live events come.
//!
//! The new tables are filled beside the old ones, from the oldest event on; live events go into both
//! meanwhile; then the new ones take the place of the old, in one transaction. A view keeps its id, so
//! that links to it stay. A crash in the middle leaves the old tables as they are; begin again.

use crate::app::ViewDomain;
use crate::policy;
use crate::projection::Command;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chassis::History;
use chassis::lang::Text;
use chassis::problem::{Kind, Problem};
use chassis::writer::Writer;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{error, info};
use uuid::Uuid;

pub const REBUILDING: Kind = Kind::new(
    "rebuild-running",
    StatusCode::CONFLICT,
    "The view is being rebuilt already",
    "이미 다시 만들고 있습니다",
);

/// What a rebuild needs.
#[derive(Clone)]
pub struct Rebuild {
    history: Arc<History>,
    writer: Writer<ViewDomain>,
    /// Held while one runs in this process.
    running: Arc<Mutex<()>>,
}

impl Rebuild {
    /// A rebuild from `history` through `writer`.
    pub fn new(history: History, writer: Writer<ViewDomain>) -> Self {
        Self { history: Arc::new(history), writer, running: Arc::default() }
    }

    /// Rebuilds the view, and answers how many events that took.
    pub async fn run(&self) -> anyhow::Result<usize> {
        let token = Uuid::new_v4().to_string();
        self.writer.ask(Command::BeginRebuild { token: token.clone() }).await?;
        let mut reading = self.history.open().await?;
        let mut count = 0;
        while let Some(events) = reading.next().await? {
            count += events.len();
            let facts = events.iter().filter_map(|(envelope, at)| policy::fact(envelope, *at));
            let replayed = |fact| (Command::Replayed { token: token.clone(), fact }, None);
            let replayed: Vec<_> = facts.map(replayed).collect();
            for outcome in self.writer.ask_all(replayed).await {
                outcome?;
            }
        }
        reading.close().await;
        self.writer.ask(Command::FinishRebuild { token }).await?;
        Ok(count)
    }
}

/// The routes for operators.
pub fn routes(rebuild: Rebuild) -> Router {
    Router::new().route("/admin/rebuild", post(start)).with_state(rebuild)
}

/// Answers when it is done, so that a script can wait for it; it goes on if nobody waits.
async fn start(State(rebuild): State<Rebuild>) -> Result<Json<Value>, Problem> {
    let Ok(guard) = Arc::clone(&rebuild.running).try_lock_owned() else {
        return Err(Problem::new(
            REBUILDING,
            Text::fixed("wait for it to end", "끝날 때까지 기다려 주세요"),
        ));
    };
    let task = tokio::spawn(async move {
        let _guard = guard;
        let outcome = rebuild.run().await;
        match &outcome {
            Ok(events) => info!(events, "rebuilt the view"),
            Err(error) => error!(error = format!("{error:#}"), "could not rebuild the view"),
        }
        outcome
    });
    let events = task.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(Json(json!({ "events": events })))
}
