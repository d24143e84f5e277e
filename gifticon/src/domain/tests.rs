use super::*;
use crate::app::StockModel;
use chassis::testing::refusals_change_nothing;
use proptest::prelude::*;
use std::collections::HashMap;
use uuid::Uuid;

fn reservation(number: u128) -> ReservationId {
    ReservationId(Uuid::from_u128(number))
}

fn reserve(number: u128, gifticon_id: GifticonId, quantity: i64) -> Command {
    Command::Reserve {
        reservation: reservation(number),
        gifticon_id,
        quantity,
        owner: Owner::GUEST,
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let gifticon = (1..=2_i64).prop_map(GifticonId);
    let change =
        (prop::option::of(-5..20_i64), prop::option::of(0..50_i64), prop::option::of(1..20_i64))
            .prop_map(|(restock, available, version)| {
                let one_of = version.map(|version| vec![version]);
                let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
                Change { restock, available, expected, ..Change::default() }
            });
    prop_oneof![
        1 => (gifticon.clone(), 0..50_i64).prop_map(|(gifticon_id, available)| {
            Command::Register { gifticon_id, name: "Americano".into(), available, price: 5000 }
        }),
        1 => (1..=3_i64, change).prop_map(|(id, change)| Command::Change { id, change }),
        1 => (1..=3_i64).prop_map(|id| {
            Command::Delete { id, expected: ExpectedVersions::default() }
        }),
        5 => (0..8_u128, gifticon, 1..20_i64).prop_map(|(number, gifticon_id, quantity)| {
            reserve(number, gifticon_id, quantity)
        }),
        4 => (0..8_u128).prop_map(|number| Command::Release { reservation: reservation(number) }),
    ]
}

/// Carries commands out; what is refused is left out.
fn given<'a>(commands: impl IntoIterator<Item = &'a Command>) -> Stock {
    let mut stock = Stock::default();
    for command in commands {
        let _ = stock.handle(command, &mut Publications::default());
    }
    stock
}

/// The units of each gifticon that its MD put on sale, by what was asked for and granted.
#[derive(Default)]
struct Supplied(HashMap<GifticonId, i64>);

