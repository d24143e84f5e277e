//! Which crate may depend on which, and what may be where.

mod common;

use common::files::below;
use gateway::services::names;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// Returns the crates, each with those that it may depend on.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::from([
        ("common-events", vec![]),
        ("chassis", vec!["common-events"]),
        ("web", vec!["chassis"]), // no events, no SQL: it asks the services as everybody does
        ("gateway", vec!["chassis", "web"]),
        ("chaos", vec!["chassis", "gateway"]),
        (
            "bench",
            vec![
                "common-events",
                "chassis",
                "gifticon",
                "cart",
                "payment",
                "mypage",
                "gateway",
                "chaos",
            ],
        ),
    ]);
    let mut all = vec!["common-events", "chassis", "web", "gateway", "chaos"];
    for service in names() {
        allowed.insert(service, vec!["common-events", "chassis"]);
        all.push(service);
    }
    allowed.insert("standalone", all);
    allowed
}

/// Libraries with the one crate that may depend on them.
const WRAPPED: [(&str, &str); 2] = [("failsafe", "chassis"), ("rdkafka", "chassis")];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn crates_depend_one_way() {
    let allowed = allowed();
    let packages = packages();
    assert_eq!(packages.len(), allowed.len(), "the number of crates differs from this test");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let mine = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in this test"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let (of, test) = (dependency["name"].as_str().unwrap(), dependency["kind"] == "dev");
            if allowed.contains_key(of) && of != name {
                assert!(mine.contains(&of), "{name} may not depend on {of}");
            }
            if let Some((_, wrapper)) = WRAPPED.iter().find(|(library, _)| *library == of) {
                assert!(
                    name == *wrapper || test,
                    "{name} may not depend on {of}: only {wrapper} does"
                );
            }
        }
    }
}

/// Returns the files with the rules of a service: `domain.rs` or `projection.rs`, and the parts of it.
fn rules_of(service: &str) -> Vec<PathBuf> {
    let mut files = below(&format!("{service}/src"), "rs");
    files.retain(|file| {
        let path = file.to_string_lossy();
        (path.contains("/domain") || path.contains("/projection")) && !path.ends_with("tests.rs")
    });
    assert!(!files.is_empty(), "{service} has rules");
    files
}

/// The rules are pure: what they may name is the events, what they are written with, and how an error looks.
#[test]
fn the_rules_import_no_infrastructure() {
    for rules in names().into_iter().flat_map(rules_of) {
        let text = std::fs::read_to_string(&rules).unwrap();
        let rules = rules.display();
        let (text, _) = text.split_once("#[cfg(test)]").expect("rules have tests");
        let text = text.replace("chassis::model", "");
        for name in
            ["chassis", "sqlx", "tokio", "axum", "reqwest", "async fn", "Utc::now", "println!"]
        {
            assert!(!text.contains(name), "{rules} names {name}");
        }
    }
}

/// The wall clock jumps, so nothing may be decided by it. These files read it for timestamps that people read, and one for
/// a library that has no other clock. A store may read it for when a row was changed.
#[test]
fn the_wall_clock_is_read_for_timestamps_only() {
    const READERS: [&str; 17] = [
        "cart/src/app.rs",                     // when a cart was added
        "chassis/src/auth/cache.rs", // whether a token has ended, which its issuer says by the wall clock
        "chassis/src/auth/claims.rs", // the same
        "chassis/src/auth/principal.rs", // when a token ends
        "chassis/src/bus/embedded/write.rs", // when a message came
        "chassis/src/bus/kafka/tokens.rs", // when a token ends, which librdkafka wants to know
        "chassis/src/http/connection.rs", // the Date of a refusal
        "chassis/src/http/event_stream.rs", // when the token ends that opened a stream
        "chassis/src/http/stream_life.rs", // the same
        "chassis/src/mailbox/audit.rs", // when somebody changed something
        "chassis/src/mailbox/dead_letters.rs", // when an event was parked, and how long ago
        "chassis/src/mailbox/housekeeping.rs", // when an event was parked
        "chassis/src/mailbox/outbox.rs", // when an event happened
        "chassis/src/test_issuer/mod.rs", // when the tokens of tests end
        "chassis/src/workers/message_span.rs", // when an event was written, for its span
        "gateway/src/sign_in/attempt.rs", // whether a sign-in took too long, which every replica has to know
        "standalone/src/dev_issuer/mod.rs", // when the tokens of the issuer `dev` end
    ];
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut folders: Vec<_> = allowed()
        .into_keys()
        .filter(|name| !["chaos", "bench"].contains(name))
        .map(|name| std::path::Path::new(root).join(name).join("src"))
        .collect();
    let mut readers = Vec::new();
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue; // a key of the tests
            }
            let mut text = std::fs::read_to_string(&path).unwrap();
            for other in ["Instant::now()", "yield_now()"] {
                text = text.replace(other, "");
            }
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let reads = ["now()", "SystemTime", "Utc::now", "Local::now", "UNIX_EPOCH"];
            let of_databases = ["current_timestamp", "clock_timestamp", "unixepoch", "julianday"];
            let mut reads = reads.iter().chain(&of_databases);
            if reads.any(|read| text.contains(read)) && path != "chassis/src/base/clock.rs" {
                readers.push(path);
            }
        }
    }
    readers.retain(|path| names().iter().all(|name| *path != format!("{name}/src/store.rs")));
    readers.sort();
    assert_eq!(readers, READERS);
}

/// In a service, SQL is in `store.rs`, and status codes are in `api.rs` and in the client of gifticon, `stock.rs`.
#[test]
fn only_stores_have_sql_and_only_apis_have_status_codes() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for service in names() {
        for file in std::fs::read_dir(format!("{root}/{service}/src")).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                continue; // parts of `api.rs`, and tests
            }
            let (text, name) = (std::fs::read_to_string(&path).unwrap(), path.file_name().unwrap());
            assert!(
                name == "store.rs" || !text.contains("sqlx::"),
                "{} names sqlx",
                path.display()
            );
            let speaks_http = ["api.rs", "stock.rs"].iter().any(|one| name == *one);
            assert!(
                speaks_http || !text.contains("StatusCode"),
                "{} names status codes",
                path.display()
            );
        }
    }
}
