//! Compares the alerts, the dashboard and the profile `observe` of docker-compose.yml with the processes and with each other.

mod common;

use common::files::{items, text, yaml};
use gateway::services::processes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ALERTS: &str = "kubernetes/monitoring/alerts.yaml";
const DASHBOARD: &str = "kubernetes/monitoring/dashboard.json";

/// Returns the names of metrics in an expression: its words with an underscore, except for functions and for what is in
/// braces and brackets.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let (mut names, mut word, mut inside) = (BTreeSet::new(), String::new(), 0);
    for letter in expression.chars().chain([' ']) {
        match letter {
            '{' | '[' => inside += 1,
            '}' | ']' => inside -= 1,
            _ => {}
        }
        if inside == 0 && (letter.is_ascii_alphanumeric() || letter == '_') {
            word.push(letter);
        } else {
            let name = std::mem::take(&mut word);
            if name.contains('_') && !["histogram_quantile", "predict_linear"].contains(&&*name) {
                names.insert(name);
            }
        }
    }
    names
}

#[tokio::test]
async fn every_metric_in_dashboard_and_alerts_is_exported_by_a_process() {
    let shop = common::Shop::start().await;
    shop.web.register(1, 10, 5_000).await;
    shop.web.add(1, 1, None).await.unwrap();
    let mut exported = String::new();
    for web in shop.management.values() {
        let answer = web.client.get(format!("{}/metrics", web.base)).send().await.unwrap();
        exported += &answer.text().await.unwrap();
    }
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let targets = items(&dashboard["panels"]).iter().flat_map(|panel| items(&panel["targets"]));
    let alerts = yaml(ALERTS);
    let rules = items(&alerts["groups"]).iter().flat_map(|group| items(&group["rules"]));
    let mut count = 0;
    for expression in targets.chain(rules).map(|one| one["expr"].as_str().unwrap()) {
        for metric in metrics_in(expression) {
            if metric.starts_with("kubelet_") {
                continue; // exported by the nodes
            }
            let line = |line: &str| {
                line.strip_prefix(&metric).is_some_and(|rest| rest.starts_with(['{', ' ']))
            };
            assert!(exported.lines().any(line), "no process exports {metric}: {expression}");
            count += 1;
        }
    }
    assert!(count > 20, "only {count} metrics were found in the files");
    shop.stop().await;
}

/// `promtool test rules` runs the tests.
#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let alerts = yaml(ALERTS);
    let rules = items(&alerts["groups"]).iter().flat_map(|group| items(&group["rules"]));
    let there: BTreeSet<&str> = rules.map(|rule| rule["alert"].as_str().unwrap()).collect();
    let tests = yaml("kubernetes/monitoring/alerts.test.yaml");
    assert_eq!(tests["rule_files"][0], "alerts.yaml");
    let (mut fire, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in items(&tests["tests"]).iter().flat_map(|test| items(&test["alert_rule_test"])) {
        let which = if items(&test["exp_alerts"]).is_empty() { &mut silent } else { &mut fire };
        which.insert(test["alertname"].as_str().unwrap());
    }
    assert_eq!((&fire, &silent), (&there, &there));
}

/// Returns the volumes of a service in docker-compose.yml: the file or volume by its path in the container.
fn mounts(service: &str) -> BTreeMap<String, String> {
    let compose = yaml("docker-compose.yml");
    let volumes = items(&compose["services"][service]["volumes"]).iter();
    let mount = |volume: &Value| {
        let mut parts = volume.as_str().unwrap().split(':');
        let (from, to) = (parts.next().unwrap(), parts.next().unwrap());
        (to.to_owned(), from.trim_start_matches("./").to_owned())
    };
    volumes.map(mount).collect()
}

/// Returns what a configuration of Prometheus scrapes: the target of each job.
fn targets(config: &Value) -> BTreeMap<String, String> {
    let target = |job: &Value| {
        let named = &job["dns_sd_configs"][0];
        let target = match named["names"][0].as_str() {
            Some(name) => format!("{name}:{}", named["port"]),
            None => {
                let fixed = job["static_configs"][0]["targets"][0].as_str().unwrap();
                format!("{fixed}{}", job["metrics_path"].as_str().unwrap())
            }
        };
        (job["job_name"].as_str().unwrap().to_owned(), target)
    };
    items(&config["scrape_configs"]).iter().map(target).collect()
}

