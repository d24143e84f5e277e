//! What the writer carries out: the rules of the view with their tables.

use crate::projection::{Command, Refusal, Tables};
use crate::store;
use chassis::model::{Publications, Rules};
use chassis::storage::Tx;
use chassis::writer::WriteModel;

/// The rules and the tables of the view.
#[derive(Clone, Debug)]
pub struct ViewModel;

impl Rules for ViewModel {
    type State = Tables;
    type Command = Command;
    type Reply = ();
    type Refusal = Refusal;

    /// A view publishes nothing.
    fn handle(tables: &mut Tables, command: &Command, _: &mut Publications) -> Result<(), Refusal> {
        tables.handle(command)
    }
}

impl WriteModel for ViewModel {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Tables> {
        store::load(tx, commands).await
    }

    async fn save(&self, tx: &mut Tx<'_>, tables: &Tables) -> anyhow::Result<()> {
        store::save(tx, tables).await
    }

    fn may_take_minutes(command: &Command) -> bool {
        matches!(command, Command::FinishRebuild { .. })
    }
}