impl Supplied {
    fn count(&mut self, command: &Command, before: &Stock, reply: &Reply) {
        match (command, reply) {
            (Command::Register { gifticon_id, available, .. }, _) => {
                self.0.insert(*gifticon_id, *available);
            }
            (Command::Change { change, .. }, Reply::Gifticon(gifticon)) => {
                let id = gifticon.gifticon_id;
                let available = before.gifticons.get(&id).unwrap().available;
                let set = change.available.map_or(0, |set| set - available);
                *self.0.entry(id).or_default() += set + change.restock.unwrap_or_default();
            }
            (Command::Delete { id, .. }, _) => {
                let deleted = before.gifticons.values().find(|gifticon| gifticon.id == *id);
                self.0.remove(&deleted.unwrap().gifticon_id);
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn stock_is_conserved_over_any_interleaving(
        commands in prop::collection::vec(any_command(), 0..60),
    ) {
        let (mut stock, mut supplied) = (Stock::default(), Supplied::default());
        for command in &commands {
            let before = stock.clone();
            if let Ok(reply) = stock.handle(command, &mut Publications::default()) {
                supplied.count(command, &before, &reply);
            }
        }
        for gifticon in stock.gifticons.values() {
            let held: i64 = stock
                .reservations
                .values()
                .filter(|one| one.held && one.gifticon_id == Some(gifticon.gifticon_id))
                .map(|one| one.quantity)
                .sum();
            prop_assert_eq!(gifticon.held, held);
            prop_assert!(gifticon.available >= 0);
            prop_assert_eq!(gifticon.available + gifticon.held, supplied.0[&gifticon.gifticon_id]);
        }
        prop_assert_eq!(stock.ids.live(), i64::try_from(stock.gifticons.values().count()).unwrap());
    }

    #[test]
    fn a_reservation_or_release_that_comes_twice_is_as_once(
        before in prop::collection::vec(any_command(), 0..30),
        command in any_command(),
    ) {
        prop_assume!(matches!(command, Command::Reserve { .. } | Command::Release { .. }));
        let once: Vec<_> = before.iter().chain([&command]).collect();
        let twice: Vec<_> = once.iter().copied().chain([&command]).collect();
        prop_assert_eq!(given(once), given(twice));
    }

    #[test]
    fn what_was_released_is_never_held_again(
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        let (mut stock, mut released) = (Stock::default(), Vec::new());
        for command in &commands {
            let outcome = stock.handle(command, &mut Publications::default());
            if let Command::Release { reservation } = command {
                prop_assert_eq!(outcome, Ok(Reply::Done));
                released.push(*reservation);
            }
            let held = |id| stock.reservations.get(id).unwrap().held;
            prop_assert!(!released.iter().any(held));
        }
    }

    #[test]
    fn a_refusal_changes_nothing(commands in prop::collection::vec(any_command(), 0..60)) {
        refusals_change_nothing::<StockModel>(&mut Stock::default(), &commands);
    }

    #[test]
    fn what_is_published_of_a_gifticon_last_is_how_it_is(
        commands in prop::collection::vec(any_command(), 0..60),
    ) {
        let (mut stock, mut out) = (Stock::default(), Publications::default());
        for command in &commands {
            let _ = stock.handle(command, &mut out);
        }
        let mut last = HashMap::new();
        for (_, event) in out.into_events() {
            last.insert(event.key(), event);
        }
        for gifticon in stock.gifticons.values() {
            let event = last.remove(&gifticon.gifticon_id.to_string());
            let Some(Event::GifticonRegistered(told) | Event::QuantityModified(told)) = &event
            else {
                panic!("{event:?} came last of {gifticon:?}");
            };
            prop_assert_eq!(told, &gifticon.payload());
        }
        prop_assert!(last.values().all(|event| event.event_type() == "GifticonDeleted"));
    }
}

#[test]
fn an_absolute_quantity_never_loses_a_sale() {
    let gifticon_id = GifticonId(1);
    let register =
        Command::Register { gifticon_id, name: "Americano".into(), available: 10, price: 5000 };
    let reserve = reserve(1, gifticon_id, 3);
    let stock = given([&register, &reserve]);
    let set = |one_of| {
        let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
        let change = Change { available: Some(10), expected, ..Change::default() };
        stock.clone().handle(&Command::Change { id: 1, change }, &mut Publications::default())
    };
    assert_eq!(set(None), Err(Refusal::VersionNeeded));
    let unexpected = Err(Refusal::UnexpectedVersion { current: 2 });
    assert_eq!(set(Some(vec![1])), unexpected, "a sale came in between");
    assert!(set(Some(vec![1, 2])).is_ok());
}

#[test]
fn many_sales_of_a_batch_are_one_event_after_the_others() {
    let (mut stock, mut out) = (Stock::default(), Publications::default());
    let register = |number| Command::Register {
        gifticon_id: GifticonId(number),
        name: "Americano".into(),
        available: 10,
        price: 5000,
    };
    let reserve = |id, number| reserve(id, GifticonId(number), 1);
    let release = Command::Release { reservation: reservation(1) };
    let delete = Command::Delete { id: 1, expected: ExpectedVersions::default() };
    for command in
        [register(1), reserve(1, 1), register(2), reserve(2, 2), release, reserve(3, 2), delete]
    {
        stock.handle(&command, &mut out).unwrap();
    }
    let events: Vec<_> = out.into_events().into_iter().map(|(_, event)| event).collect();
    let told: Vec<_> = events.iter().map(|event| (event.event_type(), event.key())).collect();
    let wanted = [
        ("GifticonRegistered", "1"),
        ("GifticonRegistered", "2"),
        ("GifticonDeleted", "1"),
        ("QuantityModified", "2"),
    ];
    assert_eq!(told, wanted.map(|(event_type, key)| (event_type, key.to_owned())));
    let Event::QuantityModified(last) = &events[3] else { panic!("{events:?}") };
    assert_eq!(last.available_quantity, Some(8), "as it is after the batch");
}

#[test]
fn the_audit_log_has_what_an_md_changed_and_no_sales() {
    let (mut stock, mut out) = (Stock::default(), Publications::default());
    let register = Command::Register {
        gifticon_id: GifticonId(7),
        name: "Americano".into(),
        available: 10,
        price: 5000,
    };
    let reserve = reserve(1, GifticonId(7), 3);
    let change = Change { price: Some(5500), restock: Some(2), ..Change::default() };
    let change = Command::Change { id: 1, change };
    let release = Command::Release { reservation: reservation(1) };
    let delete = Command::Delete { id: 1, expected: ExpectedVersions::default() };
    for (number, command) in
        [&register, &reserve, &change, &change, &release, &delete].into_iter().enumerate()
    {
        out.begin(number);
        stock.handle(command, &mut out).unwrap();
    }
    let told: Vec<_> = out
        .take_changes()
        .into_iter()
        .map(|(command, change)| {
            assert_eq!(change.subject, "gifticon 7");
            let of = |value: &serde_json::Value| {
                (!value.is_null())
                    .then(|| (value["availableQuantity"].as_i64(), value["price"].as_i64()))
            };
            (command, change.action, of(&change.before), of(&change.after))
        })
        .collect();
    let state = |units, price| Some((Some(units), Some(price)));
    assert_eq!(
        told,
        [
            (0, "register", None, state(10, 5000)),
            (2, "change", state(7, 5000), state(9, 5500)),
            (3, "change", state(9, 5500), state(11, 5500)),
            (5, "delete", state(14, 5500), None),
        ]
    );
}
