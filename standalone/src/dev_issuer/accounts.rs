//! The sample accounts.

/// A sample account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// `sub`.
    pub subject: &'static str,
    pub name: &'static str,
    pub role: &'static str,
}

/// The sample accounts: two customers, a merchandiser and an operator.
pub const ACCOUNTS: [Account; 4] = [
    Account { subject: "hana", name: "김하나", role: "customer" },
    Account { subject: "duri", name: "이두리", role: "customer" },
    Account { subject: "md", name: "박엠디", role: "md" },
    Account { subject: "operator", name: "최운영", role: "operator" },
];

impl Account {
    /// Returns the account with this subject.
    pub(super) fn named(subject: &str) -> Option<Self> {
        ACCOUNTS.into_iter().find(|account| account.subject == subject)
    }
}
