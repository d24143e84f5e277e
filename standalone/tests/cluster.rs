//! Properties of the manifests: network policies, repeated `apply`, volumes, rollouts and images.

mod common;
#[path = "cluster/pods.rs"]
mod pods;

use common::files::{documents, items, text, yaml};
use gateway::services::{names, processes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const GI: u64 = 1 << 30;
/// Carts that fit into the volumes before the alert `VolumeFills`, as the book states.
const CARTS: u64 = 5_000_000;

/// Returns all objects of base, components, the production overlay and monitoring, with their files.
fn objects() -> Vec<(String, Value)> {
    let dirs = ["base", "components/kafka", "components/postgres", "components/sqlite"];
    let dirs = dirs.into_iter().chain(["components/issuer", "components/tls"]);
    let dirs = dirs.chain(["overlays/production", "monitoring"]);
    let mut found = vec![];
    for dir in dirs.map(|dir| format!("kubernetes/{dir}")) {
        let kustomization = yaml(&format!("{dir}/kustomization.yaml"));
        for file in items(&kustomization["resources"]) {
            let file = format!("{dir}/{}", file.as_str().unwrap());
            if Path::new(&file).extension().is_some_and(|kind| kind == "yaml") {
                found.extend(documents(&file).into_iter().map(|object| (file.clone(), object)));
            }
        }
    }
    assert!(found.len() > 40, "only {} objects", found.len());
    found
}

fn of_kind<'a>(objects: &'a [(String, Value)], kind: &str) -> Vec<&'a Value> {
    let all = objects.iter().map(|(_, object)| object);
    all.filter(|object| object["kind"] == kind).collect()
}

fn named<'a>(objects: &'a [(String, Value)], kind: &str, name: &str) -> &'a Value {
    let found = of_kind(objects, kind).into_iter().find(|one| one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Parses a quantity such as `16Gi` into bytes.
fn gibibytes(quantity: &Value) -> u64 {
    let number = quantity.as_str().and_then(|text| text.strip_suffix("Gi"));
    number.unwrap_or_else(|| panic!("{quantity} is not in Gi")).parse::<u64>().unwrap() * GI
}

fn claimed(objects: &[(String, Value)], claim: &str) -> u64 {
    gibibytes(
        &named(objects, "PersistentVolumeClaim", claim)["spec"]["resources"]["requests"]["storage"],
    )
}

#[test]
fn the_management_port_is_for_monitoring_alone() {
    let objects = objects();
    let ports = yaml("kubernetes/base/service.yaml");
    let ports = items(&ports)
        .iter()
        .find(|step| step["path"].as_str().is_some_and(|path| path.ends_with("/ports")));
    let management =
        items(&ports.unwrap()["value"]).iter().find(|port| port["name"] == "management");
    assert_eq!(management.unwrap()["containerPort"], 9080);
    assert!(text("Dockerfile").contains("MANAGEMENT_ADDR=0.0.0.0:9080"));

    for service in of_kind(&objects, "Service") {
        for port in items(&service["spec"]["ports"]) {
            assert_ne!(port["targetPort"], "management", "{service}");
            assert_ne!(port["port"], 9080, "{service}");
        }
    }
    // docker compose publishes the port of the gateway for customers, the pages of what the profile `observe` adds, and no other.
    let compose = yaml("docker-compose.yml");
    let published = compose["services"].as_object().unwrap().iter();
    let published: Vec<_> = published
        .flat_map(|(name, one)| items(&one["ports"]).iter().map(move |port| (name, one, port)))
        .collect();
    assert!(published.iter().all(|(_, _, port)| port.as_str().unwrap().starts_with("127.0.0.1:")));
    let always = published.into_iter().filter(|(_, one, _)| one["profiles"] != json!(["observe"]));
    let always: Vec<_> =
        always.map(|(name, _, port)| (name.as_str(), port.as_str().unwrap())).collect();
    assert_eq!(always, [("gateway", "127.0.0.1:8088:8080")]);

    let mut opened = 0;
    for policy in of_kind(&objects, "NetworkPolicy") {
        for rule in items(&policy["spec"]["ingress"]) {
            assert!(
                !items(&rule["ports"]).is_empty() && !items(&rule["from"]).is_empty(),
                "{policy}"
            );
            if items(&rule["ports"]).iter().any(|port| port["port"] == "management") {
                let monitoring = serde_json::json!([
                    { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } }
                ]);
                assert_eq!(rule["from"], monitoring, "{policy}");
                assert_eq!(items(&rule["ports"]).len(), 1, "{policy}");
                opened += 1;
            }
        }
        for rule in items(&policy["spec"]["egress"]) {
            assert!(!items(&rule["to"]).is_empty(), "the rule allows all destinations: {policy}");
        }
    }
    assert_eq!(opened, 1);
}

