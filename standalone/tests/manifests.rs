//! Compares the manifests, docker-compose.yml and the Dockerfile with the processes: settings, ports, probes, images, and the time
//! to stop.

mod common;
#[path = "manifests/components.rs"]
mod components;

use chassis::base::config::{Auth, Listen, StreamsLimit, TlsFiles};
use common::files::{documents, items, text, yaml};
use common::services::commands;
use gateway::services::{Upstreams, names, processes};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the command of a process, as `main` builds it.
fn process(name: &str) -> clap::Command {
    commands().into_iter().find(|command| command.get_name() == name).expect("there is one")
}

/// Returns a setting and its value. Of a setting from a file, it is the setting and what may be in the file.
fn setting<'a>(variable: &'a str, value: &'a str) -> (&'a str, &'a str) {
    match variable.strip_suffix("_FILE") {
        Some("DATABASE_URL") => ("DATABASE_URL", "postgres://x:x@postgres/x"),
        Some(secret) => (secret, "a-secret-of-at-least-32-characters"),
        None => (variable, value),
    }
}

/// Checks that a process accepts these settings and requires no others.
fn starts_with(name: &str, settings: &BTreeMap<String, String>, whence: &str) {
    let mut arguments = vec![name.to_owned()];
    for (variable, value) in settings {
        let (variable, value) = setting(variable, value);
        let flag = variable.to_lowercase().replace('_', "-");
        arguments.push(format!("--{flag}={}", with_defaults(value)));
    }
    if let Err(error) = process(name).try_get_matches_from(arguments) {
        panic!("{whence}: {name} does not start: {error}");
    }
}

/// Returns a value of docker-compose.yml with `${NAME:-DEFAULT}` replaced by the default.
fn with_defaults(value: &str) -> String {
    let mut parts = value.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').expect("a variable ends");
        text.push_str(variable.split_once(":-").expect("it has a default").1);
        text.push_str(rest);
    }
    text
}

/// Returns the settings in the ConfigMap of a process.
fn config_map(name: &str) -> BTreeMap<String, String> {
    let base = yaml("kubernetes/base/kustomization.yaml");
    let maps = items(&base["configMapGenerator"]);
    let map = maps.iter().find(|map| map["name"] == name).expect("each has a ConfigMap");
    let pair = |literal: &Value| {
        let (variable, value) = literal.as_str()?.split_once('=')?;
        Some((variable.to_owned(), value.to_owned()))
    };
    items(&map["literals"]).iter().filter_map(pair).collect()
}

/// Returns the settings in an `env` of a container.
fn settings_in(env: &Value) -> BTreeMap<String, String> {
    let pair = |one: &Value| Some((one["name"].as_str()?.into(), one["value"].as_str()?.into()));
    items(env).iter().filter_map(pair).collect()
}

