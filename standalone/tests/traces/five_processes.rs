//! A purchase through the services as five processes, on a real Kafka.

use crate::common::process::Process;
use crate::common::server;
use crate::{add, begun, by_trace, names, traceparent};
use chassis::testing::{Collector, ExportedSpan, eventually};
use gateway::services::{SERVICES, processes};
use std::collections::BTreeSet;
use std::path::Path;
use uuid::Uuid;

/// Starts a process whose database is in `dir`, and waits until it is ready.
async fn start(name: &str, dir: &Path, settings: &[(String, String)]) -> Process {
    let database = format!("sqlite:{}", dir.join(format!("{name}.db")).display());
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<_> = settings.chain([("DATABASE_URL", database.as_str())]).collect();
    let process = Process::start_service(name, &settings);
    let ready = async || process.web.is_ready().await.then_some(());
    eventually(&format!("{name} to be ready"), ready).await;
    process
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_purchase_through_five_processes_and_kafka_is_one_trace() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), Collector::start());
    let topic = format!("test-{}", Uuid::new_v4());
    let mut settings: Vec<(String, String)> = [
        ("KAFKA_BROKERS", server("TEST_KAFKA_BROKERS")),
        ("KAFKA_TOPIC", topic.clone()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut services = Vec::new();
    // Each is told where those are that started before it: gifticon before cart, and all before the gateway.
    for service in SERVICES {
        let process = start(service.name, dir.path(), &settings).await;
        settings.push((service.url_setting(), process.web.base.clone()));
        services.push(process);
    }
    let gateway = start("gateway", dir.path(), &settings).await;

    gateway.web.register(1, 100, 5_000).await;
    let cart = add(&gateway, 1, &traceparent("01")).await;
    gateway.shows(cart, "PaymentApproved").await;
    let path = format!("/carts/{cart}");
    eventually("the cart to be paid", async || {
        (gateway.web.get(&path).await["status"] == "PaymentApproved").then_some(())
    })
    .await;
    // The spans that still wait are sent at the end.
    for process in services.into_iter().chain([gateway]) {
        assert!(process.terminate().await.success());
    }

    let traces = by_trace(collector.spans()); // each span has its parent
    let purchase = begun(&traces, "POST /carts", 0);
    let of: BTreeSet<&str> = purchase.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(of, processes().into_iter().collect());
    let there = names(purchase);
    for name in [
        "gateway POST /carts",
        "cart POST /carts",
        "cart reserve",
        "gifticon PUT /reservations/{reservation}",
        "gifticon TOPIC publish QuantityModified",
        "cart TOPIC publish CartAdded",
        "payment TOPIC process CartAdded",
        "payment TOPIC publish PaymentApproved",
        "cart TOPIC process PaymentApproved",
        "mypage TOPIC process CartAdded",
        "mypage TOPIC process PaymentApproved",
    ] {
        assert!(there.contains(&name.replace("TOPIC", &topic)), "{name} is not among {there:#?}");
    }
    let is_message = |span: &&ExportedSpan| {
        let system = span.attributes.get("messaging.system");
        system.is_some_and(|system| system == "kafka")
    };
    let cart = cart.to_string();
    for span in purchase.iter().filter(is_message) {
        let of = span.attributes.get("gifticon.cart_id");
        assert!(of.is_none_or(|of| *of == cart), "{span:?}");
    }
    let others = traces.iter().filter(|trace| trace[0].trace != purchase[0].trace);
    for span in others.flatten() {
        assert_ne!(span.attributes.get("gifticon.cart_id"), Some(&cart), "{span:?}");
    }
}
