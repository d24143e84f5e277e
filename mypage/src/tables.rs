//! The tables that a batch of the writer works on.

use crate::projection::{Fact, Views};

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
    pub fn rebuilt(&self, token: &str) -> Option<&Rebuilt> {
        self.rebuilt.as_ref().filter(|rebuilt| rebuilt.token == token)
    }

    /// Folds a fact into the new table, under the id that its view has or had.
    pub fn replay(&mut self, fact: &Fact) {
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