/// Returns the first container of a process.
fn container(name: &str) -> Value {
    let parts = documents(&format!("kubernetes/base/{name}.yaml"));
    let deployment = parts.iter().find(|part| part["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Returns the steps of the patches of the component `sqlite` for a service.
fn sqlite_steps(service: &str) -> Vec<Value> {
    let component = yaml("kubernetes/components/sqlite/kustomization.yaml");
    let patches = items(&component["patches"]).iter();
    let of_it = patches.filter(|patch| {
        patch["target"]["name"].as_str().unwrap().split('|').any(|name| name == service)
    });
    of_it
        .flat_map(|patch| {
            let steps: Value = serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
            items(&steps).to_vec()
        })
        .collect()
}

#[test]
fn manifests_have_every_setting_that_a_process_needs_and_no_unknown_one() {
    starts_with("gateway", &config_map("gateway"), "kubernetes/base");
    for name in names() {
        let settings = config_map(name);
        let postgres = settings_in(&container(name)["env"]);
        starts_with(name, &settings.clone().into_iter().chain(postgres).collect(), "postgres");
        let steps = sqlite_steps(name);
        let value = |field: &str| {
            let step = steps.iter().find(|step| step["path"].as_str().unwrap().ends_with(field));
            step.unwrap_or_else(|| panic!("sqlite patches no {field} of {name}"))["value"].clone()
        };
        let sqlite = settings_in(&value("/env"));
        starts_with(name, &settings.into_iter().chain(sqlite).collect(), "sqlite");
        assert_eq!(value("/strategy")["type"], "Recreate");
        assert_eq!(value("/volumeMounts")[0]["mountPath"], "/data");
        assert_eq!(value("/volumes")[0]["persistentVolumeClaim"]["claimName"], name);
    }
}

#[test]
fn docker_compose_starts_the_same_processes() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    for name in processes() {
        for (of, service) in services.iter().filter(|(of, _)| of.trim_end_matches("-2") == name) {
            let environment = service["environment"].as_object().unwrap();
            let pair = |(variable, value): (&String, &Value)| {
                (variable.clone(), value.as_str().unwrap().to_owned())
            };
            starts_with(name, &environment.iter().map(pair).collect(), of);
            assert_eq!(service["image"], format!("gifticon/{name}:{}", env!("CARGO_PKG_VERSION")));
            assert_eq!(service["healthcheck"]["test"][2], "--healthy");
        }
        assert_eq!(services[name]["build"]["args"]["SERVICE"], name);
    }
    let always = yaml("docker-compose.yml")["x-always"].clone();
    for name in processes().into_iter().chain(["kafka", "postgres", "databases"]) {
        assert_eq!(services[name]["profiles"], always, "{name} is in every profile");
    }
    let started = text(".env");
    let started = started.lines().find_map(|line| line.strip_prefix("COMPOSE_PROFILES="));
    assert!(items(&always).iter().any(|profile| profile.as_str() == started), "{started:?}");
    let port = &services["gateway"]["ports"][0];
    assert_eq!(port, "127.0.0.1:8088:8080");
}

#[test]
fn images_are_those_of_our_processes_with_this_version() {
    let base = yaml("kubernetes/base/kustomization.yaml");
    let images = items(&base["images"]);
    assert_eq!(images.len(), processes().len());
    for name in processes() {
        let image = format!("gifticon/{name}");
        let tag = images.iter().find(|one| one["name"] == image).expect("each has an image");
        assert_eq!(tag["newTag"], env!("CARGO_PKG_VERSION"));
        let container = container(name);
        assert_eq!((&container["name"], &container["image"]), (&name.into(), &image.into()));
    }
}

/// Returns the images of others that a file names.
fn foreign_images(file: &str) -> Vec<String> {
    let text = text(file);
    let of_line = |line: &str| {
        let line = line.trim();
        let image = line.strip_prefix("image: ").or_else(|| line.strip_prefix("FROM "))?;
        image.split_whitespace().next().map(ToOwned::to_owned)
    };
    let images = text.lines().filter_map(of_line);
    images.filter(|image| !image.starts_with("gifticon/") && image != "scratch").collect()
}

#[test]
fn images_of_others_have_a_version() {
    let mut files = vec!["docker-compose.yml", "Dockerfile", "kubernetes/drills/siege/Dockerfile"];
    files.extend([
        "kubernetes/components/kafka/kafka.yaml",
        "kubernetes/components/postgres/postgres.yaml",
    ]);
    let images: BTreeSet<String> = files.into_iter().flat_map(foreign_images).collect();
    for image in &images {
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let is_release =
            tag.trim_start_matches('v').starts_with(|digit: char| digit.is_ascii_digit());
        let is_debian = image == "debian:bookworm-slim"; // a release of Debian has a name
        assert!(is_release || is_debian, "{image} is another one tomorrow");
    }
    for name in [
        "prom/prometheus:",
        "grafana/grafana:",
        "jaegertracing/jaeger:",
        "postgres:",
        "apache/kafka:",
        "rust:",
    ] {
        assert!(images.iter().any(|image| image.starts_with(name)), "{name} in {images:?}");
    }
}

#[test]
fn the_image_of_siege_has_this_version() {
    let image = Value::from(format!("gifticon/siege:{}", env!("CARGO_PKG_VERSION")));
    let parts = documents("kubernetes/drills/siege.yaml");
    let pod = parts.iter().find(|part| part["kind"] == "Pod").unwrap();
    assert_eq!(pod["spec"]["containers"][0]["image"], image);
    assert_eq!(yaml("docker-compose.yml")["services"]["load"]["image"], image);
}

/// Returns the folders of the crates of the workspace in `dir`, as cargo reads their manifests.
fn crates(dir: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = PathBuf::from(metadata["workspace_root"].as_str().unwrap());
    let manifests = items(&metadata["packages"]).iter();
    manifests
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            manifest.parent().unwrap().strip_prefix(&root).unwrap().to_owned()
        })
        .collect()
}

