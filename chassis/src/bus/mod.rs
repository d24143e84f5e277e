//! The bus: the interface that services use, with Kafka and the embedded log behind it.

mod embedded;
mod health;
mod interface;
mod kafka;
mod payload;

pub use embedded::EmbeddedLog;
pub use health::{Health, Monitor, ReadError};
pub use interface::{
    Bus, Delivery, Destination, Message, PublishError, Publisher, Subscription, TopicPosition,
    TopicReplay, TopicTail,
};
pub use kafka::KafkaBus;
pub use payload::Payload;
