//! Why a valid request cannot be served now.

use crate::base::i18n::Text;
use crate::base::problem::Problem;

/// Why a request cannot be served now. The client may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Its patience ended in the queue `at`.
    #[error("it waited for too long in the queue \"{at}\"")]
    Overloaded {
        /// The name of the queue in the metrics.
        at: &'static str,
    },
    /// The database failed, and the transaction changed nothing.
    #[error("the database failed")]
    Database,
    /// The transaction failed although the database did not, and changed nothing.
    #[error("the transaction failed")]
    Failed,
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        let now = "the service is busy; try again shortly";
        let problem = Self::unavailable(Text::fixed(now, "잠시 후 다시 시도해 주세요"));
        match unavailable {
            Unavailable::Overloaded { at } => problem.shed_at(at),
            Unavailable::Database | Unavailable::Failed => problem,
        }
    }
}
