//! Traces as a collector gets them: a purchase is one trace, also through five processes, and a collector that fails costs
//! nothing else.

mod common;
#[path = "traces/failing_collector.rs"]
mod failing_collector;
#[path = "traces/five_processes.rs"]
mod five_processes;

use axum::http::StatusCode;
use chassis::base::export;
use chassis::testing::{Collector, ExportedSpan, SpanKind, eventually};
use common::Shop;
use common::process::Process;
use gateway::services::processes;
use reqwest::{Method, header};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A trace of a client.
const CLIENT: &str = "0af7651916cd43dd8448eb211c80319c";
/// What spans may say. Nothing of it is personal.
const ATTRIBUTES: [&str; 19] = [
    "error.type",
    "gifticon.batch.commands",
    "gifticon.cart_id",
    "gifticon.event_type",
    "gifticon.reservation_id",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "messaging.consumer.group.name",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.message.key",
    "messaging.kafka.offset",
    "messaging.message.id",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.system",
    "peer.service",
    "url.scheme",
];

fn traceparent(flags: &str) -> String {
    format!("00-{CLIENT}-b7ad6b7169203331-{flags}")
}

/// Starts a shop as a process that exports to `url`.
fn shop(dir: &std::path::Path, url: &str, more: &[(&str, &str)]) -> Process {
    let environment = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)], more].concat();
    Process::start(dir, &environment)
}

/// Adds a cart as a client that is traced. Returns the id of the cart.
async fn add(shop: &Process, quantity: i64, traceparent: &str) -> i64 {
    let request = shop.web.client.post(format!("{}/carts", shop.web.base));
    let request = request.header("traceparent", traceparent);
    let answer =
        request.json(&json!({"gifticonId": 1, "quantity": quantity})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json::<Value>().await.unwrap()["id"].as_i64().unwrap()
}

/// Returns the spans by trace, and checks that each parent is there and each span is well formed.
fn by_trace(spans: Vec<ExportedSpan>) -> Vec<Vec<ExportedSpan>> {
    let mut traces: BTreeMap<String, Vec<ExportedSpan>> = BTreeMap::new();
    for span in spans {
        for name in span.attributes.keys() {
            assert!(ATTRIBUTES.contains(&name.as_str()), "{span:?} says {name}");
        }
        assert!(span.start <= span.end, "{span:?} ends before it starts");
        traces.entry(span.trace.clone()).or_default().push(span);
    }
    for trace in traces.values() {
        let ids: BTreeSet<&str> = trace.iter().map(|span| span.id.as_str()).collect();
        assert_eq!(ids.len(), trace.len(), "ids are unique");
        let first: Vec<_> = trace.iter().filter(|span| span.parent.is_empty()).collect();
        assert_eq!(first.len(), 1, "{first:#?} begin the same trace");
        for span in trace.iter().filter(|span| !span.parent.is_empty()) {
            assert!(ids.contains(span.parent.as_str()), "the parent of {span:?} is missing");
        }
    }
    traces.into_values().collect()
}

/// Returns the trace that the gateway began for the `index`th request of a kind.
fn begun<'t>(traces: &'t [Vec<ExportedSpan>], name: &str, index: usize) -> &'t [ExportedSpan] {
    let first = |trace: &[ExportedSpan]| {
        let mut spans = trace.iter();
        spans.find(|span| span.parent.is_empty()).map(|span| (span.name.clone(), span.start))
    };
    let begins = |trace: &&Vec<ExportedSpan>| first(trace).is_some_and(|first| first.0 == name);
    let mut found: Vec<_> = traces.iter().filter(begins).collect();
    found.sort_by_key(|trace| first(trace).map(|first| first.1));
    found[index]
}

/// Returns `SERVICE NAME` of each span, with the type of the event that it is about.
fn names(trace: &[ExportedSpan]) -> BTreeSet<String> {
    let name = |span: &ExportedSpan| {
        let event = span.attributes.get("gifticon.event_type");
        let event = event.map(|event| format!(" {event}")).unwrap_or_default();
        format!("{} {}{event}", span.service, span.name)
    };
    trace.iter().map(name).collect()
}