/// Returns the names of the pods of the production overlay that a selector of a network policy chooses.
fn chosen(selector: &Value) -> BTreeSet<String> {
    let base = yaml("kubernetes/base/kustomization.yaml");
    let label = &base["labels"][0]["pairs"];
    let name = |name: &str| serde_json::json!({ "app.kubernetes.io/name": name });
    let of_ours = |one: &str| {
        let mut labels = name(one);
        labels.as_object_mut().unwrap().extend(label.as_object().unwrap().clone());
        labels
    };
    let ours = processes().into_iter().map(|one| (one, of_ours(one)));
    let pods = ours.chain(["kafka", "postgres"].map(|one| (one, name(one))));
    let agrees = |labels: &Value| {
        let equal = selector["matchLabels"].as_object().into_iter().flatten();
        equal.into_iter().all(|(label, value)| labels[label] == *value)
            && items(&selector["matchExpressions"]).iter().all(|expression| {
                let value = &labels[expression["key"].as_str().unwrap()];
                let is_in = items(&expression["values"]).contains(value);
                match expression["operator"].as_str().unwrap() {
                    "In" => is_in,
                    "NotIn" => !is_in,
                    other => panic!("{other} is not known here"),
                }
            })
    };
    pods.filter(|(_, labels)| agrees(labels)).map(|(name, _)| name.to_owned()).collect()
}

