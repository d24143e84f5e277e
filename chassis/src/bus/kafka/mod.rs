//! The bus over Kafka.

mod client;
mod close;
mod progress;
mod publisher;
mod replay;
mod subscription;
mod tail;
mod tokens;
mod topic;
mod watchdog;

pub use client::KafkaBus;

use crate::bus::interface::{Bus, Destination, Publisher, Subscription, TopicReplay, TopicTail};
use crate::bus::kafka::publisher::KafkaPublisher;
use crate::bus::kafka::replay::KafkaReplay;
use crate::bus::kafka::subscription::KafkaSubscription;
use crate::bus::kafka::tail::KafkaTail;
use async_trait::async_trait;
use std::sync::Arc;

#[async_trait]
impl Bus for KafkaBus {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        self.topic_ready().await;
        Ok(Arc::new(KafkaPublisher::start(self.clone())?))
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        self.topic_ready().await;
        Ok(Box::new(KafkaSubscription::start(self.clone(), group)?))
    }

    fn destination(&self) -> Destination {
        Destination { system: "kafka", topic: self.topic.as_str().into() }
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        self.topic_ready().await;
        Ok(Box::new(KafkaReplay::start(self).await?))
    }

    async fn tail(&self, recent: i64) -> anyhow::Result<Box<dyn TopicTail>> {
        self.topic_ready().await;
        Ok(Box::new(KafkaTail::start(self, recent).await?))
    }
}
