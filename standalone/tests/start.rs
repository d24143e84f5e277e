//! What a shop says at the start: where everything is, or in one line why it cannot start. Then it ends with status 2, and stops the
//! services that have started.

use gateway::services::processes;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Attempts for each address.
const ATTEMPTS: usize = 4;

/// Returns a command that starts `standalone` or a program around it, on free ports and without logs.
fn on_free_ports(program: &str, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("DATA_DIR", data).env("RUST_LOG", "off");
    for service in processes().into_iter().chain(["management"]) {
        command.env(format!("{}_ADDR", service.to_uppercase()), "127.0.0.1:0");
    }
    command
}

/// Runs `standalone` until it ends, on free ports except for `settings`.
fn run(data: &Path, settings: &[(&str, &str)]) -> Output {
    let mut command = on_free_ports(env!("CARGO_BIN_EXE_standalone"), data);
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
            assert!(stderr.contains("choose another port, or 0 for a free one"), "{stderr}");
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

#[test]
fn at_a_terminal_it_says_in_a_few_lines_where_everything_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = on_free_ports("script", dir.path()); // gives it a terminal
    let program = format!("exec '{}'", env!("CARGO_BIN_EXE_standalone"));
    command.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
    let mut shop = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(shop.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    for line in output.by_ref() {
        lines.push(line.unwrap().trim_end().to_owned());
        if lines.last().is_some_and(|line| line.starts_with("  stop")) {
            break;
        }
    }
    assert_eq!(lines.len(), 6, "{lines:?}");
    let is_at = |line: &str, begin: &str, end: &str| {
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    };
    is_at(&lines[0], "The shop is open: http://127.0.0.1:", "/shop");
    is_at(&lines[1], "  API         http://127.0.0.1:", "/");
    is_at(&lines[2], "  services    gifticon http://127.0.0.1:", "");
    is_at(&lines[3], "  management  http://127.0.0.1:", ", such as /cart/metrics");
    is_at(&lines[4], "  data        ", dir.path().to_str().unwrap());
    is_at(&lines[5], "  stop        Ctrl-C", "");
    shop.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert!(output.all(|line| line.is_ok())); // script ends if nobody reads what it writes
    assert_eq!(shop.wait().unwrap().code(), Some(0), "it stops in order");
}

#[test]
fn programs_get_a_line_for_each_address_and_one_line_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = on_free_ports(env!("CARGO_BIN_EXE_standalone"), dir.path());
    command.env("RUST_LOG", "standalone=info").env("LOG_FORMAT", "json");
    let mut shop = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    BufReader::new(shop.stderr.take().unwrap()).read_line(&mut log).unwrap();
    let stdout = BufReader::new(shop.stdout.take().unwrap()).lines();
    let addresses: Vec<String> = stdout.take(processes().len() + 1).map(Result::unwrap).collect();
    assert!(Command::new("kill").arg(shop.id().to_string()).status().unwrap().success());
    assert!(shop.wait().unwrap().success());
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["message"], "the shop is open", "{line}");
    let gateway = addresses[0].strip_prefix("gateway listens on ").unwrap();
    assert_eq!(line["page"], format!("{gateway}/shop"));
    assert_eq!(line["api"], format!("{gateway}/"));
    let management = addresses.last().unwrap().strip_prefix("management listens on ").unwrap();
    assert_eq!(line["management"], management);
    assert_eq!(line["data"], dir.path().to_str().unwrap());
}