/// The layer of dependencies is built of what the first stage makes of the repository. Cargo must accept its manifests.
#[test]
fn the_dockerfile_makes_an_empty_crate_of_each() {
    let (dir, root) =
        (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let crates_here = crates(&root);
    for folder in crates_here.iter().cloned().chain([PathBuf::new()]) {
        std::fs::create_dir_all(dir.path().join(&folder)).unwrap();
        let manifest = folder.join("Cargo.toml");
        std::fs::copy(root.join(&manifest), dir.path().join(&manifest)).unwrap();
    }
    std::fs::write(dir.path().join("cart/build.rs"), "of no interest").unwrap();
    let settings = Path::new(".cargo/config.toml"); // with how SQLite is built
    std::fs::create_dir(dir.path().join(".cargo")).unwrap();
    std::fs::copy(root.join(settings), dir.path().join(settings)).unwrap();
    let dockerfile = text("Dockerfile");
    let (_, stage) = dockerfile.split_once("AS manifests\n").unwrap();
    let (_, script) = stage.split_once("\nRUN ").unwrap();
    let script = script.split("\n\n").next().unwrap();
    let status = Command::new("bash").args(["-euc", script]).current_dir(&dir).status().unwrap();
    assert!(status.success());
    assert_eq!(crates(dir.path()), crates_here);
    assert!(!dir.path().join("cart/build.rs").exists());
    assert!(dir.path().join(settings).exists());
}

#[test]
fn images_are_built_with_their_profile() {
    let (manifest, dockerfile) = (text("Cargo.toml"), text("Dockerfile"));
    assert!(manifest.contains("[profile.dist]\ninherits = \"release\"\nlto = "));
    assert_eq!(dockerfile.matches("cargo build --profile dist --locked").count(), 2);
    assert!(!dockerfile.contains("target/release"));
}

/// Returns the value that base/service.yaml puts at a path.
fn patch(path: &str) -> Value {
    let steps = yaml("kubernetes/base/service.yaml");
    let step = items(&steps).iter().find(|step| step["path"].as_str().unwrap().ends_with(path));
    step.unwrap_or_else(|| panic!("no {path}"))["value"].clone()
}

#[tokio::test]
async fn probes_ask_at_paths_that_answer_and_ports_that_are_open() {
    let listen = Listen::free();
    let gateway = gateway::start(gateway::GatewayConfig {
        listen,
        tls: TlsFiles::default(),
        cors: gateway::Cors { cors_origins: vec![] },
        proxies: gateway::Proxies::default(),
        upstreams: Upstreams::new(|_| "http://127.0.0.1:1".to_owned()),
        streams: StreamsLimit::default(),
        auth: Auth::open(),
        sign_in: gateway::SignInConfig::default(),
    })
    .unwrap();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &patch(probe)["httpGet"];
        assert_eq!(get["port"], "http");
        let url = format!("{}{}", gateway.url(), get["path"].as_str().unwrap());
        let answer = reqwest::Client::default().get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{probe}");
    }
    let port = &patch("/ports")[0];
    assert_eq!((&port["name"], &port["containerPort"]), (&"http".into(), &8080.into()));
    let dockerfile = text("Dockerfile");
    let addresses =
        "LISTEN_ADDR=0.0.0.0:8080 GATEWAY_ADDR=0.0.0.0:8080 MANAGEMENT_ADDR=0.0.0.0:9080";
    assert!(dockerfile.contains(addresses));
    assert!(dockerfile.contains("EXPOSE 8080 9080"));
}

#[test]
fn a_pod_has_time_to_drain() {
    let default = |name: &str| {
        let command = process("cart");
        let setting = command.get_arguments().find(|one| one.get_id() == name).unwrap();
        setting.get_default_values()[0].to_str().unwrap().to_owned()
    };
    let grace: u64 = default("shutdown_grace").trim_end_matches('s').parse().unwrap();
    let sleep = patch("/lifecycle")["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(patch("/terminationGracePeriodSeconds").as_u64().unwrap() > sleep + grace);
    let compose = yaml("docker-compose.yml");
    let stop = compose["x-service"]["stop_grace_period"].as_str().unwrap();
    assert!(stop.trim_end_matches('s').parse::<u64>().unwrap() > grace);
}
