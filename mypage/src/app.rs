//! The projection and its tables, for the writer.

use crate::projection::{Fact, Views};
use crate::store;
use chassis::db::{Db, Tx};
use chassis::writer::Domain;
use common_events::Event;

/// The view. Its commands and its events are the same: facts that were told.
#[derive(Clone, Debug)]
pub struct ViewDomain {
    pub db: Db,
}

/// Nothing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {}

impl Domain for ViewDomain {
    type Batch = Views;
    type Command = Fact;
    type Event = Fact;
    type Answer = ();
    type Refusal = Refusal;

    async fn load(&self, tx: &mut Tx, facts: &[&Fact]) -> anyhow::Result<Views> {
        store::load(tx, &self.db, facts).await
    }

    fn decide(views: &Views, fact: &Fact) -> Result<Vec<Fact>, Refusal> {
        Ok(if views.is_news(fact) { vec![fact.clone()] } else { vec![] })
    }

    fn evolve(views: &mut Views, fact: &Fact) {
        views.learn(fact);
    }

    fn answer(_: &Views, _: &Fact, _: bool) {}

    async fn save(&self, tx: &mut Tx, views: &Views, facts: &[Fact]) -> anyhow::Result<()> {
        store::save(tx, views, facts).await
    }

    /// A view tells nobody anything.
    fn published(_: &Views, _: &[Fact]) -> Vec<(usize, Event)> {
        vec![]
    }
}
