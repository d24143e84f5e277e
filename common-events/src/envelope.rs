//! The envelope of an event: its id and its time.

use crate::Event;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use uuid::Uuid;

/// An event with its id and time, as it is on the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The id of the event, the same each time that it is sent. Absent in events of the original; a reader identifies
    /// those by their position in the topic.
    pub event_id: Option<Uuid>,
    /// When the event happened, to the millisecond. Absent in events of the original: their `timestamp` has week-years and
    /// no time zone, so it cannot be used. See [`Envelope::happened_at`].
    pub occurred_at: Option<DateTime<Utc>>,
    /// The event.
    pub event: Event,
}

/// The error for a message that is not an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not a JSON object.
    #[error("the message is not a JSON object: {0}")]
    NotJson(serde_json::Error),
    /// A JSON object without a string `eventType`.
    #[error("the message has no eventType")]
    NoEventType,
    /// The fields are not those of the event type.
    #[error("the message is no {event_type}: {source}")]
    Malformed {
        /// The `eventType` of the message.
        event_type: String,
        /// The error of the field.
        source: serde_json::Error,
    },
}

impl DecodeError {
    /// Returns true if the message says that it is an event of a cart or of its payment. Nobody in the shop acts on any
    /// other message, so only this one is worth repairing.
    pub fn is_about_a_cart(&self) -> bool {
        match self {
            Self::NotJson(_) | Self::NoEventType => false,
            Self::Malformed { event_type, .. } => Event::is_about_a_cart(event_type),
        }
    }
}

/// The fields that every event has.
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

/// The JSON of an event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    event_type: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(flatten)]
    event: &'a Event,
}

impl Envelope {
    /// Returns an event with its id and time.
    pub fn new(event: Event, event_id: Uuid, occurred_at: DateTime<Utc>) -> Self {
        Self { event_id: Some(event_id), occurred_at: Some(occurred_at), event }
    }

    /// Reads a message of ours or of the original.
    pub fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
        let head: Head<'_> = match serde_json::from_slice(json) {
            Ok(head) => head,
            Err(source) => return Self::from_invalid_head(json, source),
        };
        let event_type = head.event_type.ok_or(DecodeError::NoEventType)?;
        let event = Event::from_json(&event_type, json).map_err(|source| {
            DecodeError::Malformed { event_type: event_type.into_owned(), source }
        })?;
        Ok(Self { event_id: head.event_id, occurred_at: head.occurred_at, event })
    }

    /// Returns the event or the error for a message whose head cannot be read, for the reason `source`. An unknown event type
    /// may have any head, and is no error.
    fn from_invalid_head(json: &[u8], source: serde_json::Error) -> Result<Self, DecodeError> {
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

    /// Returns when the event happened: `occurred_at`, or for an event of the original, which does not have it, the time
    /// `appended` at which the topic took the message, in milliseconds since 1970.
    pub fn happened_at(&self, appended: i64) -> DateTime<Utc> {
        let appended = || DateTime::from_timestamp_millis(appended).unwrap_or_default();
        self.occurred_at.unwrap_or_else(appended)
    }

    /// Returns the message as JSON.
    ///
    /// # Panics
    /// Never: every event can be written as JSON.
    pub fn to_json(&self) -> String {
        let timestamp = self.occurred_at.unwrap_or_default();
        let wire = Wire {
            event_type: self.event.event_type(),
            timestamp: timestamp.format("%Y%m%d%H%M%S").to_string(),
            event_id: self.event_id,
            occurred_at: self.occurred_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            event: &self.event,
        };
        serde_json::to_string(&wire).expect("an event is plain data")
    }
}
