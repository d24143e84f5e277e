//! Nothing goes wrong: the original's story over processes on real servers.

use super::{Row, row};
use chaos::shop::Shop;
use chaos::story;
use std::time::Instant;

/// Plays it.
pub(crate) async fn run(shop: &mut Shop) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    story::play(&shop.web).await;
    let took = began.elapsed();
    shop.settles().await?;
    Ok(vec![row("the original's story was played in", &format!("{took:.1?}"))])
}
