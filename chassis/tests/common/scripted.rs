//! A bus that the test controls.

use super::cart_added;
use anyhow::bail;
use async_trait::async_trait;
use chassis::bus::{
    Bus, Delivery, Destination, Health, Message, Monitor, PublishError, Publisher, Subscription,
    TopicPosition, TopicReplay, TopicTail,
};
use chassis::testing::eventually;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// A bus that delivers the messages of a test, and acknowledges, refuses or loses sent messages as the test says.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    incoming: Mutex<VecDeque<Arc<Delivery>>>,
    put: Notify,
    next: Mutex<i64>,
    done: Mutex<Vec<TopicPosition>>,
    sent: Mutex<Vec<Message>>,
    /// The results of the next sent messages. `Ok` when it is empty.
    results: Mutex<VecDeque<Result<(), PublishError>>>,
}

impl Scripted {
    /// Delivers a message. Messages that are put before the next poll are polled together.
    pub fn put(&self, key: Option<&str>, payload: impl AsRef<[u8]>) -> TopicPosition {
        let mut next = self.0.next.lock().unwrap();
        *next += 1;
        self.put_at(*next, key, Some(payload.as_ref()))
    }

    /// Delivers a message at this offset. Without a payload it is a tombstone.
    pub fn put_at(&self, offset: i64, key: Option<&str>, payload: Option<&[u8]>) -> TopicPosition {
        self.put_with(offset, key, payload, vec![])
    }

    /// Delivers a message at this offset, with headers.
    pub fn put_with(
        &self,
        offset: i64,
        key: Option<&str>,
        payload: Option<&[u8]>,
        headers: Vec<(String, String)>,
    ) -> TopicPosition {
        let place = TopicPosition { partition: 0, offset };
        let (key, payload) = (key.map(Into::into), payload.map(|bytes| bytes.to_vec().into()));
        let delivery = Delivery { position: place, key, payload, headers, timestamp: 0 };
        self.0.incoming.lock().unwrap().push_back(Arc::new(delivery));
        self.0.put.notify_one();
        place
    }

    /// Delivers a `CartAdded` with a new event id.
    pub fn put_cart(&self, id: i64, quantity: i64) -> (TopicPosition, String) {
        let event = uuid::Uuid::new_v4();
        let json = cart_added(event, id, quantity);
        (self.put(Some(&id.to_string()), &json), json)
    }

    /// Sets the results of the next sent messages.
    pub fn answer_next(&self, results: impl IntoIterator<Item = Result<(), PublishError>>) {
        self.0.results.lock().unwrap().extend(results);
    }

    /// Waits until the message at `place` is committed.
    pub async fn until_done(&self, place: TopicPosition) {
        eventually("the event to be handled", async || self.is_done(place).then_some(())).await;
    }

    /// True if the message at `place` is committed.
    pub fn is_done(&self, place: TopicPosition) -> bool {
        self.0.done.lock().unwrap().contains(&place)
    }

    /// Returns the messages that the bus took, in order.
    pub fn sent(&self) -> Vec<Message> {
        self.0.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Bus for Scripted {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        Ok(Arc::new(self.clone()))
    }

    async fn subscribe(&self, _: &str) -> anyhow::Result<Box<dyn Subscription>> {
        Ok(Box::new(self.clone()))
    }

    fn destination(&self) -> Destination {
        Destination { system: "scripted", topic: "scripted".into() }
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        bail!("nobody replays this bus")
    }

    async fn tail(&self, _: i64) -> anyhow::Result<Box<dyn TopicTail>> {
        bail!("nobody follows this bus")
    }
}

#[async_trait]
impl Publisher for Scripted {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
        let mut next_results = self.0.results.lock().unwrap();
        let mut results = Vec::new();
        for message in messages {
            let result = next_results.pop_front().unwrap_or(Ok(()));
            if !matches!(result, Err(PublishError::Refused(_))) {
                // With an unknown outcome the message may have arrived.
                self.0.sent.lock().unwrap().push(message.clone());
            }
            results.push(result);
        }
        results
    }
}

#[async_trait]
impl Subscription for Scripted {
    async fn poll(&mut self, max: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        loop {
            let taken: Vec<Arc<Delivery>> = {
                let mut incoming = self.0.incoming.lock().unwrap();
                let count = max.min(incoming.len());
                incoming.drain(..count).collect()
            };
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.0.put.notified().await;
        }
    }

    async fn commit(&mut self, positions: &[TopicPosition]) -> anyhow::Result<()> {
        self.0.done.lock().unwrap().extend(positions);
        Ok(())
    }

    fn topic(&self) -> &'static str {
        "scripted"
    }

    fn monitor(&self) -> Monitor {
        Box::new(|| Health { lag: Some(0), ..Health::default() })
    }

    async fn leave(self: Box<Self>) {}
}
