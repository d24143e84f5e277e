//! A shop with many gifticons, of which few are popular: reads, carts and changes of prices by Zipf's law.

use crate::fill;
use crate::load::Requests;
use crate::measure::{ClosedLoop, drains, in_turns, open};
use crate::report::Report;
use crate::shop::Shop;
use crate::storage::Storage;
use crate::wire::request;
use chaos::Dice;
use std::sync::Arc;
use std::time::Duration;

/// Exponent of the law, that of YCSB: of 100,000 gifticons the first gets 8 % of all requests, and the first 100 get 41 %.
const EXPONENT: f64 = 0.99;
/// A uniform number is one of so many.
const UNIFORM_STEPS: u64 = 1 << 40;
/// Name of the workload in rows.
pub(crate) const NAME: &str = "zipf: 75 % reads, 20 % carts, 5 % changes of a price";

/// Places of a popularity list, by Zipf's law: place `n`, from 1 on, is chosen in proportion to `1 / n ^ EXPONENT`.
#[derive(Clone, Debug)]
struct Zipf {
    /// For each place, the probability of it or one before it.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Returns the law for `count` places.
    fn of(count: usize) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=count)
            .map(|place| {
                sum += (place as f64).powf(-EXPONENT);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|share| *share /= sum);
        Self { cumulated }
    }

    /// Returns a random place, from 0 on.
    fn place(&self, dice: &mut Dice) -> usize {
        let uniform = dice.roll(UNIFORM_STEPS) as f64 / UNIFORM_STEPS as f64;
        let place = self.cumulated.partition_point(|share| *share <= uniform);
        place.min(self.cumulated.len() - 1)
    }
}

/// Returns a number below `count` for each place below `count`, each once: popular gifticons are not neighbours in a table.
fn scattered(place: usize, count: usize) -> usize {
    /// A prime, so that it has no divisor in common with a smaller count.
    const STRIDE: usize = 2_147_483_647;
    place * STRIDE % count
}

/// Returns the requests to gifticons with these ids, of which the first is that of number 1.
pub(crate) fn requests(ids: Vec<i64>) -> Requests {
    let zipf = Zipf::of(ids.len());
    Arc::new(move |dice| {
        let index = scattered(zipf.place(dice), ids.len());
        let (number, id) = (index + 1, ids[index]);
        match dice.roll(100) {
            0..75 => request("GET", &format!("/gifticons/{id}"), ""),
            75..95 => {
                let cart = format!(r#"{{"gifticonId":{number},"quantity":1}}"#);
                request("POST", "/carts", &cart)
            }
            _ => {
                let price = format!(r#"{{"price":{}}}"#, 4_000 + dice.roll(2_000));
                request("PATCH", &format!("/gifticons/{id}"), &price)
            }
        }
    })
}

/// Measures a shop with `count` gifticons: a closed loop, and an open loop at half of its rate.
pub(crate) async fn run(
    real: bool,
    count: i64,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let storage = Storage::new(real)?;
    fill::catalogue(&storage, count, 0).await?;
    let shop = Shop::on(storage).await?;
    let requests = requests((1..=count).collect());
    let name = format!("{NAME}, {count} gifticons");
    let closed = ClosedLoop::at(&shop, "gateway", &name, Arc::clone(&requests));
    for row in in_turns(&[closed], repeat, time).await? {
        let rate = row.rate / 2.0;
        report.add(row, None);
        let name = format!("{name}, at 50 % of that, open loop");
        report.add(open(&shop, "gateway", &name, rate, time, Arc::clone(&requests)).await?, None);
    }
    drains(&shop).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn popular_places_are_chosen_by_the_law() {
        const ROLLS: usize = 200_000;
        let (zipf, mut dice) = (Zipf::of(1_000), Dice::new(7));
        let mut chosen = vec![0_usize; 1_000];
        for _ in 0..ROLLS {
            chosen[zipf.place(&mut dice)] += 1;
        }
        let ratio = |a: usize, b: usize| chosen[a] as f64 / chosen[b] as f64;
        assert!((1.8..2.2).contains(&ratio(0, 1)), "{} and {}", chosen[0], chosen[1]);
        assert!((8.0..12.0).contains(&ratio(0, 9)), "{} and {}", chosen[0], chosen[9]);
        let rare: usize = chosen[500..].iter().sum();
        assert!((0.05..0.15).contains(&(rare as f64 / ROLLS as f64)), "{rare} of the last half");
    }

    #[test]
    fn each_place_is_another_gifticon() {
        for count in [1, 10, 1_000, 100_000] {
            let numbers: BTreeSet<usize> =
                (0..count).map(|place| scattered(place, count)).collect();
            assert_eq!((numbers.len(), numbers.last()), (count, Some(&(count - 1))));
        }
    }

    #[test]
    fn a_request_is_a_read_a_cart_or_a_change_of_a_known_gifticon() {
        let (requests, mut dice) = (requests(vec![11, 12, 13]), Dice::new(3));
        let mut counts = [0; 3];
        for _ in 0..1_000 {
            let request = String::from_utf8(requests(&mut dice)).unwrap();
            let line = request.lines().next().unwrap();
            let known = ["GET /gifticons/1", "POST /carts ", "PATCH /gifticons/1"];
            let kind = known.iter().position(|known| line.starts_with(known));
            counts[kind.expect("the request is one of them")] += 1;
        }
        assert!(counts[0] > 650 && counts[1] > 120 && counts[2] > 20, "{counts:?}");
    }
}
