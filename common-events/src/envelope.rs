//! An event with what tells it from others: its id and its time.

use crate::Event;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use uuid::Uuid;

/// An event as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The same on every re-send. Absent in the original's events, which their place in the topic
    /// identifies instead.
    pub event_id: Option<Uuid>,
    /// When it happened, to the millisecond. Absent in the original's events, whose `timestamp`
    /// is in week-years and an unknown zone and so is good for nothing.
    pub occurred_at: Option<DateTime<Utc>>,
    /// What happened.
    pub event: Event,
}

/// Why a message is not an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not a JSON object.
    #[error("the message is not a JSON object: {0}")]
    NotJson(serde_json::Error),
    /// JSON, but of no event type: the original took such a message for every type at once.
    #[error("the message has no eventType")]
    NoEventType,
    /// The fields of the event are not those of its type.
    #[error("the message is no {event_type}: {source}")]
    Malformed {
        /// What it says it is.
        event_type: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl DecodeError {
    /// Whether this may have told something of a cart: it says it is an event of a cart or of its payment. Anything else
    /// is no event of ours, or one that nobody in the shop acts on.
    pub fn is_about_a_cart(&self) -> bool {
        match self {
            Self::NotJson(_) | Self::NoEventType => false,
            Self::Malformed { event_type, .. } => Event::is_about_a_cart(event_type),
        }
    }
}

/// The head that every event is read by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow, default)]
    event_type: Option<Cow<'a, str>>,
    #[serde(default)]
    event_id: Option<Uuid>,
    #[serde(default)]
    occurred_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a, T> {
    event_type: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(flatten)]
    event: &'a T,
}

impl Envelope {
    /// An event of ours that happens now.
    pub fn new(event: Event, event_id: Uuid, occurred_at: DateTime<Utc>) -> Self {
        Self { event_id: Some(event_id), occurred_at: Some(occurred_at), event }
    }

    /// Reads a message, ours or the original's.
    pub fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        let head: Head<'_> = match serde_json::from_slice(json) {
            Ok(head) => head,
            Err(source) => return Self::without_head(json, source),
        };
        let event_type = head.event_type.ok_or(DecodeError::NoEventType)?;
        let event = Event::from_json(&event_type, json).map_err(|source| {
            DecodeError::Malformed { event_type: event_type.into_owned(), source }
        })?;
        Ok(Self { event_id: head.event_id, occurred_at: head.occurred_at, event })
    }

    /// Returns what a message is whose head cannot be read. An unknown type may have any head.
    fn without_head(json: &[u8], source: serde_json::Error) -> Result<Self, DecodeError> {
        let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(json) else {
            return Err(DecodeError::NotJson(source));
        };
        match fields.get("eventType") {
            Some(Value::String(event_type)) if Event::is_known(event_type) => {
                Err(DecodeError::Malformed { event_type: event_type.clone(), source })
            }
            Some(Value::String(_)) => {
                Ok(Self { event_id: None, occurred_at: None, event: Event::Unknown })
            }
            _ => Err(DecodeError::NoEventType),
        }
    }

    /// The message.
    ///
    /// # Panics
    /// Never: every event can be written as JSON.
    pub fn to_json(&self) -> String {
        match &self.event {
            Event::GifticonRegistered(event)
            | Event::QuantityModified(event)
            | Event::GifticonDeleted(event) => self.write(event),
            Event::CartAdded(event) => self.write(event),
            Event::CartRemoved(event) => self.write(event),
            Event::PaymentApproved(event) | Event::PaymentCancelled(event) => self.write(event),
            Event::PaymentDeclined(event) => self.write(event),
            Event::Unknown => self.write(&serde_json::Map::new()),
        }
    }

    fn write(&self, event: &impl Serialize) -> String {
        let at = self.occurred_at.unwrap_or_default();
        let wire = Wire {
            event_type: self.event.event_type(),
            timestamp: at.format("%Y%m%d%H%M%S").to_string(),
            event_id: self.event_id,
            occurred_at: self.occurred_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            event,
        };
        serde_json::to_string(&wire).expect("an event is plain data")
    }
}
