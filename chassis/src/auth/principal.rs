//! Who makes a request.

use common_events::Owner;
use std::time::SystemTime;

/// What somebody may do, beyond what everybody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Adds, reads and cancels carts of their own, and reads their own payments and views.
    Customer,
    /// The merchandiser: registers, changes and deletes gifticons, and reads all lists.
    Md,
    /// Looks after parked events and rebuilds of the view.
    Operator,
}

impl Role {
    const ALL: [Self; 3] = [Self::Customer, Self::Md, Self::Operator];

    /// Returns the role with this name in tokens: `customer`, `md` or `operator`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "customer" => Some(Self::Customer),
            "md" => Some(Self::Md),
            "operator" => Some(Self::Operator),
            _ => None,
        }
    }
}

/// Who makes a request: the owner of what they make, and their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
    /// One bit for each role.
    roles: u8,
    /// When their token expires.
    expires: Option<SystemTime>,
}

impl Principal {
    /// Returns the owner with these roles.
    pub fn new(owner: Owner, roles: impl IntoIterator<Item = Role>) -> Self {
        let roles = roles.into_iter().fold(0, |roles, role| roles | 1 << role as u8);
        Self { owner, roles, expires: None }
    }

    /// Returns them as a token shows them that expires at this time.
    #[must_use]
    pub fn until(self, expires: SystemTime) -> Self {
        Self { expires: Some(expires), ..self }
    }

    /// Returns whoever makes a request in open mode: the guest, who may do everything.
    pub fn open() -> Self {
        Self::new(Owner::GUEST, Role::ALL)
    }

    /// Returns somebody who is not known, and may do what everybody may.
    pub fn nobody() -> Self {
        Self::new(Owner::GUEST, [])
    }

    /// Returns whom what they make belongs to.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns when the token expires that shows who they are; `None` without one.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Returns true for a guest: one of all those without a token.
    pub fn is_guest(&self) -> bool {
        self.owner == Owner::GUEST
    }

    /// Returns true if they have the role.
    pub fn has(&self, role: Role) -> bool {
        self.roles & 1 << role as u8 != 0
    }

    /// Returns true if they may read what belongs to others. The guest of open mode may not: guests own what guests make.
    pub fn reads_all(&self) -> bool {
        self.owner != Owner::GUEST && (self.has(Role::Md) || self.has(Role::Operator))
    }
}
