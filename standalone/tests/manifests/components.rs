//! The components: what they add is what the processes take, and secrets are files.

use super::{config_map, container, settings_in, starts_with};
use crate::common::files::{documents, items, yaml};
use gateway::services::{names, processes};
use serde_json::Value;
use std::collections::BTreeMap;

fn component(name: &str) -> Value {
    yaml(&format!("kubernetes/components/{name}/kustomization.yaml"))
}

/// Returns the patch of a component for a target that begins with `kind` and, in its name, has `name`.
fn patch(component: &Value, kind: &str, name: &str) -> Value {
    let of_it = items(&component["patches"]).iter().find(|patch| {
        let target = &patch["target"];
        target["kind"] == kind && target["name"].as_str().unwrap().split('|').any(|one| one == name)
    });
    let text = of_it.unwrap_or_else(|| panic!("no patch of {kind} {name}"))["patch"].as_str();
    serde_saphyr::from_str(text.unwrap()).unwrap()
}

/// Returns what the steps of a patch add at a path that ends so.
fn added<'a>(steps: &'a Value, end: &str) -> &'a Value {
    let step = items(steps).iter().find(|step| step["path"].as_str().unwrap().ends_with(end));
    &step.unwrap_or_else(|| panic!("nothing is added at {end}"))["value"]
}

/// Returns the settings in a ConfigMap of a component.
fn config_of(component: &Value, name: &str) -> BTreeMap<String, String> {
    let maps = items(&component["configMapGenerator"]);
    let map = maps.iter().find(|map| map["name"] == name).expect("it has this ConfigMap");
    let pair = |literal: &Value| {
        let (variable, value) = literal.as_str().unwrap().split_once('=').unwrap();
        (variable.to_owned(), value.to_owned())
    };
    items(&map["literals"]).iter().map(pair).collect()
}

/// Checks that a file is in a Secret that the container mounts, readable by the group of the pod alone.
fn is_mounted(file: &str, mounts: &Value, volumes: &Value) {
    let mount = items(mounts)
        .iter()
        .find(|mount| file.starts_with(mount["mountPath"].as_str().unwrap()))
        .unwrap_or_else(|| panic!("{file} is in no mount"));
    assert_eq!(mount["readOnly"], true, "{file}");
    let volume = items(volumes).iter().find(|volume| volume["name"] == mount["name"]).unwrap();
    let secret = &volume["secret"];
    assert!(secret["secretName"].is_string(), "{file} is not of a Secret: {volume}");
    // In decimal: YAML 1.1 takes 0440 for octal, and YAML 1.2 for decimal.
    assert_eq!(
        secret["defaultMode"], 288,
        "{file}: the group of the pod reads it, and nobody else"
    );
    let name = file.rsplit('/').next().unwrap();
    let keys = items(&secret["items"]);
    assert!(keys.is_empty() || keys.iter().any(|key| key["path"] == name), "{file}: {volume}");
}

/// No secret is in an environment, which `kubectl describe`, crash dumps and children of the process show.
#[test]
fn secrets_are_files_and_in_no_environment() {
    for name in processes() {
        let container = container(name);
        for (variable, value) in settings_in(&container["env"]) {
            assert_eq!(variable, "DATABASE_URL_FILE", "{name}");
            let parts = documents(&format!("kubernetes/base/{name}.yaml"));
            let deployment = parts.iter().find(|part| part["kind"] == "Deployment").unwrap();
            let pod = &deployment["spec"]["template"]["spec"];
            is_mounted(&value, &container["volumeMounts"], &pod["volumes"]);
            let keys = &pod["volumes"][0]["secret"]["items"];
            let own = serde_json::json!([{ "key": format!("{name}-url"), "path": "url" }]);
            assert_eq!(*keys, own, "a service sees no password of another");
        }
    }
    let folders = ["base", "components/kafka", "components/postgres", "components/sqlite"];
    let folders = folders.into_iter().chain(["overlays/production", "overlays/local"]);
    for folder in folders.map(|folder| format!("kubernetes/{folder}")) {
        for file in crate::common::files::below(&folder, "yaml") {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("secretKeyRef"), "{}", file.display());
            assert!(!text.contains("secretRef"), "{}", file.display());
        }
    }
}

