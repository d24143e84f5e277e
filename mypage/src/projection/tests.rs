use super::*;
use crate::app::ViewModel;
use chassis::testing::refusals_change_nothing;
use proptest::prelude::*;

fn alice() -> Owner {
    Owner::of_subject("https://id.example", "alice")
}

/// The facts of one cart, consistent with each other as those of a real one are.
fn story() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec(0..1_000_i64, Kind::ALL.len()).prop_map(|times| {
        let fact = |(kind, at): (Kind, i64)| Fact {
            cart_id: CartId(7),
            // Some come from before there were owners.
            owner: if at % 5 == 0 { Owner::GUEST } else { alice() },
            kind,
            at,
            details: match kind {
                Kind::CartAdded => Details {
                    gifticon_id: Some(GifticonId(1)),
                    name: Some("Americano".into()),
                    price: Some(5000),
                    quantity: Some(10),
                    amount: Some(50000),
                    ..Details::default()
                },
                Kind::CartRemoved => Details {
                    gifticon_id: Some(GifticonId(1)),
                    quantity: Some(10),
                    ..Details::default()
                },
                _ => Details {
                    payment_id: Some(PaymentId(3)),
                    amount: Some(50000),
                    ..Details::default()
                },
            },
        };
        Kind::ALL.iter().copied().zip(times).map(fact).collect()
    })
}

fn tell(tables: &mut Tables, facts: &[Fact]) {
    for fact in facts {
        tables.handle(&Command::Told(fact.clone())).unwrap();
    }
}

/// Returns the view of facts about cart 7.
fn view_of(facts: &[Fact]) -> View {
    let mut tables = Tables::default();
    tell(&mut tables, facts);
    let view = tables.shown.get(&CartId(7)).unwrap().clone();
    let owned = i64::from(view.owner != Owner::GUEST);
    assert_eq!(tables.ids.changed(), Some((1, 1, owned)), "one row a cart");
    view
}

/// A story, and the same with some facts again, in any order.
fn story_in_two_orders() -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    let with_repeats = story().prop_flat_map(|facts| {
        let again = prop::collection::vec(prop::sample::select(facts.clone()), 0..10);
        (Just(facts), again)
    });
    with_repeats.prop_flat_map(|(facts, again)| {
        let all = [facts.clone(), again].concat();
        (Just(facts), Just(all).prop_shuffle())
    })
}

/// Commands about two carts and two rebuilds.
fn any_command() -> impl Strategy<Value = Command> {
    let fact = (1..=2_i64, prop::sample::select(Kind::ALL.to_vec()), 0..9_i64);
    let fact = fact.prop_map(|(cart, kind, at)| {
        let (cart_id, details) = (CartId(cart), Details::default());
        Fact { cart_id, owner: Owner::GUEST, kind, at, details }
    });
    let token = prop::sample::select(vec!["one".to_owned(), "two".to_owned()]);
    prop_oneof![
        3 => fact.clone().prop_map(Command::Told),
        3 => (token.clone(), fact).prop_map(|(token, fact)| Command::Replayed { token, fact }),
        1 => token.clone().prop_map(|token| Command::BeginRebuild { token }),
        1 => token.prop_map(|token| Command::FinishRebuild { token }),
    ]
}

proptest! {
    #[test]
    fn any_order_and_repetition_gives_the_same_view((facts, shuffled) in story_in_two_orders()) {
        prop_assert_eq!(view_of(&facts), view_of(&shuffled));
    }

    #[test]
    fn a_rebuild_gives_the_same_view_in_any_order((facts, shuffled) in story_in_two_orders()) {
        let mut tables = Tables::default();
        tell(&mut tables, &facts);
        let token = "one".to_owned();
        tables.handle(&Command::BeginRebuild { token: token.clone() }).unwrap();
        for fact in shuffled {
            tables.handle(&Command::Replayed { token: token.clone(), fact }).unwrap();
        }
        let rebuilt = tables.rebuilt.as_ref().unwrap();
        prop_assert_eq!(rebuilt.views.get(&CartId(7)), tables.shown.get(&CartId(7)));
    }

    #[test]
    fn a_view_that_a_rebuild_knew_first_keeps_its_id(facts in story(), first in 0..5_usize) {
        let mut tables = Tables::default();
        let token = "one".to_owned();
        tables.handle(&Command::BeginRebuild { token: token.clone() }).unwrap();
        tables.handle(&Command::Replayed { token, fact: facts[first].clone() }).unwrap();
        tell(&mut tables, &facts);
        let rebuilt = tables.rebuilt.as_ref().unwrap();
        prop_assert_eq!(rebuilt.views.get(&CartId(7)), tables.shown.get(&CartId(7)));
        prop_assert_eq!(tables.ids.changed().map(|(last, live, _)| (last, live)), Some((1, 1)));
    }

    #[test]
    fn what_is_no_news_changes_nothing(facts in story(), again in 0..5_usize) {
        let mut tables = Tables::default();
        tell(&mut tables, &facts);
        let before = tables.clone();
        tell(&mut tables, &facts[again..=again]);
        prop_assert_eq!(tables, before);
    }

    #[test]
    fn a_refusal_changes_nothing(commands in prop::collection::vec(any_command(), 0..40)) {
        refusals_change_nothing::<ViewModel>(&mut Tables::default(), &commands);
    }
}

#[test]
fn a_declined_cart_shows_why_and_a_cancelled_one_that_it_is_over() {
    let fact = |kind, at| {
        let (cart_id, details) = (CartId(7), Details::default());
        Fact { cart_id, owner: alice(), kind, at, details }
    };
    let declined =
        [fact(Kind::CartAdded, 1), fact(Kind::PaymentDeclined, 2), fact(Kind::CartRemoved, 3)];
    assert_eq!(view_of(&declined).status(), "PaymentDeclined");
    let cancelled = [
        fact(Kind::CartAdded, 1),
        fact(Kind::CartRemoved, 2),
        fact(Kind::PaymentApproved, 3),
        fact(Kind::PaymentCancelled, 4),
    ];
    assert_eq!(view_of(&cancelled).status(), "PaymentCanceled");
    let view = view_of(&cancelled);
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
