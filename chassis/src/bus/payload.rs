//! The value of a message.

use common_events::{DecodeError, Envelope};
use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

/// The bytes that a sender wrote, and the event that they are. The readers of the embedded log share a message, so its JSON is
/// read once for all of them.
pub struct Payload {
    bytes: Vec<u8>,
    event: OnceLock<Result<Envelope, DecodeError>>,
}

impl Payload {
    /// Returns the event.
    ///
    /// # Errors
    /// The bytes are not an event.
    pub fn event(&self) -> Result<&Envelope, &DecodeError> {
        self.event.get_or_init(|| Envelope::from_json(&self.bytes)).as_ref()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, event: OnceLock::new() }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        self.bytes.clone().into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Payload").field(&String::from_utf8_lossy(&self.bytes)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_once_and_a_clone_reads_its_own() {
        let payload = Payload::from(br#"{"eventType":"SomethingNew"}"#.to_vec());
        let event = payload.event().unwrap();
        assert!(std::ptr::eq(event, payload.event().unwrap()));
        let clone = payload.clone();
        assert_eq!(clone, payload);
        assert!(!std::ptr::eq(event, clone.event().unwrap()));
    }

    #[test]
    fn what_is_no_event_is_an_error_each_time() {
        let payload = Payload::from(b"no event".to_vec());
        assert!(matches!(payload.event(), Err(DecodeError::NotJson(_))));
        assert!(payload.event().is_err());
        assert_eq!(&*payload, b"no event");
    }
}