#[test]
fn the_component_service_token_gives_cart_and_gifticon_the_same_file() {
    let component = component("service-token");
    for name in ["cart", "gifticon"] {
        let patch = patch(&component, "Deployment", name);
        let env = added(&patch, "/env/-");
        assert_eq!(env["name"], "SERVICE_TOKEN_FILE");
        let lists = |path| Value::Array(vec![added(&patch, path).clone()]);
        let file = env["value"].as_str().unwrap();
        is_mounted(file, &lists("/volumeMounts/-"), &lists("/volumes/-"));
        let settings = settings_in(&container(name)["env"]).into_iter().chain(config_map(name));
        let token = ("SERVICE_TOKEN_FILE".to_owned(), file.to_owned());
        starts_with(name, &settings.chain([token]).collect(), "service-token");
    }
    let production = yaml("kubernetes/overlays/production/kustomization.yaml");
    let name = Value::from("../../components/service-token");
    assert!(items(&production["components"]).contains(&name));
}

#[test]
fn the_component_issuer_tells_every_process_the_same_issuer() {
    let component = component("issuer");
    let issuer = config_of(&component, "issuer");
    assert!(issuer.contains_key("AUTH_ISSUER") && issuer.contains_key("AUTH_AUDIENCE"));
    for name in processes() {
        let patch = patch(&component, "Deployment", name);
        assert_eq!(added(&patch, "/envFrom/-")["configMapRef"]["name"], "issuer");
        let mut all = config_map(name);
        all.extend(settings_in(&container(name)["env"]));
        all.extend(issuer.clone());
        if name == "gateway" {
            all.extend(config_of(&component, name));
        }
        starts_with(name, &all, "issuer");
    }
    let patches = items(&component["patches"]);
    let text = patches.last().unwrap()["patch"].as_str().unwrap();
    let files: Value = serde_saphyr::from_str(text).unwrap();
    let pod = &files["spec"]["template"]["spec"];
    for secret in ["OIDC_CLIENT_SECRET_FILE", "SESSION_SECRET_FILE"] {
        let file = &config_of(&component, "gateway")[secret];
        is_mounted(file, &pod["containers"][0]["volumeMounts"], &pod["volumes"]);
    }
}

#[test]
fn the_component_kafka_sasl_takes_the_password_from_a_file() {
    let component = component("kafka-sasl");
    let settings = config_of(&component, "kafka");
    for name in names() {
        let patch = patch(&component, "Deployment", name);
        let lists = |path| Value::Array(vec![added(&patch, path).clone()]);
        for file in ["KAFKA_SASL_PASSWORD_FILE", "KAFKA_SSL_CA_LOCATION"] {
            is_mounted(&settings[file], &lists("/volumeMounts/-"), &lists("/volumes/-"));
        }
        let mut all = config_map(name);
        all.extend(settings_in(&container(name)["env"]));
        all.extend(config_of(&component, name));
        all.extend(settings.clone());
        starts_with(name, &all, "kafka-sasl");
    }
}

#[test]
fn the_component_tls_has_the_files_and_probes_that_speak_it() {
    let patch = patch(&component("tls"), "Deployment", "gateway");
    let pod = &patch["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "gateway");
    let settings = settings_in(&container["env"]);
    for variable in ["TLS_CERTIFICATE", "TLS_KEY"] {
        is_mounted(&settings[variable], &container["volumeMounts"], &pod["volumes"]);
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        // The path and the port are those of service.yaml.
        assert_eq!(container[probe], serde_json::json!({ "httpGet": { "scheme": "HTTPS" } }));
        assert_eq!(super::patch(probe)["httpGet"]["port"], "http");
    }
    let all = config_map("gateway").into_iter().chain(settings).collect();
    starts_with("gateway", &all, "tls");
}
