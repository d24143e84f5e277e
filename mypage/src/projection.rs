//! The rules of the view: from events to what a customer sees. Pure: no clock, no database, no network.
//!
//! A view is the sum of the facts about a cart. It is the same in whatever order they come, and however often.

use chassis::model::{Ids, Tracked};
use common_events::{CartId, GifticonId, Owner, PaymentId, status};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Declares [`Kind`] and [`Times`]. A kind of fact is written down once, here: the event type that it is called by, the `status`
/// that it leads to, its rank in a history, and the column that says when it happened.
macro_rules! kinds {
    ($($kind:ident: $status:path, rank $rank:literal, $column:ident;)+) => {
        /// The kinds of facts. The `status` of a view is that of the last kind, in this order, that is known.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($kind,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Returns the `eventType`.
            pub fn event_type(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                }
            }

            /// Returns the `status` that it leads to.
            pub fn status(self) -> &'static str {
                match self {
                    $(Self::$kind => $status,)+
                }
            }

            /// Returns its rank in a history, in which causes come before effects: the clocks of services may differ.
            fn rank(self) -> u8 {
                match self {
                    $(Self::$kind => $rank,)+
                }
            }
        }

        /// When each kind of fact happened, as columns of a row. A column is null until the fact is known.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Times {
            $($column: Option<i64>,)+
        }

        impl Times {
            /// Names of the columns, with commas between them.
            pub const FIELDS: &str = comma_separated!($($column)+);
        }

        impl From<&BTreeMap<Kind, i64>> for Times {
            fn from(steps: &BTreeMap<Kind, i64>) -> Self {
                Self { $($column: steps.get(&Kind::$kind).copied(),)+ }
            }
        }

        impl From<Times> for BTreeMap<Kind, i64> {
            fn from(times: Times) -> Self {
                let all = [$((Kind::$kind, times.$column)),+];
                all.into_iter().filter_map(|(kind, at)| Some((kind, at?))).collect()
            }
        }
    };
}

/// Returns names with commas between them.
macro_rules! comma_separated {
    ($first:ident $($name:ident)*) => {
        concat!(stringify!($first) $(, ", ", stringify!($name))*)
    };
}

kinds! {
    CartAdded: status::CART_ADDED, rank 0, cart_added_at;
    PaymentApproved: status::PAYMENT_APPROVED, rank 1, payment_approved_at;
    CartRemoved: status::CART_REMOVED, rank 1, cart_removed_at;
    PaymentDeclined: status::PAYMENT_DECLINED, rank 1, payment_declined_at;
    PaymentCancelled: status::PAYMENT_CANCELED, rank 2, payment_cancelled_at;
}

/// What one event says about a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub cart_id: CartId,
    /// Whom the cart belongs to.
    pub owner: Owner,
    pub kind: Kind,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    pub details: Details,
}

/// Declares [`Details`]. A field is written down once, here.
macro_rules! details {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// What events say of a cart. A field is `None` until an event says it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Details {
            $($(#[$meta])* pub $field: Option<$type>,)*
        }

        impl Details {
            /// Names of the fields, with commas between them.
            pub const FIELDS: &str = comma_separated!($($field)*);

            /// Returns how many fields are known.
            fn known(&self) -> usize {
                [$(self.$field.is_some()),*].into_iter().filter(|known| *known).count()
            }

            /// Takes over what is not known yet. Returns true if anything was new.
            fn learn(&mut self, from: &Self) -> bool {
                let mut is_news = false;
                $(if self.$field.is_none() && from.$field.is_some() {
                    self.$field.clone_from(&from.$field);
                    is_news = true;
                })*
                is_news
            }
        }
    };
}

details! {
    #[serde(deserialize_with = "gifticon_id")]
    gifticon_id: GifticonId,
    name: String,
    /// Won for one unit.
    price: i64,
    quantity: i64,
    /// Won in all.
    amount: i64,
    #[serde(deserialize_with = "payment_id")]
    payment_id: PaymentId,
}

// Ids of events are read from JSON text alone, and the details are a part of a row that serde has in memory.
fn gifticon_id<'de, D: Deserializer<'de>>(id: D) -> Result<Option<GifticonId>, D::Error> {
    Ok(Option::deserialize(id)?.map(GifticonId))
}

fn payment_id<'de, D: Deserializer<'de>>(id: D) -> Result<Option<PaymentId>, D::Error> {
    Ok(Option::deserialize(id)?.map(PaymentId))
}

/// What a customer sees of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its row, counted from 1.
    pub id: i64,
    pub cart_id: CartId,
    /// Whom the cart belongs to.
    pub owner: Owner,
    pub details: Details,
    /// When each kind of fact happened, each once.
    pub steps: BTreeMap<Kind, i64>,
}

