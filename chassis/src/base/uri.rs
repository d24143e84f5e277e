//! Hosts, ports, paths and percent-encoding.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

/// True for `HOST` and `HOST:PORT`, where the host is a name of letters, digits, dashes, underscores and dots, an IPv4
/// address, or an IPv6 address in brackets. Other characters would let a header forge our links.
pub fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("v6", port),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.is_empty() || is_port(digits),
        None => port.is_empty(),
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut labels = name.strip_suffix('.').unwrap_or(name).split('.');
    port && name.len() <= 253 && labels.all(|label| !label.is_empty() && label.bytes().all(letter))
}

/// True for a port from 1 to 65535.
pub(crate) fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.parse::<u16>().is_ok_and(|port| port > 0)
}

/// True for a host, without its port, that is this machine by itself, and not by what a name server says.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// True for a path that may precede the paths of our links.
pub fn is_prefix(text: &str) -> bool {
    let legal = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'%')
    };
    text.starts_with('/') && !text.contains("//") && text.bytes().all(legal)
}

/// True if `host` has a port.
pub(crate) fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !host.ends_with(']'))
}

/// Returns `text` as a value in a query: each byte as a `%` escape but letters, digits and `-._~`.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns `text` with `+` as a blank and `%` escapes as their bytes. A `%` that begins no escape stays, as in browsers.
/// Returns `None` if the bytes are not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match (first, escaped_byte(rest)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                bytes = &rest[2..];
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).ok()
}

/// Returns `text` with each `%` escape as its byte, and `+` as it is. Returns `None` if a `%` begins no escape, or the bytes are
/// not UTF-8.
pub(crate) fn unescaped(text: &str) -> Option<String> {
    let mut after_signs = text.match_indices('%').map(|(at, _)| &text.as_bytes()[at + 1..]);
    let is_well_formed = after_signs.all(|digits| escaped_byte(digits).is_some());
    is_well_formed.then(|| decoded(&text.replace('+', "%2B")))?
}

/// Returns the byte that two hexadecimal digits at the beginning of `digits` stand for.
fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_perhaps_a_port() {
        let hosts = "a a.b-c_d a.b. 127.0.0.1 127.0.0.1:80 [::1] [::1]:8088 a: a:65535";
        for host in hosts.split(' ') {
            assert!(is_host(host), "{host} was refused");
        }
        let others = ["", ".", ":80", ":::", "::1", "a:b", "a:+1", "a:0", "a:65536", "a..b", ".a"];
        for host in others.into_iter().chain(["[::1", "[x]", "[::1]x", "[]", "a/b", "a@b", "가"]) {
            assert!(!is_host(host), "{host} was taken");
        }
        assert!(!is_host(&"a".repeat(254)));
    }

    #[test]
    fn a_name_that_a_name_server_decides_is_not_this_machine() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host} was refused");
        }
        for host in ["localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", ""]
        {
            assert!(!is_loopback(host), "{host} was taken");
        }
    }
}
