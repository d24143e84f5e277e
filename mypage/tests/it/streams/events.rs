//! `/live/stream`: what happens in the shop.

use super::{TIMEOUT, reset};
use crate::common::{Mypage, at, event, message};
use chassis::bus::Bus as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Gifticons of a rush, and units of each.
const GIFTICONS: i64 = 20;
const UNITS: i64 = 60;

#[tokio::test]
async fn what_happens_is_told_without_personal_data_and_resumed() {
    let mypage = Mypage::start().await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    let mut stream = mypage.stream("/live/stream", "").await;
    let added = json!({
        "type": "CartAdded", "service": "cart", "at": at(1), "cartId": 1, "gifticonId": 7,
        "quantity": 2, "amount": 10_000, "status": "CartAdded",
    });
    let told = mypage.next(&mut stream).await;
    assert_eq!((told.event.as_str(), told.data), ("event", added));
    assert_eq!(stream.last_id, "0:0");
    drop(stream);
    mypage.hear_text(1, "not JSON".into()).await;
    mypage.hear(1, &event("PaymentApproved", 1, 2)).await;
    mypage.hear(7, &left(7, 5)).await;
    let mut stream = mypage.stream("/live/stream", "0:0").await;
    assert_eq!(mypage.next(&mut stream).await.data["type"], "PaymentApproved");
    let stock = mypage.next(&mut stream).await;
    let wanted = json!({
        "type": "QuantityModified", "service": "gifticon", "at": at(3), "gifticonId": 7,
        "name": "아메리카노", "price": 5000, "availableQuantity": 5,
    });
    assert_eq!((stock.data, stream.last_id.as_str()), (wanted, "0:3"));
    let mut stream = mypage.stream("/live/stream", "0:4000").await;
    assert_eq!(mypage.next(&mut stream).await, reset());
    assert_eq!(mypage.next(&mut stream).await.data["type"], "CartAdded");
}

/// Returns the event that so many units are left.
fn left(gifticon: i64, units: i64) -> Value {
    json!({
        "eventType": "QuantityModified", "id": gifticon, "gifticonId": gifticon, "name": "아메리카노",
        "availableQuantity": units, "price": 5000, "occurredAt": at(3),
    })
}

/// Sells all units of all gifticons, one by one, several hundred a second.
async fn rush(mypage: &Mypage) {
    let publisher = mypage.log.log.publisher().await.unwrap();
    for units in (0..UNITS).rev() {
        let sold = (1..=GIFTICONS).flat_map(|gifticon| {
            let cart = units * GIFTICONS + gifticon;
            let events = [
                event("CartAdded", cart, 1),
                left(gifticon, units),
                event("PaymentApproved", cart, 2),
            ];
            events.map(|event| message(cart, event.to_string()))
        });
        let sent = publisher.publish(&sold.collect::<Vec<_>>()).await;
        assert!(sent.iter().all(Result::is_ok));
        sleep(Duration::from_millis(40)).await;
    }
}

/// What a client knows.
#[derive(Default)]
struct Client {
    last_id: String,
    left: BTreeMap<i64, i64>,
    purchases: i64,
    changes: i64,
    resets: usize,
    one_in: i64,
}

impl Client {
    fn all_sold_out(&self) -> bool {
        (1..=GIFTICONS).all(|gifticon| self.left.get(&gifticon) == Some(&0))
    }

    /// Reads until every gifticon is sold out, from a new stream after each `most` events.
    async fn sees_all_sold_out(&mut self, mypage: &Mypage, most: usize) {
        while !self.all_sold_out() {
            let mut stream = mypage.stream("/live/stream", &self.last_id).await;
            for _ in 0..most {
                let Ok(next) = timeout(TIMEOUT, stream.event()).await else {
                    panic!("nothing more is told of {:?}", self.left);
                };
                let told = next.expect("the stream goes on");
                match (told.event.as_str(), told.data["type"].as_str()) {
                    ("reset", _) => self.resets += 1,
                    ("sampled", _) => self.one_in = told.data["oneIn"].as_i64().unwrap(),
                    (_, Some("QuantityModified")) => {
                        let number = |name: &str| told.data[name].as_i64().unwrap();
                        self.left.insert(number("gifticonId"), number("availableQuantity"));
                        self.changes += 1;
                    }
                    _ => self.purchases += 1,
                }
                self.last_id.clone_from(&stream.last_id);
                if self.all_sold_out() {
                    return;
                }
            }
        }
    }
}

/// More happens than is shown, but never is the newest stock of a gifticon left out.
#[tokio::test]
async fn who_watches_a_rush_sees_everything_sold_out() {
    let mypage = Mypage::start().await;
    let (mut steady, mut shaky) = (Client::default(), Client::default());
    tokio::join!(
        rush(&mypage),
        steady.sees_all_sold_out(&mypage, usize::MAX),
        shaky.sees_all_sold_out(&mypage, 9),
    );
    let sold = GIFTICONS * UNITS;
    assert!(steady.one_in > 1, "only a part of the purchases is shown");
    assert!(
        steady.purchases < sold && steady.changes < sold,
        "{} {}",
        steady.purchases,
        steady.changes
    );
    assert_eq!((steady.resets, shaky.resets), (0, 0));
    // Who comes now hears of each gifticon at once, however long ago it was.
    let mut late = Client::default();
    late.sees_all_sold_out(&mypage, usize::MAX).await;
    assert_eq!(late.changes, GIFTICONS);
}

/// A gifticon that is deleted is not told to be there again.
#[tokio::test]
async fn nothing_is_told_of_a_gifticon_after_its_end() {
    let mypage = Mypage::start().await;
    let mut stream = mypage.stream("/live/stream", "").await;
    let publisher = mypage.log.log.publisher().await.unwrap();
    let mut deleted = left(1, 0);
    deleted["eventType"] = "GifticonDeleted".into();
    let events = [left(1, 5), left(1, 4), deleted, left(2, 3)];
    let messages = events.map(|event| message(1, event.to_string()));
    assert!(publisher.publish(&messages).await.iter().all(Result::is_ok));
    let mut told = Vec::new();
    while told.last().is_none_or(|(gifticon, _)| *gifticon != 2) {
        let event = mypage.next(&mut stream).await.data;
        told.push((
            event["gifticonId"].as_i64().unwrap(),
            event["type"].as_str().unwrap().to_owned(),
        ));
    }
    let of_first: Vec<_> = told.iter().filter(|(gifticon, _)| *gifticon == 1).collect();
    assert_eq!(of_first.last().unwrap().1, "GifticonDeleted", "{told:?}");
}
