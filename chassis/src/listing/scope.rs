//! Whose items a request sees.

use crate::auth::Principal;
use crate::base::uri::encoded;
use crate::http::Query;
use common_events::Owner;

/// Whose items a request sees. Those of others are as if they were not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Those of one owner.
    Of(Owner),
}

impl Scope {
    /// Returns what `principal` may see: everything, or what is their own.
    pub fn of(principal: &Principal) -> Self {
        if principal.reads_all() { Self::All } else { Self::Of(principal.owner().clone()) }
    }

    /// Returns what `principal` asks to see: of those who may see everything, `owner` in the query asks for what belongs to one.
    /// For anybody else it is an unknown parameter, which is ignored.
    pub fn asked(principal: &Principal, query: &Query) -> Self {
        match (Self::of(principal), query.get(&["owner"])) {
            (Self::All, Some(owner)) => Self::Of(Owner::from_text(owner.to_owned())),
            (scope, _) => scope,
        }
    }

    /// Returns true if the items of `owner` are among these.
    pub fn includes(&self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::Of(one) => one == owner,
        }
    }

    /// Returns what links need for [`Scope::asked`] to be the same, such as `&owner=guest`.
    pub(super) fn query(&self, principal: &Principal) -> String {
        match self {
            Self::Of(owner) if principal.reads_all() => {
                format!("&owner={}", encoded(owner.as_str()))
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    #[test]
    fn an_md_sees_everything_or_what_one_owner_has_and_others_see_their_own() {
        let alice = || Owner::of_subject("https://id.example", "alice");
        let query = |text: &str| Query::parse(text).unwrap();
        let of_bob = "owner=https%3A%2F%2Fid.example%23bob";
        let bob = Scope::Of(Owner::of_subject("https://id.example", "bob"));
        for role in [Role::Md, Role::Operator] {
            let md = Principal::new(alice(), [role]);
            assert_eq!(Scope::asked(&md, &query("")), Scope::All);
            assert_eq!(Scope::asked(&md, &query(of_bob)), bob);
            assert_eq!(bob.query(&md), format!("&{of_bob}"), "it leads back");
            assert_eq!(Scope::All.query(&md), "");
        }
        for principal in [
            Principal::new(alice(), [Role::Customer]),
            Principal::open(),
            Principal::new(alice(), []),
        ] {
            let own = Scope::Of(principal.owner().clone());
            for text in ["", of_bob, "owner=guest"] {
                assert_eq!(Scope::asked(&principal, &query(text)), own, "{text}");
            }
            assert_eq!(own.query(&principal), "");
        }
    }
}
