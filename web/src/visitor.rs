//! Who looks at a page.

/// Who looks at a page. The gateway puts it into the extensions of a request where people can sign in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visitor {
    /// Somebody of a shop where nobody signs in: the services say what they may.
    #[default]
    Anybody,
    /// Somebody who is not signed in, and may buy all the same.
    Guest,
    /// Somebody who is not signed in.
    Stranger,
    /// Somebody who is signed in.
    Account(Account),
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which account it is, without saying whose: others may be called the same.
    pub key: String,
    /// What they are called.
    pub name: String,
    /// True if they may buy.
    pub is_customer: bool,
    /// True if they may change what is on sale.
    pub is_md: bool,
}

impl Visitor {
    /// Returns true if they may buy.
    pub(crate) fn may_buy(&self) -> bool {
        match self {
            Self::Anybody | Self::Guest => true,
            Self::Stranger => false,
            Self::Account(account) => account.is_customer,
        }
    }

    /// Returns true if they may change what is on sale.
    pub(crate) fn may_manage(&self) -> bool {
        match self {
            Self::Anybody => true,
            Self::Guest | Self::Stranger => false,
            Self::Account(account) => account.is_md,
        }
    }

    /// Returns true if they could sign in, and are not.
    pub(crate) fn can_sign_in(&self) -> bool {
        matches!(self, Self::Guest | Self::Stranger)
    }

    /// Returns which account it is, or an empty text where nobody is signed in.
    pub fn key(&self) -> &str {
        match self {
            Self::Account(account) => &account.key,
            _ => "",
        }
    }

    /// Returns what they are called, if they are signed in.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Account(account) => Some(&account.name),
            _ => None,
        }
    }
}
