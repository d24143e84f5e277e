//! Compares the tables of the book's reference with problems, settings, metrics and routes.

mod common;

use chassis::base::problem::{Kind, kind};
use chassis::service::launch::command;
use common::files::{below, text};
use common::services::{commands, services};
use common::{Shop, ShopClient};
use common_events::{Envelope, Event};
use gateway::services::{names, processes};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Bound for all metrics to be exported.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the rows of the first table of a page of the reference, as the texts of their cells.
fn table(page: &str) -> Vec<Vec<String>> {
    first_table(&format!("docs/reference/{page}.md"))
}

/// Returns those of any page of the repository.
fn first_table(page: &str) -> Vec<Vec<String>> {
    let text = text(page);
    let lines = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(rows.len() > 5, "{page} has a table");
    rows
}

/// Returns the rows about paths, of all tables of the page about HTTP.
fn paths() -> Vec<Vec<String>> {
    let text = text("docs/reference/http.md");
    text.lines().filter(|line| line.starts_with("| `/")).map(cells).collect()
}

/// Returns the texts of the cells of a row.
fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// Returns the names in a cell such as `` `GET` `POST` ``.
fn words(cell: &str) -> Vec<String> {
    cell.split(' ').map(|name| name.trim_matches('`').to_owned()).collect()
}

/// Returns the processes that a cell such as "each service, standalone" names.
fn named(cell: &str) -> Vec<&str> {
    let process = |one| match one {
        "each" => [processes(), vec!["standalone"]].concat(),
        "each service" => names().to_vec(),
        "nobody in the shop" => vec![],
        one => vec![one],
    };
    cell.split(", ").flat_map(process).collect()
}

#[test]
fn every_problem_is_in_the_catalogue() {
    let services = services().map(|service| service.problems);
    let others = [gateway::proxy::PROBLEMS, kind::ALL];
    let all: Vec<Kind> = services.into_iter().chain(others).flatten().copied().collect();
    let there: BTreeSet<(String, String)> = all
        .iter()
        .map(|kind| (format!("`/problems/{}`", kind.slug), kind.status.as_u16().to_string()))
        .collect();
    let rows = table("problems").into_iter();
    let told: BTreeSet<_> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(there, told);
    // A slug has the same meaning in all services.
    let mut titles = BTreeMap::new();
    for kind in all {
        let other = titles.insert(kind.slug, (kind.status, kind.en, kind.ko));
        assert!(
            other.is_none_or(|other| other == (kind.status, kind.en, kind.ko)),
            "{}",
            kind.slug
        );
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let standalone = command::<standalone::StandaloneConfig>("standalone", standalone::ABOUT, 0);
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for command in commands().into_iter().chain([standalone]) {
        command.clone().debug_assert();
        for setting in command.get_arguments() {
            if let Some(variable) = setting.get_env() {
                let of = there.entry(variable.to_string_lossy().into_owned()).or_default();
                of.insert(command.get_name().to_owned());
                assert!(setting.get_help().is_some(), "{variable:?} has no help");
            }
        }
    }
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table("settings") {
        let of: BTreeSet<String> = named(&row[1]).into_iter().map(Into::into).collect();
        for variable in words(&row[0]) {
            told.insert(variable, of.clone());
        }
    }
    assert_eq!(there, told);
}

/// Returns the metrics that the processes export, each with its process.
async fn exported(shop: &Shop) -> BTreeSet<(String, &'static str)> {
    let mut metrics = BTreeSet::new();
    for (process, web) in &shop.management {
        let answer = web.client.get(format!("{}/metrics", web.base)).send().await.unwrap();
        for line in answer.text().await.unwrap().lines() {
            let name = line.strip_prefix("# TYPE ").and_then(|line| line.split(' ').next());
            metrics.extend(name.map(|name| (name.to_owned(), *process)));
        }
    }
    metrics
}

#[tokio::test]
async fn every_metric_is_in_the_table() {
    // Exported after the first change of the circuit breaker.
    const FROM_THE_FIRST_CHANGE: &str = "breaker_transitions_total";
    let shop = Shop::start().await;
    let (rows, mut told) = (table("metrics"), BTreeSet::new());
    for row in &rows {
        let of = named(&row[1]).into_iter().filter(|process| *process != "standalone");
        told.extend(of.map(|process| (words(&row[0]).remove(0), process)));
    }
    told.retain(|(name, _)| name != FROM_THE_FIRST_CHANGE);
    // Some are exported after the first request, or after the first round of the task that measures them.
    let until = Instant::now() + EXPORT_TIMEOUT;
    let mut there = exported(&shop).await;
    while there != told && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        there = exported(&shop).await;
    }
    assert_eq!(there, told);
    shop.stop().await;
}

