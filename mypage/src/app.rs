//! The projection and its tables, for the writer.

use crate::projection::Command;
use crate::store;
use crate::tables::Tables;
use chassis::storage::{Db, Tx};
use chassis::writer::Domain;
use common_events::Event;

/// The view. What is asked of it is what happens to it.
#[derive(Clone, Debug)]
pub struct ViewDomain {
    pub db: Db,
}

/// Why the view says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("another rebuild has begun since")]
    Overtaken,
}

impl Domain for ViewDomain {
    type Batch = Tables;
    type Command = Command;
    type Event = Command;
    type Answer = ();
    type Refusal = Refusal;

    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Tables> {
        store::load(tx, &self.db, commands).await
    }

    fn has_time(command: &Command) -> bool {
        matches!(command, Command::FinishRebuild { .. })
    }

    fn decide(tables: &Tables, command: &Command) -> Result<Vec<Command>, Refusal> {
        let happens = match command {
            Command::Told(fact) => {
                let rebuilt = tables.rebuilt.as_ref();
                tables.shown.is_news(fact)
                    || rebuilt.is_some_and(|rebuilt| rebuilt.views.is_news(fact))
            }
            Command::Replayed { token, fact } => {
                tables.rebuilt(token).ok_or(Refusal::Overtaken)?.views.is_news(fact)
            }
            Command::BeginRebuild { .. } => true,
            Command::FinishRebuild { token } => {
                tables.rebuilt(token).map(|_| true).ok_or(Refusal::Overtaken)?
            }
        };
        Ok(if happens { vec![command.clone()] } else { vec![] })
    }

    fn evolve(tables: &mut Tables, command: &Command) {
        match command {
            Command::Told(fact) => {
                tables.shown.learn(fact);
                tables.replay(fact);
            }
            Command::Replayed { fact, .. } => tables.replay(fact),
            // The table is made and takes its place in the database.
            Command::BeginRebuild { .. } | Command::FinishRebuild { .. } => {}
        }
    }

    fn answer(_: &Tables, _: &Command, _: bool) {}

    async fn save(
        &self,
        tx: &mut Tx<'_>,
        tables: &Tables,
        commands: &[Command],
    ) -> anyhow::Result<()> {
        store::save(tx, &self.db, tables, commands).await
    }

    /// A view tells nobody anything.
    fn published(_: &Tables, _: &[Command]) -> Vec<(usize, Event)> {
        vec![]
    }
}
