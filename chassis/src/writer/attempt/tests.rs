//! What is told of a commit whose response was lost.

use super::*;
use crate::model::{Publications, Rules};
use crate::storage::Schema;
use crate::testing::TestDb;
use std::convert::Infallible;
use tokio::sync::mpsc;

struct Nothing;

impl Rules for Nothing {
    type State = ();
    type Command = ();
    type Reply = ();
    type Refusal = Infallible;

    fn handle((): &mut (), (): &(), _: &mut Publications) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteModel for Nothing {
    async fn load(&self, _: &mut Tx<'_>, _: &[&()]) -> anyhow::Result<()> {
        Ok(())
    }

    async fn save(&self, _: &mut Tx<'_>, (): &()) -> anyhow::Result<()> {
        Ok(())
    }
}

async fn attempts(test: &TestDb) -> Arc<Attempts<Nothing>> {
    let db = test.open(&Schema::new(&[])).await;
    Arc::new(Attempts::new(Nothing, db, Arc::default(), Tracer::default()))
}

/// Returns a queue in which nothing waits.
fn queue() -> Queue<Nothing> {
    Queue { jobs: mpsc::channel(1).1, housekeeping: mpsc::channel(1).1 }
}

/// The writer has no row yet: it is new, or it was idle for so long that retention deleted the row.
async fn a_commit_that_is_under_way_is_waited_for(test: TestDb) {
    for commits in [true, false] {
        let attempts = attempts(&test).await;
        let mut tx = attempts.db.begin().await.unwrap();
        tx.later(attempts.mark(7));
        tx.flush().await.unwrap();
        let asking = Arc::clone(&attempts);
        let asked = tokio::spawn(async move { asking.holds(7, &mut queue()).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!asked.is_finished(), "nobody knows yet");
        if commits {
            tx.commit().await.unwrap();
        } else {
            query("rollback").execute(&mut *tx).await.unwrap();
            drop(tx);
        }
        assert_eq!(asked.await.unwrap(), commits);
    }
}

crate::on_each_database!(a_commit_that_is_under_way_is_waited_for);

/// What a commit that failed left in the WAL, a restart would find. What is written after it makes it invalid.
#[tokio::test]
async fn who_asks_about_a_commit_writes_to_the_wal() {
    let test = TestDb::sqlite();
    let attempts = attempts(&test).await;
    let wal = format!("{}-wal", test.url.as_str().strip_prefix("sqlite:").unwrap());
    let written = || std::fs::metadata(&wal).unwrap().len();
    assert!(!attempts.holds(1, &mut queue()).await);
    let before = written();
    assert!(!attempts.holds(1, &mut queue()).await);
    assert!(written() > before, "the row is as it was, and no page was written");
}