/// Asserts that a path allows these methods, and what comes with them.
async fn allows(web: &ShopClient, path: &str, methods: &[String]) {
    let url = format!("{}{}", web.base, path.replace("{id}", "1"));
    let request = web.client.request(reqwest::Method::OPTIONS, &url);
    let answer = request.send().await.unwrap();
    let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_uppercase());
    let allow: BTreeSet<String> =
        allow.unwrap_or_default().split(',').map(|method| method.trim().to_owned()).collect();
    let mut told: BTreeSet<String> = methods.iter().cloned().collect();
    told.insert("OPTIONS".into());
    if told.contains("GET") {
        told.insert("HEAD".into());
    }
    assert_eq!(allow, told, "{url}");
}

#[tokio::test]
async fn every_route_is_in_a_table() {
    let shop = Shop::with(|config| config.auth.auth_issuer = Some("dev".into())).await;
    let mut told = BTreeSet::new();
    for row in paths() {
        let path = words(&row[0]).remove(0);
        allows(&shop.web, &path, &words(&row[1])).await;
        told.insert(path);
    }
    for row in table("management") {
        let path = words(&row[0]).remove(0);
        for process in named(&row[2]).into_iter().filter(|process| *process != "standalone") {
            allows(&shop.management[process], &path, &words(&row[1])).await;
        }
        told.insert(path);
    }
    shop.stop().await;
    // Between services; described below the table.
    told.extend(["/figures", "/reservations", "/reservations/{reservation}"].map(String::from));
    // Every route in the sources is in a table.
    for one in names().into_iter().chain(["chassis", "web"]) {
        let product = |file: &std::path::PathBuf| {
            let fixtures = ["testing", "test_issuer"];
            !file.components().any(|part| fixtures.iter().any(|one| part.as_os_str() == *one))
        };
        for file in below(&format!("{one}/src"), "rs").into_iter().filter(product) {
            let source = std::fs::read_to_string(&file).unwrap();
            let product = source.split("#[cfg(test)]").next().unwrap();
            for route in product.split(".route(").skip(1) {
                let Some(path) = route.trim_start().strip_prefix('"') else { continue };
                let path = path.split('"').next().unwrap();
                assert!(told.contains(path), "{path} of {} is in no table", file.display());
            }
        }
    }
}

/// Returns an event of a type, with the fields that the types have between them.
fn sample(event_type: &str) -> Envelope {
    let uuid = "018f0000-0000-7000-8000-000000000000";
    let json = serde_json::json!({
        "eventType": event_type, "timestamp": "20261124150322", "eventId": uuid, "occurredAt": "2026-11-24T15:03:22.886Z",
        "id": 1, "gifticonId": 1, "cartId": 1, "reservationId": uuid, "name": "Americano", "quantity": 1,
        "availableQuantity": 1, "price": 5_000, "amount": 5_000, "status": event_type, "reason": "none",
    });
    Envelope::from_json(json.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{event_type} has a field that the sample lacks: {error}"))
}

#[test]
fn every_event_is_in_the_table_with_those_that_act_on_it() {
    let mut told = BTreeMap::new();
    for row in first_table("docs/how/events.md") {
        let acting: BTreeSet<String> = named(&row[4]).into_iter().map(Into::into).collect();
        told.extend(words(&row[0]).into_iter().map(|event_type| (event_type, acting.clone())));
    }
    let there: BTreeMap<String, BTreeSet<String>> = Event::TYPES
        .iter()
        .map(|event_type| {
            let (event, services) = (sample(event_type), services());
            let acting = services.iter().filter(|service| (service.acts_on)(&event));
            ((*event_type).to_owned(), acting.map(|service| service.name.to_owned()).collect())
        })
        .collect();
    assert_eq!(there, told);
    assert!(services().iter().all(|service| !(service.acts_on)(&sample("OfAnotherSystem"))));
}
