//! A shop that cannot start prints one line with the reason, ends with status 2, and stops the services that have started.

use gateway::services::processes;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Attempts for each address.
const ATTEMPTS: usize = 4;

/// Runs `standalone` until it ends, on free ports except for `settings`.
fn run(data: &Path, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command.env_clear().env("DATA_DIR", data).env("RUST_LOG", "off");
    for service in processes() {
        command.env(format!("{}_ADDR", service.to_uppercase()), "127.0.0.1:0");
    }
    command.envs(settings.iter().copied()).output().unwrap()
}

/// Returns the one line on standard error.
fn refusal(output: &Output) -> &str {
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn a_start_that_fails_half_way_says_one_line_and_no_thread_panics() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for service in processes() {
        let setting = format!("{}_ADDR", service.to_uppercase());
        for _ in 0..ATTEMPTS {
            let dir = tempfile::tempdir().unwrap();
            let output = run(dir.path(), &[(&setting, &taken)]);
            let stderr = refusal(&output);
            assert!(stderr.contains(&setting) && stderr.contains("in use"), "{stderr}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_at_once() {
    for name in ["gifticon.db", "cart.db", "events.db"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), [b'x'; 8_192]).unwrap();
        let began = Instant::now();
        let output = run(dir.path(), &[]);
        let stderr = refusal(&output);
        assert!(stderr.contains("DATA_DIR") && stderr.contains(name), "{stderr}");
        assert_eq!(stderr.matches("not a database").count(), 1, "{stderr}");
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_event_log_of_an_earlier_version_is_refused_with_what_to_do() {
    use sqlx::{ConnectOptions, Connection, Executor};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    let table = "create table positions (consumer_group text not null, partition bigint not null, next bigint not null)";
    old.execute(table).await.unwrap();
    old.close().await.unwrap();
    let output = run(dir.path(), &[]);
    let stderr = refusal(&output);
    for part in ["DATA_DIR", "events.db", "before 0.2.0", "empty directory"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[tokio::test]
async fn a_file_that_another_process_has_locked_is_named_at_once() {
    use sqlx::{ConnectOptions, Executor};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cart.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut other = options.connect().await.unwrap();
    other.execute("begin exclusive").await.unwrap();
    let began = Instant::now();
    let output = run(dir.path(), &[]);
    let stderr = refusal(&output);
    assert!(stderr.contains("cart.db") && stderr.contains("locked"), "{stderr}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn a_directory_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join(std::ffi::OsStr::from_bytes(b"a\xff"));
    let output = run(&data, &[]);
    let stderr = refusal(&output);
    assert!(stderr.contains("DATA_DIR") && stderr.contains("UTF-8"), "{stderr}");
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    std::fs::write(&file, "x").unwrap();
    let output = run(&file, &[]);
    let stderr = refusal(&output);
    assert!(
        stderr.contains("DATA_DIR") && stderr.contains("is a file; name a directory"),
        "{stderr}"
    );
}
