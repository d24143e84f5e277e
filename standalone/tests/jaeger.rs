//! The shop with a real Jaeger. `.ci/run jaeger` starts it.

mod common;

use chassis::http::client;
use chassis::testing::{eventually, server};
use common::process::Process;
use gateway::services::processes;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// How the view gets to know of a payment, from its span up to that of the customer's request.
const FROM_VIEW_TO_CUSTOMER: [&str; 8] = [
    "mypage embedded process PaymentApproved",
    "payment embedded publish PaymentApproved",
    "payment embedded process CartAdded",
    "cart embedded publish CartAdded",
    "cart cart.write",
    "cart POST /carts",
    "gateway POST",
    "gateway POST /carts",
];

/// A trace: the name of each span, by its id, and the id of its parent, if it has one.
type Trace = BTreeMap<String, (String, Option<String>)>;

struct Jaeger {
    client: Client,
    base: String,
}

impl Jaeger {
    /// Returns the traces of a query.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Vec<Trace> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query).unwrap();
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        answer["data"].as_array().into_iter().flatten().map(spans).collect()
    }

    /// Waits until there is one trace that begins with `operation` of the gateway, with all spans `names`.
    async fn begun(&self, operation: &str, names: &[&str]) -> Trace {
        let query = [("service", "gateway"), ("operation", operation), ("limit", "20")];
        let trace = eventually(&format!("the trace of {operation}"), async || {
            let traces = self.ask("/api/traces", &query).await;
            assert!(traces.len() <= 1, "{traces:#?}");
            let trace = traces.into_iter().next()?;
            let has = |name: &&str| trace.values().any(|(there, _)| there == name);
            names.iter().all(has).then_some(trace)
        })
        .await;
        is_whole(&trace);
        trace
    }
}

/// Returns the spans of a trace as Jaeger tells it.
fn spans(trace: &Value) -> Trace {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let span = |span: &Value| {
        let service = text(&trace["processes"][text(&span["processID"])]["serviceName"]);
        let tags = list(&span["tags"]);
        let event = tags.iter().find(|tag| tag["key"] == "gifticon.event_type");
        let event = event.map(|tag| format!(" {}", text(&tag["value"]))).unwrap_or_default();
        let references = list(&span["references"]);
        let parent = references.iter().find(|reference| reference["refType"] == "CHILD_OF");
        let name = format!("{service} {}{event}", text(&span["operationName"]));
        (text(&span["spanID"]), (name, parent.map(|parent| text(&parent["spanID"]))))
    };
    list(&trace["spans"]).iter().map(span).collect()
}

/// Checks that one span begins the trace, and that the parents of all others are there.
fn is_whole(trace: &Trace) {
    let first: Vec<_> = trace.values().filter(|(_, parent)| parent.is_none()).collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].0.starts_with("gateway "), "{first:?}");
    for (name, parent) in trace.values() {
        assert!(parent.as_ref().is_none_or(|id| trace.contains_key(id)), "{name} has no parent");
    }
}

fn services(trace: &Trace) -> BTreeSet<&str> {
    trace.values().filter_map(|(name, _)| name.split(' ').next()).collect()
}

/// Returns the names of a span and of those above it.
fn up_from<'t>(trace: &'t Trace, name: &str) -> Vec<&'t str> {
    let mut at = trace.values().find(|(there, _)| there == name);
    let mut names = Vec::new();
    while let Some((name, parent)) = at {
        names.push(name.as_str());
        at = parent.as_ref().and_then(|id| trace.get(id));
    }
    names
}

async fn buy(shop: &Process, status: &str) -> i64 {
    let (answered, cart) = shop.web.add(1, 1, None).await.unwrap();
    assert_eq!(answered, StatusCode::CREATED);
    let cart = cart["id"].as_i64().unwrap();
    shop.shows(cart, status).await;
    cart
}

#[tokio::test]
#[ignore = "needs TEST_JAEGER and TEST_JAEGER_OTLP and TEST_JAEGER_PID"]
async fn a_purchase_is_one_trace_and_a_jaeger_that_dies_changes_nothing() {
    let jaeger = Jaeger { client: client::new().unwrap(), base: server("TEST_JAEGER") };
    let dir = tempfile::tempdir().unwrap();
    let otlp = server("TEST_JAEGER_OTLP");
    let shop = Process::start(dir.path(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &otlp)]);
    shop.web.register(1, 100, 5_000).await;
    let cart = buy(&shop, "PaymentApproved").await;
    let all: BTreeSet<&str> = processes().into_iter().collect();
    let wanted =
        ["mypage embedded process PaymentApproved", "cart embedded process PaymentApproved"];
    let purchase = jaeger.begun("POST /carts", &wanted).await;
    assert_eq!(services(&purchase), all, "{purchase:#?}");
    assert_eq!(up_from(&purchase, FROM_VIEW_TO_CUSTOMER[0]), FROM_VIEW_TO_CUSTOMER);
    let reserved = up_from(&purchase, "gifticon PUT /reservations/{reservation}");
    assert_eq!(reserved[1..3], ["cart reserve", "cart POST /carts"]);

    let (status, _) = shop.web.ask(Method::DELETE, &format!("/carts/{cart}"), None).await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
    shop.shows(cart, "PaymentCanceled").await;
    let wanted =
        ["mypage embedded process PaymentCancelled", "gifticon embedded process CartRemoved"];
    let cancel = jaeger.begun("DELETE /carts/{*rest}", &wanted).await;
    assert_eq!(services(&cancel), all, "{cancel:#?}");

    let (_, problem) = shop.web.ask(Method::GET, "/carts/7", None).await.unwrap();
    let path = format!("/api/traces/{}", problem["traceId"].as_str().unwrap());
    eventually("the trace that the problem names", async || {
        let traces = jaeger.ask(&path, &[]).await;
        (services(traces.first()?) == BTreeSet::from(["cart", "gateway"])).then_some(())
    })
    .await;

    let killed = Command::new("kill").args(["-9", &server("TEST_JAEGER_PID")]).status().unwrap();
    assert!(killed.success());
    for _ in 0..10 {
        buy(&shop, "PaymentApproved").await;
    }
    assert!(shop.terminate().await.success());
}
