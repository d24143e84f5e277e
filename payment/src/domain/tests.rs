use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn alice() -> Owner {
    Owner::of_subject("https://id.example", "alice")
}

fn any_command() -> impl Strategy<Value = Command> {
    (1..3_i64, 0..5_u8).prop_map(|(cart, kind)| {
        let cart_id = CartId(cart);
        match kind {
            0 => Command::Request { cart_id, owner: alice(), amount: 5000, trace: None },
            1 => Command::Cancel { cart_id, owner: alice() },
            2 => Command::Decide { cart_id, verdict: Verdict::Approved },
            3 => Command::Decide { cart_id, verdict: Verdict::Declined { reason: "no".into() } },
            _ => Command::GivenBack { cart_id },
        }
    })
}

/// Carries commands out. Returns the payments, and the types of the events that are published for each cart.
fn given<'a>(
    commands: impl IntoIterator<Item = &'a Command>,
) -> (Payments, HashMap<String, Vec<&'static str>>) {
    let (mut payments, mut out) = (Payments::default(), Publications::default());
    for command in commands {
        payments.handle(command, &mut out);
    }
    let mut published = HashMap::<_, Vec<_>>::new();
    for (_, event) in out.into_events() {
        published.entry(event.key()).or_default().push(event.event_type());
    }
    (payments, published)
}

fn rows(payments: &Payments) -> Vec<&Payment> {
    payments.payments.values().collect()
}

/// Does what the provider's worker does: asks until there is nothing more to ask.
fn settle(payments: &mut Payments) {
    while let Some(command) = next_answer(payments) {
        let before = payments.clone();
        payments.handle(&command, &mut Publications::default());
        assert_ne!(*payments, before, "{command:?} changed nothing: the worker would never end");
    }
}

fn next_answer(payments: &Payments) -> Option<Command> {
    payments.payments.values().find_map(|payment| {
        let cart_id = payment.cart_id;
        Some(match payment.to_do()? {
            Ask::Approve { .. } => Command::Decide { cart_id, verdict: Verdict::Approved },
            Ask::Cancel => Command::GivenBack { cart_id },
        })
    })
}

proptest! {
    #[test]
    fn a_command_that_comes_twice_changes_nothing_more(
        before in prop::collection::vec(any_command(), 0..12),
        command in any_command(),
    ) {
        let once: Vec<_> = before.iter().chain([&command]).collect();
        let twice: Vec<_> = once.iter().copied().chain([&command]).collect();
        let (once, published_once) = given(once);
        let (twice, published_twice) = given(twice);
        prop_assert_eq!(once, twice);
        prop_assert_eq!(published_once, published_twice);
    }

    #[test]
    fn each_cart_is_decided_once_and_given_back_once(
        commands in prop::collection::vec(any_command(), 0..30),
    ) {
        let (payments, published) = given(&commands);
        for events in published.values() {
            let legal: [&[&str]; 4] = [
                &["PaymentApproved"],
                &["PaymentDeclined"],
                &["PaymentCancelled"],
                &["PaymentApproved", "PaymentCancelled"],
            ];
            prop_assert!(legal.contains(&events.as_slice()), "published {:?}", events);
        }
        let mut ids: Vec<_> = rows(&payments).iter().filter_map(|payment| payment.id).collect();
        ids.sort();
        prop_assert_eq!(ids.len(), published.len(), "each that is decided has an id");
        prop_assert!((1..).zip(&ids).all(|(number, id)| id.0 == number), "gaps in {:?}", ids);
        prop_assert_eq!(payments.ids.live(), i64::try_from(ids.len()).unwrap());
    }

    #[test]
    fn a_cart_that_is_gone_ends_with_its_payment_cancelled_whatever_came_first(
        noise in prop::collection::vec(any_command(), 0..8),
        cancel_first in any::<bool>(),
    ) {
        let cart_id = CartId(9);
        let request = Command::Request { cart_id, owner: alice(), amount: 5000, trace: None };
        let cancel = Command::Cancel { cart_id, owner: alice() };
        let pair = if cancel_first { [cancel, request] } else { [request, cancel] };
        let (mut payments, _) = given(noise.iter().chain(&pair));
        settle(&mut payments);
        let payment = payments.payments.get(&cart_id).unwrap();
        prop_assert_eq!(payment.status, Status::Cancelled);
        prop_assert_eq!(payment.amount, Some(5000));
    }
}
