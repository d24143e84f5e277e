//! Settings that cannot be used.

/// A setting that cannot be used: the process ends with status 2 and this line.
#[derive(Debug, thiserror::Error)]
#[error("{setting} cannot be used: {why}")]
pub struct InvalidSetting {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong, and what it should look like.
    pub why: String,
}

/// Returns that `setting` cannot be used, and `why`.
pub(super) fn unusable(setting: &'static str, why: &str) -> InvalidSetting {
    InvalidSetting { setting, why: why.to_owned() }
}
