//! The error of a setting that cannot be used.

/// A setting that cannot be used. The process ends with status 2 and this line.
#[derive(Debug, thiserror::Error)]
#[error("{setting} cannot be used: {why}")]
pub struct InvalidSetting {
    /// The name of its environment variable.
    pub setting: &'static str,
    /// What is wrong, and an example of a valid value.
    pub why: String,
}

/// Returns the error of `setting` with the reason `why`.
pub(super) fn unusable(setting: &'static str, why: &str) -> InvalidSetting {
    InvalidSetting { setting, why: why.to_owned() }
}
