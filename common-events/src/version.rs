//! The versions of a resource that a command may change.

/// The versions of a resource that a command may change, from the conditions of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedVersions {
    /// The versions that are allowed; `None` allows any.
    pub one_of: Option<Vec<i64>>,
    /// The versions that are excluded.
    pub none_of: Vec<i64>,
    /// True if the request allows any version explicitly, with `If-Match: *`.
    pub any: bool,
}

impl ExpectedVersions {
    /// Returns true if the request says which versions it expects, also where it says that it expects any.
    pub fn are_explicit(&self) -> bool {
        self.any || self.one_of.is_some()
    }

    /// Returns true if a resource of this version may be changed.
    pub fn include(&self, version: i64) -> bool {
        self.one_of.as_ref().is_none_or(|versions| versions.contains(&version))
            && !self.none_of.contains(&version)
    }
}