#[test]
fn prometheus_scrapes_every_process_and_has_the_alerts_of_kubernetes() {
    let mounts = mounts("prometheus");
    let config = yaml(&mounts["/etc/prometheus/prometheus.yml"]);
    let rules = config["rule_files"][0].as_str().unwrap();
    assert_eq!(mounts[rules], ALERTS);
    let in_containers =
        processes().into_iter().map(|name| (name.to_owned(), format!("{name}:9080")));
    assert_eq!(targets(&config), in_containers.collect());

    let config = yaml("compose/standalone.yml");
    assert_eq!(config["rule_files"][0], format!("../{ALERTS}"));
    let at = standalone_management();
    let in_one =
        processes().into_iter().map(|name| (name.to_owned(), format!("{at}/{name}/metrics")));
    assert_eq!(targets(&config), in_one.collect());
}

/// Returns the default of `MANAGEMENT_ADDR` of `standalone`.
fn standalone_management() -> String {
    use chassis::service::launch::command;
    let command = command::<standalone::StandaloneConfig>("standalone", standalone::ABOUT, 0);
    let setting = command.get_arguments().find(|one| one.get_id() == "management_addr").unwrap();
    setting.get_default_values()[0].to_str().unwrap().to_owned()
}

#[test]
fn grafana_shows_the_dashboard_of_kubernetes_first() {
    let mounts = mounts("grafana");
    let compose = yaml("docker-compose.yml");
    let grafana = &compose["services"]["grafana"];
    let first = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let first = first.as_str().unwrap();
    assert_eq!(mounts[first], DASHBOARD);
    let provisioning =
        |of: &str| yaml(&mounts[&format!("/etc/grafana/provisioning/{of}/gifticon.yaml")]);
    let providers = provisioning("dashboards");
    let folder = providers["providers"][0]["options"]["path"].as_str().unwrap();
    assert_eq!(first.rsplit_once('/').unwrap().0, folder);
    let sources = provisioning("datasources");
    assert_eq!((&sources["apiVersion"], &providers["apiVersion"]), (&1.into(), &1.into()));
    // Each data source is a service beside Grafana, and the dashboard takes the default one of its type.
    for (source, port) in items(&sources["datasources"]).iter().zip(["9090", "16686"]) {
        let name = source["type"].as_str().unwrap();
        assert_eq!(source["url"], format!("http://{name}:{port}"));
        let ports = &compose["services"][name]["ports"][0];
        assert_eq!(
            ports,
            &Value::from(format!("127.0.0.1:{port}:{port}")),
            "open to this machine alone"
        );
    }
    let default =
        items(&sources["datasources"]).iter().find(|one| one["isDefault"] == true).unwrap();
    // An exemplar leads to its trace.
    let flags = items(&compose["services"]["prometheus"]["command"]);
    assert!(flags.iter().any(|flag| flag == "--enable-feature=exemplar-storage"));
    let link = &default["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!(link["name"], "trace_id", "the label of base/metrics.rs");
    assert!(items(&sources["datasources"]).iter().any(|one| one["uid"] == link["datasourceUid"]));
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let targets = items(&dashboard["panels"]).iter();
    let mut targets = targets.filter_map(|panel| panel["targets"].as_array()).flatten();
    assert!(targets.any(|target| target["exemplar"] == true));
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!((&variable["type"], &variable["query"]), (&"datasource".into(), &default["type"]));
}

#[test]
fn the_profile_observe_has_the_shop_and_sends_its_traces_to_jaeger() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    let env = text("compose/observe.env");
    let set: BTreeMap<&str, &str> = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.starts_with('#'))
        .collect();
    assert_eq!(set["COMPOSE_PROFILES"], "observe");
    let has = |name: &str, profile: &str| {
        items(&services[name]["profiles"]).iter().any(|one| one == profile)
    };
    for name in processes().into_iter().chain(["kafka", "postgres", "databases"]) {
        assert!(has(name, "observe"), "{name}");
    }
    for name in ["prometheus", "grafana", "jaeger"] {
        assert_eq!(services[name]["profiles"], serde_json::json!(["observe"]), "{name}");
    }
    // Without the file the variables are empty, and nothing is sent.
    for name in processes() {
        let environment = services[name]["environment"].as_object().unwrap();
        let traces = environment.iter().filter(|(variable, _)| variable.starts_with("OTEL_"));
        let traces: BTreeMap<&str, &str> =
            traces.map(|(variable, value)| (variable.as_str(), value.as_str().unwrap())).collect();
        let names: BTreeSet<&str> = traces.keys().copied().chain(["COMPOSE_PROFILES"]).collect();
        assert_eq!(names, set.keys().copied().collect());
        assert!(traces.iter().all(|(variable, value)| *value == format!("${{{variable}:-}}")));
    }
    assert_eq!(set["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://jaeger:4318");
    assert!(services["jaeger"]["command"][1].as_str().unwrap().ends_with(":4318"));
}
