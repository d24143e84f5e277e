//! What the writer carries out: the rules of payments with their table.

use crate::domain::{Command, Payments};
use crate::store;
use chassis::model::{Publications, Rules};
use chassis::storage::Tx;
use chassis::writer::WriteModel;
use std::convert::Infallible;

/// The rules and the table of payments.
#[derive(Clone, Debug)]
pub struct PaymentModel;

impl Rules for PaymentModel {
    type State = Payments;
    type Command = Command;
    type Reply = ();
    type Refusal = Infallible;

    fn handle(
        payments: &mut Payments,
        command: &Command,
        out: &mut Publications,
    ) -> Result<(), Infallible> {
        payments.handle(command, out);
        Ok(())
    }
}

impl WriteModel for PaymentModel {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Payments> {
        store::load(tx, commands).await
    }

    async fn save(&self, tx: &mut Tx<'_>, payments: &Payments) -> anyhow::Result<()> {
        Ok(store::save(tx, payments)?)
    }
}