#[tokio::test]
async fn purchase_decline_and_cancel_are_a_trace_each_through_all_services() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), Collector::start());
    let shop = shop(dir.path(), &collector.url, &[("PAYMENT_LIMIT", "20000")]);
    shop.web.register(1, 100, 5_000).await;
    let bought = add(&shop, 1, &traceparent("01")).await;
    shop.shows(bought, "PaymentApproved").await;
    let declined = add(&shop, 5, &traceparent("00")).await;
    shop.shows(declined, "PaymentDeclined").await;
    let cart = format!("/carts/{bought}");
    shop.web.ask(Method::DELETE, &cart, None).await.unwrap();
    shop.shows(bought, "PaymentCanceled").await;
    eventually("the stock to return", async || {
        (shop.web.get("/gifticons/1").await["availableQuantity"] == 100).then_some(())
    })
    .await;
    assert!(shop.terminate().await.success());

    let traces = by_trace(collector.spans());
    let services: BTreeSet<String> = processes().into_iter().map(String::from).collect();
    let has = |trace: &[ExportedSpan], names_: &[&str]| {
        let of: BTreeSet<String> = trace.iter().map(|span| span.service.clone()).collect();
        let there = names(trace);
        assert_eq!(of, services, "{there:#?}");
        for name in names_ {
            assert!(there.contains(*name), "{name} is not among {there:#?}");
        }
    };
    let purchase = begun(&traces, "POST /carts", 0);
    has(
        purchase,
        &[
            "gateway POST /carts",
            "gateway POST",
            "cart POST /carts",
            "cart cart.write",
            "cart reserve",
            "gifticon PUT /reservations/{reservation}",
            "gifticon gifticon.write",
            "gifticon embedded publish QuantityModified",
            "cart embedded publish CartAdded",
            "payment embedded process CartAdded",
            "payment embedded publish PaymentApproved",
            "cart embedded process PaymentApproved",
            "mypage embedded process CartAdded",
            "mypage embedded process PaymentApproved",
        ],
    );
    has(
        begun(&traces, "POST /carts", 1),
        &[
            "payment embedded publish PaymentDeclined",
            "cart embedded publish CartRemoved",
            "gifticon embedded process CartRemoved",
        ],
    );
    has(
        begun(&traces, "DELETE /carts/{*rest}", 0),
        &["cart embedded publish CartRemoved", "payment embedded publish PaymentCancelled"],
    );
    // What a recorded purchase costs goes with their number: docs/decisions/0042-spans.md.
    assert_eq!(purchase.len(), 14, "{:#?}", names(purchase));
    for (trace, cart) in [(purchase, bought), (begun(&traces, "POST /carts", 1), declined)] {
        let first = trace.iter().find(|span| span.parent.is_empty()).unwrap();
        assert_eq!(first.links, [CLIENT], "the trace of the client is a link");
        assert_eq!((first.kind, first.failed), (SpanKind::Server, false));
        assert_eq!(first.attributes["http.response.status_code"], "201");
        let about: BTreeSet<_> =
            trace.iter().filter_map(|span| span.attributes.get("gifticon.cart_id")).collect();
        assert_eq!(about, BTreeSet::from([&cart.to_string()]));
    }
    assert!(traces.iter().flatten().all(|span| span.trace != CLIENT));
    for span in traces.iter().flatten().filter(|span| span.kind == SpanKind::Producer) {
        let parent = traces.iter().flatten().find(|parent| parent.id == span.parent).unwrap();
        assert_eq!(parent.service, span.service, "{span:?}");
        let appended = [format!("{}.write", span.service), "embedded process".to_owned()];
        assert!(appended.contains(&parent.name), "the relay is no parent: {parent:?}");
    }
    assert!(traces.iter().flatten().all(|span| !span.name.contains("/actuator")));
}

