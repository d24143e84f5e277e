//! What only the embedded log has: a file of one process, and one reader a group.

use crate::kinds::{Embedded, Kind};
use crate::{message, payloads, positions, send, take};
use chassis::bus::EmbeddedLog;

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let mut kind = Embedded::start().await;
    let _first = kind.bus().await;
    let error = EmbeddedLog::open(&kind.file()).await.err().expect("it is in use");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test]
async fn a_group_has_one_reader_and_the_next_resumes_after_its_commits() {
    let mut kind = Embedded::start().await;
    let bus = kind.bus().await;
    send(&bus, &[message("1", "first"), message("2", "second"), message("3", "third")]).await;
    let mut one = bus.subscribe("a").await.unwrap();
    let error = bus.subscribe("a").await.err().expect("it has a reader");
    assert!(error.to_string().contains("the group a has a reader"), "{error}");
    let taken = take(&mut one, 3, false).await;
    one.commit(&positions(&taken[..2])).await.unwrap();
    drop(one);
    let mut two = bus.subscribe("a").await.unwrap();
    assert_eq!(payloads(&take(&mut two, 1, false).await), ["third".to_owned()].into());
}
