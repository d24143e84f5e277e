//! Injects nothing: the purchase of the original sample, with processes on real servers.

use super::{Row, row};
use chaos::shop::Shop;
use chaos::story;
use std::time::Instant;

/// Runs the story.
pub(crate) async fn run(shop: &mut Shop) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    story::play(&shop.web).await;
    let took = began.elapsed();
    shop.settle().await?;
    Ok(vec![row("the original's story was played in", &format!("{took:.1?}"))])
}
