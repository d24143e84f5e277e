//! Secrets, and the settings of librdkafka that may contain them.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A secret. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// Returns a secret of 64 characters that nobody else knows.
    pub fn random() -> Self {
        Self([Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string()).concat())
    }

    /// Returns the secret itself. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(secret: &str) -> Result<Self, Self::Err> {
        if secret.is_empty() { Err("it is empty") } else { Ok(Self(secret.to_owned())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A setting of librdkafka: our name, its name, the value.
pub(crate) type ClientSetting = (&'static str, &'static str, String);
