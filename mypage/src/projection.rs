//! From events to what a customer sees. Pure: no clock, no database, no network.
//!
//! A view is the sum of the facts that were told about a cart, and the same whatever order they come
//! in and however often.

use common_events::{CartId, GifticonId, PaymentId, status};
use std::collections::{BTreeMap, HashMap};

/// The kinds of facts, in the order in which a later one hides an earlier one in `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    CartAdded,
    PaymentApproved,
    CartRemoved,
    PaymentDeclined,
    PaymentCancelled,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::CartAdded,
        Self::PaymentApproved,
        Self::CartRemoved,
        Self::PaymentDeclined,
        Self::PaymentCancelled,
    ];

    /// The `eventType`.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::CartAdded => "CartAdded",
            Self::PaymentApproved => "PaymentApproved",
            Self::CartRemoved => "CartRemoved",
            Self::PaymentDeclined => "PaymentDeclined",
            Self::PaymentCancelled => "PaymentCancelled",
        }
    }

    /// The `status` that it leads to.
    pub fn status(self) -> &'static str {
        match self {
            Self::CartAdded => status::CART_ADDED,
            Self::PaymentApproved => status::PAYMENT_APPROVED,
            Self::CartRemoved => status::CART_REMOVED,
            Self::PaymentDeclined => status::PAYMENT_DECLINED,
            Self::PaymentCancelled => status::PAYMENT_CANCELED,
        }
    }

    /// What causes go before: an addition before all else, a cancelled payment after all else. Clocks
    /// of different services need not agree.
    fn place(self) -> u8 {
        match self {
            Self::CartAdded => 0,
            Self::PaymentApproved | Self::CartRemoved | Self::PaymentDeclined => 1,
            Self::PaymentCancelled => 2,
        }
    }
}

/// Something that was told about a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub cart_id: CartId,
    pub kind: Kind,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    pub details: Details,
}

/// What an event says of a cart; what it does not say is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub gifticon_id: Option<GifticonId>,
    pub name: Option<String>,
    /// Won for one unit.
    pub price: Option<i64>,
    pub quantity: Option<i64>,
    /// Won in all.
    pub amount: Option<i64>,
    pub payment_id: Option<PaymentId>,
}

impl Details {
    /// Takes over what is not known yet. Answers whether anything was new.
    fn learn(&mut self, from: &Self) -> bool {
        fn learn<T: Clone>(known: &mut Option<T>, told: Option<&T>) -> bool {
            let new = known.is_none() && told.is_some();
            if new {
                *known = told.cloned();
            }
            new
        }
        learn(&mut self.gifticon_id, from.gifticon_id.as_ref())
            | learn(&mut self.name, from.name.as_ref())
            | learn(&mut self.price, from.price.as_ref())
            | learn(&mut self.quantity, from.quantity.as_ref())
            | learn(&mut self.amount, from.amount.as_ref())
            | learn(&mut self.payment_id, from.payment_id.as_ref())
    }
}

/// What a customer sees of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its row, counted from 1.
    pub id: i64,
    pub cart_id: CartId,
    pub details: Details,
    /// When each kind of fact happened, each once.
    pub steps: BTreeMap<Kind, i64>,
}

impl View {
    /// Where the cart is.
    pub fn status(&self) -> &'static str {
        self.steps.last_key_value().map_or(status::CART_ADDED, |(kind, _)| kind.status())
    }

    /// When the cart was added, or the first that is known of it.
    pub fn created_at(&self) -> i64 {
        let added = self.steps.get(&Kind::CartAdded);
        added.or_else(|| self.steps.values().min()).copied().unwrap_or_default()
    }

    /// When something happened last.
    pub fn updated_at(&self) -> i64 {
        self.steps.values().max().copied().unwrap_or_default()
    }

    /// Folds a fact in, and answers whether it told anything new.
    fn learn(&mut self, fact: &Fact) -> bool {
        // Of two that tell the same, the earlier counts, so that their order does not.
        let before = self.steps.get(&fact.kind).copied();
        let earlier = before.is_none_or(|at| fact.at < at);
        if earlier {
            self.steps.insert(fact.kind, fact.at);
        }
        self.details.learn(&fact.details) | earlier
    }
}

/// What is asked of the view.
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

/// The steps of a cart in the order in which they happened.
pub fn in_order(steps: BTreeMap<Kind, i64>) -> Vec<(Kind, i64)> {
    let mut steps: Vec<_> = steps.into_iter().collect();
    steps.sort_by_key(|(kind, at)| (kind.place(), *at, *kind));
    steps
}

/// What a batch of facts works on.
#[derive(Clone, Debug, Default)]
pub struct Views {
    pub views: HashMap<CartId, View>,
    /// The last row that was given.
    pub last_id: i64,
    /// How many there are.
    pub live: i64,
}

