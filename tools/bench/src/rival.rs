//! Measures another implementation of the routes beside ours, row by row.

use crate::hold::Held;
use crate::load::Requests;
use crate::measure::{ClosedLoop, drains, in_turns, open};
use crate::report::{Report, Row};
use crate::shop::{Kind, Shop};
use crate::workloads::{GIFTICONS, MIXED, any, hot, mixed, register, stock_up};
use crate::zipf;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

/// Open loops, as shares of the lower of the two closed-loop rates.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];

/// Parses the URL of a rival: an address of 127.0.0.0/8 and a port. The bench sends load nowhere else.
pub(crate) fn address(url: &str) -> Result<SocketAddr, String> {
    let expected = || format!("{url} is not an URL such as http://127.0.0.1:8080");
    let rest = url.strip_prefix("http://").ok_or_else(expected)?;
    let addr: SocketAddrV4 = rest.trim_end_matches('/').parse().map_err(|_| expected())?;
    if addr.ip().octets()[0] != Ipv4Addr::LOCALHOST.octets()[0] {
        return Err(format!(
            "{} is outside of 127.0.0.0/8: the bench loads this machine only",
            addr.ip()
        ));
    }
    if addr.port() == 0 {
        return Err(expected());
    }
    Ok(addr.into())
}

/// What is measured, and how.
pub(crate) struct Contest {
    pub(crate) rival: SocketAddr,
    /// Whether ours is five processes on Kafka and Postgres.
    pub(crate) real: bool,
    /// Gifticons of the zipf workload.
    pub(crate) gifticons: i64,
    pub(crate) repeat: usize,
    pub(crate) time: Duration,
    /// Whether to search the highest rate that each holds.
    pub(crate) held: bool,
    /// Whether to search it beside a neighbour, too.
    pub(crate) neighbour: bool,
}

impl Contest {
    /// Measures the HTTP workloads of both through their gateways.
    pub(crate) async fn run(&self, report: &mut Report) -> anyhow::Result<()> {
        let shops = [Shop::start(self.real).await?, Shop::rival(self.rival)];
        let mut ids = [stock_up(&shops[0]).await?, stock_up(&shops[1]).await?];
        let carts = "POST /carts, one gifticon";
        let capacities = self.closed(&shops, carts, [hot(), hot()], report).await?;
        self.closed(&shops, "POST /carts, 1,000 gifticons", [any(), any()], report).await?;
        self.open_loops(&shops, capacities, report).await?;
        self.closed(&shops, MIXED, [mixed(), mixed()], report).await?;
        if self.held {
            for (shop, capacity) in shops.iter().zip(capacities) {
                let name = format!("{}: {carts}", self.who(shop));
                let held = Held { shop, name, requests: hot(), capacity };
                held.run(self.time, false, report).await?;
                if self.neighbour {
                    held.run(self.time, true, report).await?;
                }
            }
        }
        for (shop, ids) in shops.iter().zip(&mut ids) {
            ids.extend(register(shop, GIFTICONS + 1..=self.gifticons).await?);
            ids.truncate(usize::try_from(self.gifticons)?);
            drains(shop).await?;
        }
        let name = format!("{}, {} gifticons", zipf::NAME, self.gifticons);
        self.closed(&shops, &name, ids.map(zipf::requests), report).await?;
        Ok(())
    }

    /// Measures a closed loop of both in turns, and returns their rates.
    async fn closed(
        &self,
        shops: &[Shop; 2],
        name: &str,
        requests: [Requests; 2],
        report: &mut Report,
    ) -> anyhow::Result<[f64; 2]> {
        let loops: Vec<ClosedLoop> = shops
            .iter()
            .zip(requests)
            .map(|(shop, requests)| {
                let name = format!("{}: {name}", self.who(shop));
                ClosedLoop::at(shop, "gateway", &name, requests)
            })
            .collect();
        let rows = in_turns(&loops, self.repeat, self.time).await?;
        add_both(&rows, report);
        Ok([rows[0].rate, rows[1].rate])
    }

    /// Measures open loops of both at the same rates.
    async fn open_loops(
        &self,
        shops: &[Shop; 2],
        capacities: [f64; 2],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let lower = capacities[0].min(capacities[1]);
        for share in SHARES {
            let rate = lower * share;
            let mut rows = Vec::new();
            for shop in shops {
                let who = self.who(shop);
                let name = format!("{who}: POST /carts at {rate:.0} a second, open loop");
                rows.push(open(shop, "gateway", &name, rate, self.time, hot()).await?);
                drains(shop).await?;
            }
            add_both(&rows, report);
        }
        Ok(())
    }

    /// Returns the name of a shop in rows.
    fn who(&self, shop: &Shop) -> String {
        match shop.kind {
            Kind::Rival => self.rival.to_string(),
            Kind::Shop | Kind::Part => "ours".to_owned(),
        }
    }
}

/// Adds a row of ours, and that of the rival with its ratio to ours.
fn add_both(rows: &[Row], report: &mut Report) {
    report.add(rows[0].clone(), None);
    report.add(rows[1].clone(), Some(&rows[0]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loaded() {
        for url in ["http://127.0.0.1:8088", "http://127.0.0.1:8088/", "http://127.9.8.7:1"] {
            assert!(address(url).unwrap().ip().is_loopback(), "{url}");
        }
        for url in [
            "http://10.0.0.1:8088",
            "http://128.0.0.1:8088",
            "http://0.0.0.0:8088",
            "http://localhost:8088",
            "http://example.com:80",
            "http://[::1]:8088",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:80@10.0.0.1:80",
            "http://127.0.0.1:8088/shop",
            "https://127.0.0.1:8088",
            "127.0.0.1:8088",
            "",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
