//! Versions of a thing, and which of them a command may act on.

/// The versions that a command may act on, from the conditions of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedVersions {
    /// The only ones; `None` for any.
    pub one_of: Option<Vec<i64>>,
    /// Those that are excluded.
    pub none_of: Vec<i64>,
    /// Whether the request says so itself that any is expected: `If-Match: *`.
    pub any: bool,
}

impl ExpectedVersions {
    /// Whether the request says what it expects to find, be it anything.
    pub fn are_named(&self) -> bool {
        self.any || self.one_of.is_some()
    }

    /// Whether a thing of this version may be acted on.
    pub fn include(&self, version: i64) -> bool {
        self.one_of.as_ref().is_none_or(|versions| versions.contains(&version))
            && !self.none_of.contains(&version)
    }
}
