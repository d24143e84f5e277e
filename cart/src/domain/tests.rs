//! What the rules promise, for any sequence of commands.

use super::*;
use crate::app::CartModel;
use chassis::testing::refusals_change_nothing;
use common_events::{Event, GifticonId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use uuid::Uuid;

fn reservation(n: u8) -> ReservationId {
    ReservationId(Uuid::from_u128(n.into()))
}

fn begin(n: u8, key: Option<&str>, quantity: i64) -> Command {
    Command::BeginAttempt(Attempt {
        reservation_id: reservation(n),
        owner: Owner::GUEST,
        gifticon_id: GifticonId(1),
        quantity,
        key: key.map(Into::into),
        cancelled: false,
    })
}

fn confirm(n: u8) -> Command {
    Command::Confirm { reservation: reservation(n), name: "Americano".into(), price: 5000, at: 0 }
}

fn cancel(n: u8) -> Command {
    Command::CancelAttempt { reservation: reservation(n) }
}

fn expire(n: u8) -> Command {
    Command::ExpireAttempt { reservation: reservation(n) }
}

/// Six attempts begin, then anything happens. Ids of reservations are new ones: a request never begins one twice.
fn any_story() -> impl Strategy<Value = Vec<Command>> {
    let step = (0..9_u8, 1..6_i64, 0..12_u8, 1..3_i64);
    prop::collection::vec(step, 0..40).prop_map(|steps| {
        let keys = [None, Some("a"), None, Some("b"), Some("a"), None];
        let first = keys.iter().zip(0..).map(|(key, n)| begin(n, *key, 1));
        let mut unused_reservations = 6..;
        let steps = steps.into_iter().map(|(n, id, what, quantity)| {
            let (reservation, id) = (reservation(n), CartId(id));
            match what {
                0 | 1 => confirm(n),
                2 => Command::Refuse { reservation, rejection: Rejection::UnknownGifticon },
                3 => cancel(n),
                4 => Command::CloseAttempt { reservation },
                5 => {
                    let (owner, expected) = (Owner::GUEST, ExpectedVersions::default());
                    Command::Remove { id, owner, expected }
                }
                6 => Command::MarkPaid { id },
                7 => Command::Decline { id },
                8 => expire(n),
                9 => {
                    let one_of = Some(vec![quantity]);
                    let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
                    Command::Remove { id, owner: Owner::GUEST, expected }
                }
                _ => {
                    let key = [None, Some("a"), Some("b")][usize::from(n % 3)];
                    begin(unused_reservations.next().unwrap(), key, quantity)
                }
            }
        });
        first.chain(steps).collect()
    })
}

/// Returns the state after `commands`, and the outcome of the last one.
fn given(commands: &[Command]) -> (Carts, Result<Reply, Refusal>) {
    let (mut carts, mut last) = (Carts::default(), Ok(Reply::Done));
    for command in commands {
        last = carts.handle(command, &mut Publications::default());
    }
    (carts, last)
}

/// Carries out `command`, and returns the events that it publishes.
fn events(carts: &mut Carts, command: &Command) -> Vec<Event> {
    let mut out = Publications::default();
    let _ = carts.handle(command, &mut out);
    out.into_events().into_iter().map(|(_, event)| event).collect()
}

proptest! {
    #[test]
    fn a_command_that_comes_twice_changes_nothing_more(story in any_story(), place in 0..46_usize) {
        let place = place.min(story.len() - 1);
        let (once, _) = given(&story[..=place]);
        let mut twice = once.clone();
        prop_assert_eq!(events(&mut twice, &story[place]), []);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_refusal_changes_nothing(story in any_story()) {
        refusals_change_nothing::<CartModel>(&mut Carts::default(), &story);
    }

    #[test]
    fn a_reservation_becomes_one_cart_or_none_and_what_is_gone_stays_gone(story in any_story()) {
        let (mut carts, mut made, mut gone) = (Carts::default(), BTreeSet::new(), BTreeSet::new());
        for command in &story {
            for event in events(&mut carts, command) {
                match event {
                    Event::CartAdded(cart) => {
                        prop_assert!(made.insert(cart.id), "told twice of {}", cart.id);
                    }
                    Event::CartRemoved(cart) => {
                        prop_assert!(gone.insert(cart.id), "removed twice: {}", cart.id);
                    }
                    other => return Err(TestCaseError::fail(format!("it published {other:?}"))),
                }
            }
            prop_assert!(gone.iter().all(|id| !carts.carts.get(id).unwrap().is_live()));
        }
        let all: Vec<_> = carts.carts.values().collect();
        prop_assert_eq!(all.iter().map(|cart| cart.id).collect::<BTreeSet<_>>(), made);
        let reservations: BTreeSet<_> = all.iter().map(|cart| cart.reservation_id).collect();
        prop_assert_eq!(reservations.len(), all.len());
        let removed: BTreeSet<_> =
            all.iter().filter(|cart| !cart.is_live()).map(|cart| cart.id).collect();
        prop_assert_eq!(carts.ids.live(), i64::try_from(all.len() - removed.len()).unwrap());
        prop_assert_eq!(removed, gone);
        for cart in all {
            prop_assert!(carts.attempts.get(&cart.reservation_id).is_none());
        }
    }
}

#[test]
fn what_was_cancelled_is_not_confirmed_any_more() {
    let (carts, confirmed) = given(&[begin(0, None, 1), cancel(0), confirm(0)]);
    assert_eq!(confirmed, Err(Refusal::AttemptCancelled));
    assert!(carts.attempts.get(&reservation(0)).unwrap().cancelled, "its stock is to be released");
}

#[test]
fn cancelling_what_was_confirmed_after_all_removes_the_cart() {
    let (carts, _) = given(&[begin(0, Some("k"), 1), confirm(0), cancel(0)]);
    assert_eq!(carts.carts.get(&CartId(1)).unwrap().status, Status::Removed);
    assert_eq!(carts.keys.get(&"k".to_owned()), None, "its customer tries again with the same key");
}

/// Its key is known to the tables only.
#[test]
fn cancelling_what_was_confirmed_earlier_frees_its_key() {
    let (carts, _) = given(&[begin(0, Some("k"), 1), confirm(0)]);
    let mut later = Carts { ids: Ids::read(1, 1, 0), ..Carts::default() };
    later.carts.read(CartId(1), carts.carts.get(&CartId(1)).unwrap().clone());
    assert_eq!(events(&mut later, &cancel(0)).len(), 1);
    assert_eq!((later.rolled_back.as_slice(), later.ids.live()), (&[CartId(1)][..], 0));
}

#[test]
fn expiring_an_old_attempt_leaves_a_cart_that_was_confirmed_meanwhile() {
    let (carts, _) = given(&[begin(0, None, 1), confirm(0), expire(0)]);
    assert!(carts.carts.get(&CartId(1)).unwrap().is_live());
    let (carts, _) = given(&[begin(0, None, 1), expire(0)]);
    assert!(carts.attempts.get(&reservation(0)).unwrap().cancelled);
}

#[test]
fn a_key_answers_the_same_request_the_same_and_refuses_another() {
    let first = [begin(0, Some("k"), 1), confirm(0)];
    let (carts, confirmed) = given(&first);
    let Ok(Reply::Cart(cart)) = confirmed else { panic!("{confirmed:?}") };
    assert_eq!(carts.carts.get(&CartId(1)), Some(&cart));
    let again = |quantity| {
        let mut carts = carts.clone();
        let reply = carts.handle(&begin(1, Some("k"), quantity), &mut Publications::default());
        assert_eq!(carts.attempts.values().count(), 0, "nothing is begun");
        reply
    };
    assert_eq!(again(1), Ok(Reply::Repeated(Outcome::Added(CartId(1)), Some(cart.clone()))));
    assert_eq!(again(2), Err(Refusal::KeyReused));
}

#[test]
fn a_key_whose_request_was_cancelled_is_free_for_another_try() {
    let (carts, reply) = given(&[begin(0, Some("k"), 1), cancel(0), begin(1, Some("k"), 1)]);
    assert_eq!(reply, Ok(Reply::Begun));
    assert_eq!(carts.keys.get(&"k".to_owned()).unwrap().outcome, Outcome::Pending);
}
