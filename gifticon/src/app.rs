//! What the writer carries out: the rules of stock with their tables.

use crate::domain::{Command, Refusal, Reply, Stock};
use crate::store;
use chassis::model::{Publications, Rules};
use chassis::storage::Tx;
use chassis::writer::{WriteModel, Writer};

/// The rules and the tables of stock.
#[derive(Clone, Debug)]
pub struct StockModel;

/// The writer of this service.
pub type StockWriter = Writer<StockModel>;

impl Rules for StockModel {
    type State = Stock;
    type Command = Command;
    type Reply = Reply;
    type Refusal = Refusal;

    fn handle(
        stock: &mut Stock,
        command: &Command,
        out: &mut Publications,
    ) -> Result<Reply, Refusal> {
        stock.handle(command, out)
    }
}

impl WriteModel for StockModel {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Stock> {
        store::load(tx, commands).await
    }

    async fn save(&self, tx: &mut Tx<'_>, stock: &Stock) -> anyhow::Result<()> {
        Ok(store::save(tx, stock)?)
    }
}
