//! The whole run: the floors, the shop beside them, backlogs, and tables of growing size.

use crate::cli::{Cli, Part};
use crate::load::Requests;
use crate::measure::{ClosedLoop, drains, in_turns};
use crate::nginx::{Headers, Nginx};
use crate::report::{Report, Row};
use crate::shop::{GATEWAY_ALONE, Shop};
use crate::wire::request;
use crate::workloads::{MIXED, any, hot, mixed, stock_up, visible};
use crate::{backlog, floors, full, growth, rates, reservations, tools, zipf};
use std::sync::Arc;
use std::time::Duration;

/// Carts whose way into the view is measured, one at a time.
const VISIBLE_CARTS: u32 = 100;
/// Requests a second to expect of siege where the server costs nothing, measured at 10,253.
const SIEGE_RATE: f64 = 10_000.0;

/// Measures the parts that the command line asks for.
pub(crate) async fn run(cli: &Cli, report: &mut Report) -> anyhow::Result<()> {
    let (time, repeat) = (cli.time(), cli.repeat);
    if cli.wants(Part::Shop) {
        let pipeline = floor(repeat, time, report).await?;
        let shop = Shop::start(cli.real).await?;
        serve(&shop, &pipeline, repeat, time, report).await?;
    }
    if cli.wants(Part::Reservations) {
        reservations::run(cli.real, repeat, time, report).await?;
    }
    if cli.wants(Part::Backlog) {
        backlog::run(cli.real, cli.events, report).await?;
    }
    if cli.wants(Part::Reads) {
        growth::run(cli.real, cli.rows, time, report).await?;
    }
    if cli.wants(Part::Zipf) {
        zipf::run(cli.real, cli.gifticons, repeat, time, report).await?;
    }
    if cli.wants(Part::Writes) {
        full::run(cli.real, cli.rows, repeat, time, report).await?;
    }
    Ok(())
}

/// Measures the floors that need no shop beside them, and returns the empty pipeline.
async fn floor(repeat: usize, time: Duration, report: &mut Report) -> anyhow::Result<Shop> {
    let (handler, mut pipeline) = (Shop::floor("handler", 1)?, Shop::floor("pipeline", 3)?);
    pipeline.add_gateway()?;
    let gifticon = pipeline.addr("gifticon");
    let plain = Nginx::before(gifticon, Headers::Plain)?;
    let same = Nginx::before(gifticon, Headers::Gateway)?;
    let get: Requests = Arc::new(|_| request("GET", "/gifticons/1", ""));
    let empty: Requests = Arc::new(|_| request("GET", "/", ""));
    let mut loops = vec![
        ClosedLoop::at(&handler, "handler", "floor: an empty handler", empty),
        ClosedLoop::at(&pipeline, GATEWAY_ALONE, "gateway, GET passed through", Arc::clone(&get)),
    ];
    for (nginx, name) in [
        (&plain, "floor: nginx, GET passed through"),
        (&same, "floor: nginx, the same with the headers of our gateway"),
    ] {
        if let Some(nginx) = nginx {
            loops.push(ClosedLoop {
                name: name.to_owned(),
                shop: &pipeline,
                addr: nginx.addr,
                nginx: Some(nginx),
                requests: Arc::clone(&get),
            });
        }
    }
    let rows = in_turns(&loops, repeat, time).await?;
    drop(loops);
    let [handler_row, gateway, nginx @ ..] = &rows[..] else { unreachable!("there are two loops") };
    report.add(handler_row.clone(), None);
    nginx.iter().for_each(|row| report.add(row.clone(), None));
    report.add(gateway.clone(), nginx.first());
    match nginx.last() {
        Some(same) => {
            let ratio = format!("{:.0} %", 100.0 * gateway.rate / same.rate);
            report.fact("gateway, of nginx with the same headers", ratio);
        }
        None => report.fact("nginx", "not installed"),
    }
    let url = format!("http://{gifticon}/gifticons/1");
    match tools::siege(&url, SIEGE_RATE, time)? {
        Some((rate, _)) => report.fact("floor: siege, an empty handler", format!("{rate:.0}/s")),
        None => report.fact("siege", "not installed"),
    }
    let commits = format!("{:.0}/s", floors::commits(time / 4).await?);
    report.fact("durable commits, one after another", commits);
    Ok(pipeline)
}

/// Measures the shop beside the empty pipeline.
async fn serve(
    shop: &Shop,
    pipeline: &Shop,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.fact("start to ready", format!("{:.0} ms", shop.started.as_secs_f64() * 1_000.0));
    memory(shop, "idle", report);
    stock_up(shop).await?;
    report.add(visible(shop, VISIBLE_CARTS).await?, None);

    let name = "floor: gateway, cart and gifticon with no database";
    let loops = [
        ClosedLoop::at(pipeline, "gateway", name, hot()),
        ClosedLoop::at(shop, "gateway", "POST /carts, one gifticon", hot()),
        ClosedLoop::at(shop, "gateway", "POST /carts, 1,000 gifticons", any()),
    ];
    let rows = in_turns(&loops, repeat, time).await?;
    let [floor, carts, of_many] = &rows[..] else { unreachable!("there are three loops") };
    report.add(floor.clone(), None);
    add_settled(carts, floor, report);
    add_settled(of_many, floor, report);

    match tools::wrk(shop, time)? {
        Some(row) => report.add(row, Some(floor)),
        None => report.fact("wrk", "not installed"),
    }
    let carts_url = format!("http://{}/carts", shop.addr("gateway"));
    if let Some((rate, good)) = tools::siege(&carts_url, carts.rate, time)? {
        let figures = format!("{rate:.0}/s, availability {good:.2} %");
        report.fact("POST /carts, by siege -c100", figures);
    }
    drains(shop).await?;
    rates::at_shares(shop, carts.rate, time, report).await?;

    let loops = [ClosedLoop::at(shop, "gateway", MIXED, mixed())];
    for row in in_turns(&loops, repeat, time).await? {
        report.add(row, None);
    }
    memory(shop, "after all that", report);
    Ok(())
}

/// Adds a row of carts, and how long it took until all that follows from them was done.
fn add_settled(row: &Row, floor: &Row, report: &mut Report) {
    report.add(row.clone(), Some(floor));
    if let Some(settled) = row.settled_ms {
        let name = format!("{}: payments and views of them all done after", row.name);
        report.fact(&name, format!("{settled:.0} ms"));
    }
}

fn memory(shop: &Shop, when: &str, report: &mut Report) {
    for (name, mib) in shop.memory() {
        report.fact(&format!("memory of {name}, {when}"), format!("{mib:.0} MiB"));
    }
}
