//! A rebuild says how far it is.

use crate::common::{event, message};
use async_trait::async_trait;
use chassis::base::config::{ClientStreams, StreamsLimit};
use chassis::base::progress::PROGRESS_INTERVAL;
use chassis::bus::{Bus, Delivery, TopicReplay};
use chassis::testing::{LogLines, ReplacedReplays, TestDb, TestLog, eventually};
use mypage::MypageConfig;
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Events of the topic. No other test of this program rebuilds a view from so many.
const EVENTS: i64 = 17;

/// Reads one message, then waits until a line of the log is due, reads one more, and then the rest.
struct SlowReplay {
    replay: Box<dyn TopicReplay>,
    polls: usize,
}

#[async_trait]
impl TopicReplay for SlowReplay {
    async fn next(&mut self, most: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        self.polls += 1;
        if self.polls == 2 {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
        self.replay.next(if self.polls <= 2 { 1 } else { most }).await
    }

    fn progress(&self) -> (u64, u64) {
        self.replay.progress()
    }
}

#[tokio::test]
async fn a_rebuild_logs_how_far_it_is() {
    let (lines, log, db) = (LogLines::of_this_program(), TestLog::open().await, TestDb::sqlite());
    let publisher = log.log.publisher().await.unwrap();
    for cart in 1..=EVENTS {
        let told = message(cart, event("CartAdded", cart, 1).to_string());
        publisher.publish(&[told]).await.remove(0).unwrap();
    }
    let config = MypageConfig {
        host: db.host(),
        streams: StreamsLimit::default(),
        client_streams: ClientStreams::default(),
    };
    let replace = |replay| Box::new(SlowReplay { replay, polls: 0 }) as Box<dyn TopicReplay>;
    let bus = ReplacedReplays { log: log.log.clone(), replace };
    let running = mypage::start(config, Arc::new(bus)).await.unwrap();
    let url = format!("{}/admin/rebuild", running.management_url().unwrap());
    let client = Client::builder().no_proxy().build().unwrap();
    let health = format!("{}/actuator/health", running.url());
    eventually("the service to be ready", async || {
        client.get(&health).send().await.unwrap().status().is_success().then_some(())
    })
    .await;
    let rebuilt: Value = client.post(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(rebuilt["events"], EVENTS);

    let said = lines.find(|line| {
        line["message"] == "rebuilding the view" && line["total"] == EVENTS
            || line["message"] == "rebuilt the view" && line["events"] == EVENTS
    });
    let done: Vec<&Value> = said.iter().map(|line| &line["done"]).collect();
    assert_eq!(done, [&json!(0), &json!(2), &Value::Null], "{said:#?}");
    assert!(said[1]["per_second"].is_u64() && said[1]["seconds_left"].is_u64(), "{}", said[1]);
    assert!(said[2]["seconds"].as_u64() >= Some(5) && said[2]["per_second"].is_u64());
    running.stop(Duration::from_secs(5)).await;
}
