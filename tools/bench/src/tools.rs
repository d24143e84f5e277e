//! Other clients, where they are installed: wrk and siege.

use crate::measure::CONNECTIONS;
use crate::report::Row;
use crate::shop::Shop;
use anyhow::{Context, bail, ensure};
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Body of `POST /carts`.
const CART_BODY: &str = r#"{"gifticonId":1,"quantity":1}"#;
/// Bound for a run of wrk or siege.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs a program, and returns its output; `None` if it is not installed.
fn run(command: &mut Command) -> anyhow::Result<Option<String>> {
    let mut file = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?);
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        child => child.with_context(|| format!("{command:?}"))?,
    };
    let began = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() < PROGRAM_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            None => {
                child.kill()?;
                child.wait()?;
                bail!("{command:?} did not end in {PROGRAM_TIMEOUT:?}");
            }
        }
    };
    let mut output = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut output)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(status.success(), "{command:?}: {output}");
    Ok(Some(output))
}

/// Returns the word after the word `label` in a text.
fn word_after<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == label)?;
    words.next()
}

/// Parses a duration of wrk, such as `1.5ms`, `900us` or `2s`, into milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[number.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1_000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Measures `POST /carts` by wrk with 100 connections; `None` if wrk is not installed.
pub(crate) fn wrk(shop: &Shop, time: Duration) -> anyhow::Result<Option<Row>> {
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("post.lua");
    let headers = r#"wrk.headers["content-type"] = "application/json""#;
    std::fs::write(
        &script,
        format!("wrk.method = \"POST\"\nwrk.body = '{CART_BODY}'\n{headers}\n"),
    )?;
    let (url, before) = (format!("http://{}/carts", shop.addr("gateway")), shop.cpu());
    let seconds = format!("-d{}", time.as_secs().max(1));
    let mut wrk = Command::new("wrk");
    let connections = format!("-c{CONNECTIONS}");
    wrk.args(["-t1", &connections, &seconds, "--latency", "-s"]).arg(&script).arg(url);
    let began = Instant::now();
    let Some(output) = run(&mut wrk)? else { return Ok(None) };
    let took = began.elapsed();
    ensure!(!output.contains("Non-2xx"), "wrk was refused: {output}");
    let number = |label| word_after(&output, label).context("the output of wrk has another format");
    let requests: f64 = output
        .split_once(" requests in")
        .and_then(|(before, _)| before.split_whitespace().last()?.parse().ok())
        .context("the output of wrk has another format")?;
    let cpu = shop.cpu().zip(before).map(|(now, before)| now - before);
    Ok(Some(Row {
        name: "POST /carts, by wrk".into(),
        rate: number("Requests/sec:")?.parse()?,
        p50_ms: milliseconds(number("50%")?).unwrap_or_default(),
        p99_ms: milliseconds(number("99%")?).unwrap_or_default(),
        cpu_us: cpu.map(|cpu| cpu * 1_000_000.0 / requests),
        cores: cpu.map(|cpu| cpu / took.as_secs_f64()),
        ..Row::default()
    }))
}

/// Runs siege with 100 customers on `url`, for about `time` at the expected `rate` (requests a second), and returns
/// requests a second and availability in percent; `None` if siege is not installed.
///
/// The run ends after a number of requests. siege ends one by time (`-t`) by cancelling its threads wherever they are,
/// and sometimes hangs then, because one of them held a lock (<https://github.com/JoeDog/siege/pull/180>).
pub(crate) fn siege(url: &str, rate: f64, time: Duration) -> anyhow::Result<Option<(f64, f64)>> {
    let home = tempfile::tempdir()?; // for its settings
    let customers = format!("-c{CONNECTIONS}");
    let each = rate * time.as_secs_f64() / f64::from(CONNECTIONS);
    let repetitions = format!("-r{:.0}", each.max(1.0));
    let mut siege = Command::new("siege");
    siege.args([&customers, &repetitions, "--content-type", "application/json"]);
    siege.arg(format!("{url} POST {CART_BODY}")).env("HOME", home.path());
    let Some(output) = run(&mut siege)? else { return Ok(None) };
    let number = |label| -> anyhow::Result<f64> {
        let number =
            word_after(&output, label).context("the output of siege has another format")?;
        Ok(number.trim_end_matches(',').parse()?)
    };
    Ok(Some((number("\"transaction_rate\":")?, number("\"availability\":")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_parsed() {
        let output = "    Latency  43.80ms  12.10ms  99.50ms   71.99%\n    50%    1.53ms\n    \
                    99%  900.00us\n  6 requests in 1.00s\nRequests/sec:  12.5\n";
        assert_eq!(word_after(output, "50%").and_then(milliseconds), Some(1.53));
        assert_eq!(word_after(output, "99%").and_then(milliseconds), Some(0.9));
        assert_eq!(word_after(output, "Requests/sec:"), Some("12.5"));
        assert_eq!(milliseconds("2s"), Some(2_000.0));
        assert_eq!(milliseconds("2"), None);
    }
}