#[tokio::test]
async fn who_begins_a_trace_decides_whether_it_is_recorded() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), Collector::start());
    let never = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let untold = shop(dir.path(), &collector.url, &never);
    untold.web.register(1, 100, 5_000).await;
    let cart = add(&untold, 1, &traceparent("01")).await;
    untold.shows(cart, "PaymentApproved").await;
    assert!(untold.terminate().await.success());
    assert_eq!(collector.spans().len(), 0, "a client cannot have itself recorded");

    let trusting = [&never[..], &[("TRUST_TRACEPARENT", "true")]].concat();
    let trusting = shop(dir.path(), &collector.url, &trusting);
    let cart = add(&trusting, 1, &traceparent("00")).await;
    trusting.shows(cart, "PaymentApproved").await;
    let recorded = add(&trusting, 1, &traceparent("01")).await;
    trusting.shows(recorded, "PaymentApproved").await;
    assert!(trusting.terminate().await.success());
    let spans = collector.spans();
    assert!(spans.len() >= 9, "{spans:#?}");
    for span in spans {
        assert_eq!(span.trace, CLIENT, "a client that is trusted decides: {span:?}");
        assert!(span.service.starts_with("shop-"), "{}", span.service);
        let cart = span.attributes.get("gifticon.cart_id");
        assert!(cart.is_none_or(|cart| *cart == recorded.to_string()), "{span:?}");
    }
}

#[tokio::test]
async fn the_log_names_the_trace_of_a_problem_in_each_service() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("RUST_LOG", "chassis=debug"), ("LOG_FORMAT", "json")];
    let (shop, log) = Process::start_logged(dir.path(), &settings);
    let (_, problem) = shop.web.ask(Method::GET, "/carts/7", None).await.unwrap();
    assert!(shop.terminate().await.success());
    let log = std::fs::read_to_string(log).unwrap();
    let answered = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered = answered.filter(|line| line["message"] == "answered a request");
    let traces: Vec<_> = answered.map(|line| line["span"]["trace.id"].clone()).collect();
    let trace = &problem["traceId"];
    assert_eq!(traces, [trace.clone(), trace.clone()], "of cart and of the gateway");
}

#[tokio::test]
async fn problems_and_metrics_name_the_trace() {
    let collector = Collector::start();
    export::begin("standalone", collector.settings()).unwrap();
    let shop = Shop::with_a_paid_cart().await;
    let (status, problem) = shop.web.ask(Method::GET, "/carts/7", None).await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
    let trace = problem["traceId"].as_str().unwrap().to_owned();
    eventually("the trace of the problem", async || {
        let spans = collector.spans();
        let of: BTreeSet<String> = spans
            .iter()
            .filter(|span| span.trace == trace)
            .map(|span| format!("{} {}", span.service, span.name))
            .collect();
        let wanted = ["cart GET /carts/{id}", "gateway GET", "gateway GET /carts/{*rest}"];
        (of == wanted.map(String::from).into()).then_some(())
    })
    .await;

    let web = &shop.management["cart"];
    let metrics = async |accept: &str| {
        let request = web.client.get(format!("{}/metrics", web.base));
        let answer = request.header(header::ACCEPT, accept).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let open = metrics("application/openmetrics-text").await;
    let exemplar = format!("# {{trace_id=\"{trace}\"}}");
    let line = open.lines().find(|line| line.contains(&exemplar)).expect("it is an exemplar");
    assert!(line.starts_with("http_request_duration_seconds_bucket"), "{line}");
    assert!(line.contains("/carts/{id}"), "{line}");
    let plain = metrics("text/plain").await;
    assert!(!plain.contains("trace_id"), "the format of Prometheus has no exemplars");
    let value = |name: &str| {
        let line = plain.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(value("trace_spans_exported_total ") > 0);
    for why in ["queue_full", "export_failed"] {
        assert_eq!(value(&format!("trace_spans_dropped_total{{why=\"{why}\"}} ")), 0);
    }
    shop.stop().await;
}