impl View {
    /// Returns the status that customers see.
    pub fn status(&self) -> &'static str {
        self.steps.last_key_value().map_or(status::CART_ADDED, |(kind, _)| kind.status())
    }

    /// Returns when the cart was added, or the time of the first fact while that is not known.
    pub fn created_at(&self) -> i64 {
        let added = self.steps.get(&Kind::CartAdded);
        added.or_else(|| self.steps.values().min()).copied().unwrap_or_default()
    }

    /// Returns the time of the last fact.
    pub fn updated_at(&self) -> i64 {
        self.steps.values().max().copied().unwrap_or_default()
    }

    /// Returns a number that grows with what the view knows: of two states of a view, the one with the higher number is newer.
    ///
    /// It does not grow if only a time becomes known better, which takes two events that say the same of a cart.
    pub fn version(&self) -> usize {
        self.steps.len() + self.details.known()
    }

    /// Folds a fact in. Returns true if anything was new.
    fn learn(&mut self, fact: &Fact) -> bool {
        // Of two facts of one kind the earlier counts, so that the order in which they come does not matter.
        let before = self.steps.get(&fact.kind).copied();
        let earlier = before.is_none_or(|at| fact.at < at);
        if earlier {
            self.steps.insert(fact.kind, fact.at);
        }
        // Events from before there were owners say that everything is of guests.
        let owned = self.owner == Owner::GUEST && fact.owner != Owner::GUEST;
        if owned {
            self.owner = fact.owner.clone();
        }
        self.details.learn(&fact.details) | earlier | owned
    }
}

/// What the view does with events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A fact came in.
    Told(Fact),
    /// A fact comes again, for the rebuild that `token` names.
    Replayed { token: String, fact: Fact },
    /// Fill a new table beside the old one. A rebuild that ran before is given up.
    BeginRebuild { token: String },
    /// Let the new table take the place of the old.
    FinishRebuild { token: String },
}

/// Returns the steps of a cart in the order in which they happened.
pub fn in_order(steps: BTreeMap<Kind, i64>) -> Vec<(Kind, i64)> {
    let mut steps: Vec<_> = steps.into_iter().collect();
    steps.sort_by_key(|(kind, at)| (kind.rank(), *at, *kind));
    steps
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("another rebuild has begun since")]
    Overtaken,
}

/// The tables that a batch of commands works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The views that customers see, by cart.
    pub shown: Tracked<CartId, View>,
    /// The ids of views. Those that customers see are live.
    pub ids: Ids,
    /// The new table, while the view is rebuilt.
    pub rebuilt: Option<Rebuilt>,
    /// True if the new table is to take the place of the one that customers see.
    pub finished: bool,
    /// Carts whose view was a guest's before, and has another owner now.
    pub owned: BTreeSet<CartId>,
}

/// The new table of a rebuild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The rebuild that fills it.
    pub token: String,
    /// True if the table is to be made.
    pub is_new: bool,
    /// By cart.
    pub views: Tracked<CartId, View>,
}

impl Tables {
    /// Carries out `command`. A fact that is known already changes nothing.
    pub fn handle(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Told(fact) => {
                let rebuilt = self.rebuilt.as_ref().and_then(|new| new.views.get(&fact.cart_id));
                let known = rebuilt.map(|view| view.id); // a view keeps its id when the tables change places
                let learnt = learn(&mut self.shown, fact, || match known {
                    Some(id) => {
                        self.ids.count_row();
                        id
                    }
                    None => self.ids.add_row(),
                });
                if learnt != Learnt::NoOwner {
                    self.ids.count_owner(&fact.owner, 1);
                }
                self.note(fact, learnt);
                self.replay(fact);
            }
            Command::Replayed { token, fact } => {
                self.must_run(token)?;
                self.replay(fact);
            }
            Command::BeginRebuild { token } => {
                let token = token.clone();
                self.rebuilt = Some(Rebuilt { token, is_new: true, views: Tracked::default() });
            }
            Command::FinishRebuild { token } => {
                self.must_run(token)?;
                self.finished = true;
            }
        }
        Ok(())
    }

    /// Returns a refusal unless the rebuild that `token` names is the one that runs.
    fn must_run(&self, token: &str) -> Result<(), Refusal> {
        let runs = self.rebuilt.as_ref().is_some_and(|rebuilt| rebuilt.token == token);
        if runs { Ok(()) } else { Err(Refusal::Overtaken) }
    }

    /// Folds a fact into the new table, if there is one. A view keeps the id that customers know.
    fn replay(&mut self, fact: &Fact) {
        if let Some(rebuilt) = &mut self.rebuilt {
            let shown = self.shown.get(&fact.cart_id);
            let learnt = learn(&mut rebuilt.views, fact, || {
                shown.map_or_else(|| self.ids.skip(), |view| view.id)
            });
            self.note(fact, learnt);
        }
    }

    /// Notes the cart of a view that has another owner now.
    fn note(&mut self, fact: &Fact, learnt: Learnt) {
        if learnt == Learnt::OtherOwner {
            self.owned.insert(fact.cart_id);
        }
    }
}

/// What a fact told of the owner of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learnt {
    /// Nothing new.
    NoOwner,
    /// The first that is known, of a view that is new.
    Owner,
    /// That it is no guest, as was thought before.
    OtherOwner,
}

/// Folds a fact into the view of its cart. A view that is new gets an id by `new_id`.
fn learn(views: &mut Tracked<CartId, View>, fact: &Fact, new_id: impl FnOnce() -> i64) -> Learnt {
    let cart_id = fact.cart_id;
    let Some(known) = views.get(&cart_id) else {
        let (owner, details, steps) = (Owner::GUEST, Details::default(), BTreeMap::new());
        let mut view = View { id: new_id(), cart_id, owner, details, steps };
        view.learn(fact);
        views.add(cart_id, view);
        return Learnt::Owner;
    };
    let mut view = known.clone();
    let learnt = view.learn(fact);
    let other = view.owner != known.owner;
    if learnt && let Some(row) = views.change(&cart_id) {
        *row = view;
    }
    if other { Learnt::OtherOwner } else { Learnt::NoOwner }
}

#[cfg(test)]
mod tests;