/// The network is denied to what no policy allows. The policies choose services by label, so a new one needs none of its own.
#[test]
fn the_network_policies_choose_every_service() {
    let policies = documents("kubernetes/overlays/production/network.yaml");
    let spec = |name: &str| {
        let policy = policies.iter().find(|policy| policy["metadata"]["name"] == name);
        policy.unwrap_or_else(|| panic!("no policy {name}"))["spec"].clone()
    };
    let peers = |rules: &Value, side: &str| -> BTreeSet<String> {
        let peers = items(rules).iter().flat_map(|rule| items(&rule[side]));
        peers.filter_map(|peer| peer.get("podSelector")).flat_map(chosen).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (services, gateway) = (spec("services"), spec("gateway"));
    assert_eq!(chosen(&services["podSelector"]), set(&names()));
    assert_eq!(peers(&services["ingress"], "from"), set(&["gateway"]));
    assert_eq!(peers(&services["egress"], "to"), set(&["kafka", "postgres"]));
    assert_eq!(chosen(&gateway["podSelector"]), set(&["gateway"]));
    assert_eq!(peers(&gateway["egress"], "to"), set(&names()));
    assert_eq!(chosen(&spec("management")["podSelector"]), set(&processes()));
    assert_eq!(peers(&spec("postgres")["ingress"], "from"), set(&names()));
    let with_itself = [&names()[..], &["kafka"]].concat();
    assert_eq!(peers(&spec("kafka")["ingress"], "from"), set(&with_itself));
}

#[test]
fn prometheus_scrapes_the_management_port() {
    let scrape = yaml("kubernetes/monitoring/scrape.yaml");
    let pods = &items(&scrape)[0]["relabel_configs"];
    let port = items(pods)
        .iter()
        .find(|one| one["source_labels"][0] == "__meta_kubernetes_pod_container_port_name");
    assert_eq!(port.unwrap()["regex"], "management");
    let objects = objects();
    let monitor = named(&objects, "PodMonitor", "gifticon");
    assert_eq!(
        monitor["spec"]["podMetricsEndpoints"],
        serde_json::json!([{ "port": "management" }])
    );
    assert_eq!(monitor["spec"]["jobLabel"], "app.kubernetes.io/name");
}

#[test]
fn the_prometheus_rule_has_the_alerts() {
    let objects = objects();
    let rules = named(&objects, "PrometheusRule", "gifticon");
    let alerts = yaml("kubernetes/monitoring/alerts.yaml");
    assert_eq!(rules["spec"], alerts, "run kubernetes/monitoring/make-rules");
}

/// `apply` cannot change a Job, nor the volume claim templates of a StatefulSet.
#[test]
fn everything_can_be_applied_again_after_a_change() {
    let objects = objects();
    assert_eq!(of_kind(&objects, "Job"), Vec::<&Value>::new());
    for set in of_kind(&objects, "StatefulSet") {
        assert!(set["spec"]["volumeClaimTemplates"].is_null(), "{}", set["metadata"]["name"]);
    }
}

#[test]
fn every_volume_is_claimed_and_no_mount_changes_its_files() {
    let objects = objects();
    for set in of_kind(&objects, "StatefulSet") {
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
        let claims = items(&pod["volumes"])
            .iter()
            .filter_map(|one| one["persistentVolumeClaim"]["claimName"].as_str());
        let claims: Vec<_> = claims.collect();
        assert_eq!(claims, [format!("data-{}-0", set["metadata"]["name"].as_str().unwrap())]);
        claimed(&objects, claims[0]);
    }
    let steps = yaml("kubernetes/base/service.yaml");
    let security =
        items(&steps).iter().find(|step| step["path"] == "/spec/template/spec/securityContext");
    assert_eq!(security.unwrap()["value"]["fsGroupChangePolicy"], "OnRootMismatch");
    // Postgres requires a directory of mode 0700. The root of a volume has the mode that the cluster gives it.
    let postgres = named(&objects, "StatefulSet", "postgres");
    let container = &items(&postgres["spec"]["template"]["spec"]["containers"])[0];
    let data = items(&container["env"]).iter().find(|one| one["name"] == "PGDATA").unwrap();
    let mount = items(&container["volumeMounts"]).iter().find(|one| one["name"] == "data").unwrap();
    let below = data["value"].as_str().unwrap().strip_prefix(mount["mountPath"].as_str().unwrap());
    assert!(below.is_some_and(|path| path.starts_with('/')), "{}", data["value"]);
}

/// Bytes a cart were measured on 2026-11-27: 0.5 million carts filled 1 GiB of Postgres, without its WAL, and 2.3 million
/// filled 2 GiB of Kafka.
#[test]
fn the_volumes_hold_the_stated_number_of_carts_before_the_alert() {
    let objects = objects();
    let usable = |claim| claimed(&objects, claim) / 4 * 3; // the alert fires at 25 %
    let postgres = named(&objects, "StatefulSet", "postgres");
    let arguments = items(&postgres["spec"]["template"]["spec"]["containers"][0]["args"]).to_vec();
    let wal = |name: &str| {
        let argument =
            arguments.iter().find_map(|one| one.as_str()?.strip_prefix(&format!("{name}=")));
        let size = argument
            .and_then(|size| size.strip_suffix("GB"))
            .unwrap_or_else(|| panic!("no {name} in GB"));
        size.parse::<u64>().unwrap() * GI
    };
    assert!(wal("max_wal_size") <= wal("max_slot_wal_keep_size"));
    assert!(usable("data-postgres-0") >= CARTS * (GI / 500_000) + wal("max_wal_size"));
    assert!(usable("data-kafka-0") >= CARTS * (2 * GI / 2_300_000) + GI / 2);
    // Of the SQLite files, mypage's is the largest, with 337 bytes a cart.
    for service in names() {
        assert!(usable(service) >= 2_000_000 * 340);
    }
    let (page, korean) = (text("docs/operate/kubernetes.md"), text("docs/ko/operate.md"));
    assert!(
        page.contains("5 million carts") && korean.contains("500만"),
        "both pages state the number"
    );
    let alerts = text("kubernetes/monitoring/alerts.yaml");
    assert!(alerts.contains("< 0.25"));
}

#[test]
fn a_new_pod_is_known_before_an_old_one_stops() {
    let steps = yaml("kubernetes/base/service.yaml");
    let value = |path: &str| {
        let step = items(&steps).iter().find(|step| step["path"].as_str().unwrap().ends_with(path));
        step.unwrap_or_else(|| panic!("no {path}"))["value"].clone()
    };
    assert_eq!(value("/strategy")["rollingUpdate"]["maxUnavailable"], 0);
    assert!(value("/minReadySeconds").as_u64().unwrap() >= 5);
    assert!(value("/lifecycle")["preStop"]["sleep"]["seconds"].as_u64().unwrap() >= 10);
}

#[test]
fn each_deployment_and_stateful_set_has_a_disruption_budget() {
    let objects = objects();
    let names = |kind: &str| -> BTreeSet<String> {
        let all = of_kind(&objects, kind);
        all.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut running = names("Deployment");
    running.extend(names("StatefulSet"));
    assert_eq!(names("PodDisruptionBudget"), running);
}

/// Images have no shell and no package manager.
#[test]
fn images_hold_the_program_and_its_libraries_alone() {
    let dockerfile = text("Dockerfile");
    let last = dockerfile.lines().rfind(|line| line.starts_with("FROM "));
    assert_eq!(last, Some("FROM scratch"));
    let stage = dockerfile.rsplit("FROM scratch").next().unwrap();
    assert!(!stage.contains("\nRUN "), "nothing can run in it");
}
