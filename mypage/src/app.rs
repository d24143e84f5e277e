//! The projection and its tables, for the writer.

use crate::projection::{Command, Fact, Views};
use crate::store;
use chassis::storage::{Db, Tx};
use chassis::writer::Domain;
use common_events::Event;

/// The view. What is asked of it is what happens to it.
#[derive(Clone, Debug)]
pub struct ViewDomain {
    pub db: Db,
}

/// The tables that a batch works on: the one that customers see and, while the view is rebuilt, the one
/// that will take its place.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub shown: Views,
    pub rebuilt: Option<Rebuilt>,
}

/// The new table of a rebuild.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    pub token: String,
    pub views: Views,
}

impl Tables {
    /// The new table of the rebuild that `token` names, if that is the one that runs.
    fn rebuilt(&self, token: &str) -> Option<&Rebuilt> {
        self.rebuilt.as_ref().filter(|rebuilt| rebuilt.token == token)
    }

    /// Folds a fact into the new table, under the id that its view has or had.
    fn replay(&mut self, fact: &Fact) {
        let id = self.shown.id_of(fact.cart_id);
        if let Some(rebuilt) = &mut self.rebuilt {
            // A cart that only the topic knows gets the next id.
            if !self.shown.views.contains_key(&fact.cart_id)
                && !rebuilt.views.views.contains_key(&fact.cart_id)
            {
                self.shown.last_id = id;
            }
            rebuilt.views.learn_as(id, fact);
        }
    }
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