impl Views {
    /// Whether a fact tells anything new.
    pub fn is_news(&self, fact: &Fact) -> bool {
        self.views.get(&fact.cart_id).is_none_or(|view| view.clone().learn(fact))
    }

    /// Folds a fact in.
    pub fn learn(&mut self, fact: &Fact) {
        let id = self.id_of(fact.cart_id);
        if !self.views.contains_key(&fact.cart_id) {
            self.last_id = self.last_id.max(id);
            self.live += 1;
        }
        self.learn_as(id, fact);
    }

    /// Folds a fact into the view with the id `id`.
    pub fn learn_as(&mut self, id: i64, fact: &Fact) {
        let cart_id = fact.cart_id;
        let view = self.views.entry(cart_id).or_insert_with(|| View {
            id,
            cart_id,
            details: Details::default(),
            steps: BTreeMap::new(),
        });
        view.learn(fact);
    }

    /// The id of a cart's view, or the one that it will get.
    pub fn id_of(&self, cart_id: CartId) -> i64 {
        self.views.get(&cart_id).map_or(self.last_id + 1, |view| view.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The facts of one cart, consistent with each other as those of a real one are.
    fn story() -> impl Strategy<Value = Vec<Fact>> {
        prop::collection::vec(0..1_000_i64, 5).prop_map(|times| {
            let fact = |(kind, at): (Kind, i64)| Fact {
                cart_id: CartId(7),
                kind,
                at,
                details: match kind {
                    Kind::CartAdded => Details {
                        gifticon_id: Some(GifticonId(1)),
                        name: Some("Americano".into()),
                        price: Some(5000),
                        quantity: Some(10),
                        amount: Some(50000),
                        payment_id: None,
                    },
                    Kind::CartRemoved => Details {
                        gifticon_id: Some(GifticonId(1)),
                        quantity: Some(10),
                        ..Details::default()
                    },
                    Kind::PaymentApproved | Kind::PaymentDeclined | Kind::PaymentCancelled => {
                        Details {
                            payment_id: Some(PaymentId(3)),
                            amount: Some(50000),
                            ..Details::default()
                        }
                    }
                },
            };
            Kind::ALL.into_iter().zip(times).map(fact).collect()
        })
    }

    fn told(facts: &[Fact]) -> View {
        let mut views = Views::default();
        facts.iter().for_each(|fact| views.learn(fact));
        assert_eq!((views.last_id, views.live), (1, 1), "one row a cart");
        views.views.remove(&CartId(7)).unwrap()
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_gives_the_same_view(
            (facts, told_again) in story().prop_flat_map(|facts| {
                let again = prop::collection::vec(prop::sample::select(facts.clone()), 0..10);
                (Just(facts), again)
            }),
            shuffle in any::<prop::sample::Index>(),
        ) {
            let mut other: Vec<Fact> = facts.iter().cloned().chain(told_again).collect();
            let length = other.len();
            other.rotate_left(shuffle.index(length));
            other.sort_by_key(|fact| (fact.at * 7919 + fact.kind as i64 * 104_729) % 31);
            prop_assert_eq!(told(&facts), told(&other));
        }

        #[test]
        fn what_is_no_news_changes_nothing(facts in story(), again in 0..5_usize) {
            let mut views = Views::default();
            facts.iter().for_each(|fact| views.learn(fact));
            prop_assert!(!views.is_news(&facts[again]));
        }
    }

    #[test]
    fn a_declined_cart_shows_why_and_a_cancelled_one_that_it_is_over() {
        let fact = |kind, at| Fact { cart_id: CartId(7), kind, at, details: Details::default() };
        let declined =
            [fact(Kind::CartAdded, 1), fact(Kind::PaymentDeclined, 2), fact(Kind::CartRemoved, 3)];
        assert_eq!(told(&declined).status(), "PaymentDeclined");
        let cancelled = [
            fact(Kind::CartAdded, 1),
            fact(Kind::CartRemoved, 2),
            fact(Kind::PaymentApproved, 3),
            fact(Kind::PaymentCancelled, 4),
        ];
        assert_eq!(told(&cancelled).status(), "PaymentCanceled");
        let view = told(&cancelled);
        assert_eq!((view.created_at(), view.updated_at()), (1, 4));
    }

    #[test]
    fn history_begins_with_the_cart_however_clocks_differ() {
        let steps = [
            (Kind::PaymentCancelled, 1),
            (Kind::CartRemoved, 9),
            (Kind::PaymentApproved, 4),
            (Kind::CartAdded, 5),
        ];
        let kinds: Vec<Kind> = in_order(steps.into()).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [Kind::CartAdded, Kind::PaymentApproved, Kind::CartRemoved, Kind::PaymentCancelled]
        );
    }
}
