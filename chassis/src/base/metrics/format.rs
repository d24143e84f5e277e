//! The two text formats of metrics: that of Prometheus, and OpenMetrics for clients that ask for it.

use crate::base::accept::ranges;
use axum::http::{HeaderMap, header};
use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text`, the format of the library.
    OpenMetrics,
}

impl Format {
    /// Returns OpenMetrics if the client names it and prefers it to plain text or likes both equally.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let best = |kind: &str| {
            let ranges = ranges(headers, &header::ACCEPT);
            let named = ranges.filter(|(named, _)| named.eq_ignore_ascii_case(kind));
            named.map(|(_, quality)| quality).max().unwrap_or_default()
        };
        match best("application/openmetrics-text") {
            wanted if wanted > 0 && wanted >= best("text/plain") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns `text`, metrics in OpenMetrics, in this format.
    pub(super) fn written(self, text: String) -> String {
        match self {
            Self::Prometheus => as_prometheus(&text),
            Self::OpenMetrics => text,
        }
    }
}

/// Returns OpenMetrics in the format of Prometheus: counters are described under their whole name, with `_total`, there are no
/// exemplars, and no line marks the end.
fn as_prometheus(text: &str) -> String {
    let counters: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut written = String::with_capacity(text.len() + 1_024);
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|start| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            counters.contains(name).then(|| format!("{start}{name}_total {rest}"))
        });
        let sample = || match line.rfind(" # {") {
            Some(exemplar) if !line.starts_with('#') => &line[..exemplar],
            _ => line,
        };
        written.push_str(described.as_deref().unwrap_or_else(sample));
        written.push('\n');
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_clients_that_ask_for_it() {
        let format = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            Format::of(&headers)
        };
        for plain in [
            &[][..],
            &["*/*"],
            &["text/plain"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.2, text/plain;q=0.5"],
            &["application/json"],
        ] {
            assert_eq!(format(plain), Format::Prometheus, "{plain:?}");
        }
        for open in [
            &["application/openmetrics-text"][..],
            // The header of Prometheus 2.
            &[
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ],
            &["text/plain;q=0.5", "Application/OpenMetrics-Text; version=1.0.0"],
        ] {
            assert_eq!(format(open), Format::OpenMetrics, "{open:?}");
        }
    }

    #[test]
    fn a_counter_is_described_by_its_whole_name_for_prometheus() {
        let open = "# HELP a Things.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP a_b Now.\n# TYPE a_b gauge\n\
                    # UNIT a_b seconds\na_b 1\n# HELP s Time. # {x}\n# TYPE s histogram\n\
                    s_bucket{le=\"0.1\"} 3 # {trace_id=\"0af7\"} 0.05\n# EOF\n";
        let plain = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP a_b Now.\n\
                     # TYPE a_b gauge\na_b 1\n# HELP s Time. # {x}\n# TYPE s histogram\ns_bucket{le=\"0.1\"} 3\n";
        assert_eq!(as_prometheus(open), plain);
    }
}
