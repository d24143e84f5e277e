//! Headers in which a client ranks what it accepts, such as `Accept-Language` (RFC 9110, 12.4.2).

use axum::http::{HeaderMap, HeaderName, header};

/// Returns true if a client names HTML in `Accept` and ranks JSON no higher, as browsers do. `*/*` alone is no browser.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for (kind, quality) in ranges(headers, &header::ACCEPT) {
        let kind = kind.to_ascii_lowercase();
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => html = html.max(quality),
            _ if kind == "application/json" || kind.ends_with("+json") => json = json.max(quality),
            _ => {}
        }
    }
    html > 0 && html >= json
}

/// Returns the ranges in all lines of the header `name`, each with its quality in thousandths. Malformed ones are left out.
pub(crate) fn ranges<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'h str, u16)> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(range)
}

/// Parses one range, such as `ko-KR;q=0.8`.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let mut weights = parts.filter_map(|part| part.split_once('='));
    let weight = weights.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    Some((range, weight.map_or(Some(1_000), |(_, weight)| quality(weight.trim()))?))
}

/// Parses a quality, from 0 to 1 with at most three decimals. Returns it in thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || rest.len() > 3 || !digits(rest) {
        return None;
    }
    format!("{whole}{rest:0<3}").parse().ok().filter(|thousandths| *thousandths <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_names_html() {
        let prefers = |accept: &str| {
            prefers_html(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]))
        };
        for browser in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "TEXT/HTML",
            "text/html, application/json;q=0.9",
        ] {
            assert!(prefers(browser), "{browser}");
        }
        for other in [
            "*/*",
            "text/*",
            "",
            "application/json",
            "application/hal+json, text/html;q=0.5",
            "text/html;q=0, */*",
        ] {
            assert!(!prefers(other), "{other}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
