//! What the rules promise, for any sequence of commands.

use super::*;
use crate::model::CartModel;
use chassis::testing::refusals_change_nothing;
use common_events::{Event, GifticonId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use uuid::Uuid;

/// An attempt. Those without a key are in a block of four.
fn attempt(n: u8, key: Option<&str>, quantity: i64) -> Attempt {
    let n = u128::from(n);
    let id = if key.is_some() { (0x1000 + n) << 8 } else { ((n / 4 + 1) << 8) + n % 4 };
    Attempt {
        reservation_id: ReservationId(Uuid::from_u128(id)),
        owner: Owner::GUEST,
        gifticon_id: GifticonId(1),
        quantity,
        key: key.map(Into::into),
        cancelled: false,
    }
}

/// What a request writes before it asks gifticon.
fn begin(attempt: &Attempt) -> Command {
    match attempt.block() {
        Some(block) => Command::OpenBlock(block),
        None => Command::BeginAttempt(attempt.clone()),
    }
}

fn confirm(attempt: &Attempt) -> Command {
    Command::Confirm { attempt: attempt.clone(), name: "Americano".into(), price: 5000, at: 0 }
}

fn cancel(attempt: &Attempt) -> Command {
    Command::CancelAttempt(attempt.clone())
}

/// What the sweeper makes of an attempt that was left behind.
fn expire(attempt: &Attempt) -> Command {
    match attempt.block() {
        Some(block) => Command::ExpireBlock(block),
        None => Command::ExpireAttempt { reservation: attempt.reservation_id },
    }
}

/// Attempts begin, then anything happens. Ids of reservations and of blocks are new ones: none begins twice.
fn any_story() -> impl Strategy<Value = Vec<Command>> {
    let step = (0..9_usize, 1..6_i64, 0..13_u8, 1..3_i64);
    prop::collection::vec(step, 0..40).prop_map(|steps| {
        let keys = [None, Some("a"), None, Some("b"), Some("a"), None];
        let mut attempts: Vec<Attempt> =
            keys.iter().zip(0..).map(|(key, n)| attempt(n, *key, 1)).collect();
        let mut story: Vec<Command> = Vec::new();
        for begin in attempts.iter().map(begin) {
            if !story.contains(&begin) {
                story.push(begin); // some share a block
            }
        }
        let mut unused = (8..).step_by(4);
        for (n, id, what, quantity) in steps {
            let (one, id) = (attempts[n % attempts.len()].clone(), CartId(id));
            let reservation = one.reservation_id;
            story.push(match what {
                0 | 1 => confirm(&one),
                2 => Command::Refuse { reservation, rejection: Rejection::UnknownGifticon },
                3 => cancel(&one),
                4 => Command::CloseAttempt { reservation },
                5 => {
                    let (owner, expected) = (Owner::GUEST, ExpectedVersions::default());
                    Command::Remove { id, owner, expected }
                }
                6 => Command::MarkPaid { id },
                7 => Command::Decline { id },
                8 => expire(&one),
                9 => {
                    let one_of = Some(vec![quantity]);
                    let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
                    Command::Remove { id, owner: Owner::GUEST, expected }
                }
                10 => Command::CloseBlock(Block::of(reservation)),
                _ => {
                    let key = [None, Some("a"), Some("b")][n % 3];
                    let new = attempt(unused.next().unwrap(), key, quantity); // in a block of its own
                    attempts.push(new.clone());
                    begin(&new)
                }
            });
        }
        story
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

    #[test]
    fn what_a_block_leaves_is_a_cart_or_is_released(story in any_story()) {
        let (mut carts, _) = given(&story);
        for block in carts.blocks.values().copied().collect::<Vec<_>>() {
            prop_assert_eq!(events(&mut carts, &Command::ExpireBlock(block)), []);
            for reservation in block.reservations() {
                let is_cart = carts.carts.values().any(|cart| cart.reservation_id == reservation);
                let attempt = carts.attempts.get(&reservation);
                prop_assert_eq!(attempt.is_some_and(|attempt| attempt.cancelled), !is_cart);
                let late = Attempt { reservation_id: reservation, ..attempt_of(block) };
                prop_assert_eq!(carts.handle(&confirm(&late), &mut Publications::default()).is_ok(), is_cart);
            }
        }
        prop_assert_eq!(carts.blocks.values().count(), 0);
    }
}

fn attempt_of(block: Block) -> Attempt {
    Attempt { reservation_id: block.first(), ..attempt(0, None, 1) }
}

#[test]
fn what_was_cancelled_is_not_confirmed_any_more() {
    for key in [None, Some("k")] {
        let one = attempt(0, key, 1);
        let (carts, confirmed) = given(&[begin(&one), cancel(&one), confirm(&one)]);
        assert_eq!(confirmed, Err(Refusal::AttemptCancelled));
        let left = carts.attempts.get(&one.reservation_id).unwrap();
        assert!(left.cancelled, "its stock is to be released");
    }
}

#[test]
fn what_was_not_begun_is_not_confirmed() {
    let one = attempt(0, None, 1);
    assert_eq!(given(&[confirm(&one)]).1, Err(Refusal::AttemptCancelled));
    let (_, confirmed) =
        given(&[begin(&one), Command::CloseBlock(Block::of(one.reservation_id)), confirm(&one)]);
    assert_eq!(confirmed, Err(Refusal::AttemptCancelled), "its block is gone");
}

#[test]
fn cancelling_what_was_confirmed_after_all_removes_the_cart() {
    let one = attempt(0, Some("k"), 1);
    let (carts, _) = given(&[begin(&one), confirm(&one), cancel(&one)]);
    assert_eq!(carts.carts.get(&CartId(1)).unwrap().status, Status::Removed);
    assert_eq!(carts.keys.get(&"k".to_owned()), None, "its customer tries again with the same key");
}

/// Its key is known to the tables only.
#[test]
fn cancelling_what_was_confirmed_earlier_frees_its_key() {
    let one = attempt(0, Some("k"), 1);
    let (carts, _) = given(&[begin(&one), confirm(&one)]);
    let mut later = Carts { ids: Ids::read(1, 1, 0), ..Carts::default() };
    later.read_cart(carts.carts.get(&CartId(1)).unwrap().clone());
    assert_eq!(events(&mut later, &cancel(&one)).len(), 1);
    assert_eq!((later.rolled_back.as_slice(), later.ids.live()), (&[CartId(1)][..], 0));
}

#[test]
fn expiring_an_old_attempt_leaves_a_cart_that_was_confirmed_meanwhile() {
    for key in [None, Some("k")] {
        let one = attempt(0, key, 1);
        let (carts, _) = given(&[begin(&one), confirm(&one), expire(&one)]);
        assert!(carts.carts.get(&CartId(1)).unwrap().is_live());
        assert!(carts.attempts.get(&one.reservation_id).is_none(), "its stock is the cart's");
        let (carts, _) = given(&[begin(&one), expire(&one)]);
        assert!(carts.attempts.get(&one.reservation_id).unwrap().cancelled);
    }
}

#[test]
fn a_key_answers_the_same_request_the_same_and_refuses_another() {
    let first = attempt(0, Some("k"), 1);
    let (carts, confirmed) = given(&[begin(&first), confirm(&first)]);
    let Ok(Reply::Cart(cart)) = confirmed else { panic!("{confirmed:?}") };
    assert_eq!(carts.carts.get(&CartId(1)), Some(&cart));
    let again = |quantity| {
        let (mut carts, again) = (carts.clone(), attempt(1, Some("k"), quantity));
        let reply = carts.handle(&begin(&again), &mut Publications::default());
        assert_eq!(carts.attempts.values().count(), 0, "nothing is begun");
        reply
    };
    assert_eq!(again(1), Ok(Reply::Repeated(Outcome::Added(CartId(1)), Some(cart.clone()))));
    assert_eq!(again(2), Err(Refusal::KeyReused));
}

#[test]
fn a_key_whose_request_was_cancelled_is_free_for_another_try() {
    let (one, other) = (attempt(0, Some("k"), 1), attempt(1, Some("k"), 1));
    let (carts, reply) = given(&[begin(&one), cancel(&one), begin(&other)]);
    assert_eq!(reply, Ok(Reply::Begun));
    assert_eq!(carts.keys.get(&"k".to_owned()).unwrap().outcome, Outcome::Pending);
}
