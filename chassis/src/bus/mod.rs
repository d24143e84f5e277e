//! The bus: what Kafka and the embedded log have in common, and all that services know of either.

mod embedded;
mod health;
mod interface;
mod kafka;

pub use embedded::EmbeddedLog;
pub use health::{Health, Monitor, ReadError};
pub use interface::{
    Bus, Delivery, Message, PublishError, Publisher, Subscription, TopicPosition, TopicReplay,
};
pub use kafka::KafkaBus;
