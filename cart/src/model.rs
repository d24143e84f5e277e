//! The rules and tables of carts, put together for the writer.

use crate::domain::{Carts, Command, Refusal, Reply};
use crate::store;
use chassis::model::{Publications, Rules};
use chassis::storage::Tx;
use chassis::writer::WriteModel;

/// The rules and tables of carts, for the writer.
#[derive(Clone, Debug)]
pub struct CartModel;

impl Rules for CartModel {
    type State = Carts;
    type Command = Command;
    type Reply = Reply;
    type Refusal = Refusal;

    fn handle(
        carts: &mut Carts,
        command: &Command,
        out: &mut Publications,
    ) -> Result<Reply, Refusal> {
        carts.handle(command, out)
    }
}

impl WriteModel for CartModel {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Carts> {
        store::load(tx, commands).await
    }

    async fn save(&self, tx: &mut Tx<'_>, carts: &Carts) -> anyhow::Result<()> {
        Ok(store::save(tx, carts)?)
    }
}
