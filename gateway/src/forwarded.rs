//! The `X-Forwarded-*` headers that the gateway sends to the services: which address and URL the client used.
//!
//! The gateway believes these headers only from proxies in `TRUSTED_PROXIES`. Any other peer is the client.

use crate::trusted::Network;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use chassis::base::patience;
use chassis::base::uri::{is_host, is_prefix};
use chassis::http::{OverTls, PeerAddr, SERVICE_TOKEN};
use hyper::Request;
use std::net::{IpAddr, SocketAddr};

const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The headers that only the gateway may send to the services. It removes them from every request of a client.
pub(crate) const GATEWAY_HEADERS: [HeaderName; 9] = [
    HOST,
    PROTO,
    FOR,
    PORT,
    PREFIX,
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    patience::HEADER,
    SERVICE_TOKEN,
];

/// The address of a client, and the URL that it used.
#[derive(Debug, PartialEq, Eq)]
struct ClientOrigin {
    client: IpAddr,
    proto: Option<String>,
    host: Option<String>,
    port: Option<String>,
    prefix: Option<String>,
}

/// Replaces the `X-Forwarded-*` headers of a request by those that the gateway believes: the values of trusted proxies, or
/// else the peer's address, the scheme of the connection and the `Host` of the request.
pub(crate) fn replace_headers(trusted: &[Network], mut request: Request<Body>) -> Request<Body> {
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
    let scheme = if request.extensions().get::<OverTls>().is_some() { "https" } else { "http" };
    let headers = request.headers_mut();
    let origin = peer.map(|peer| client_origin(trusted, peer, headers));
    let host = headers.get(header::HOST).filter(|host| host.to_str().is_ok_and(is_host)).cloned();
    for name in GATEWAY_HEADERS {
        headers.remove(name);
    }
    let mut insert = |name, value: Option<String>| {
        headers.extend(value.and_then(|value| Some((name, HeaderValue::from_str(&value).ok()?))));
    };
    let origin = origin.as_ref();
    insert(FOR, origin.map(|origin| origin.client.to_string()));
    insert(PROTO, Some(origin.and_then(|origin| origin.proto.clone()).unwrap_or(scheme.into())));
    insert(PORT, origin.and_then(|origin| origin.port.clone()));
    insert(PREFIX, origin.and_then(|origin| origin.prefix.clone()));
    insert(HOST, origin.and_then(|origin| origin.host.clone()));
    if !headers.contains_key(HOST) {
        // HTTP/1.0 has no `Host`. Without this header, links would show the address of the service.
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
    request
}

/// Returns the origin of a request that `peer` sent.
///
/// Each proxy appends the address of its own peer on the right. So the client is the rightmost address that is no trusted
/// proxy, and the other values are at the same position of their lists. Without any address, the first value of each list
/// counts, as in Spring and Express: the proxy next to the client wrote it.
fn client_origin(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> ClientOrigin {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut origin =
        ClientOrigin { client: peer, proto: None, host: None, port: None, prefix: None };
    if !is_trusted(peer) {
        return origin;
    }
    let has_x_forwarded =
        [HOST, PROTO, FOR, PORT, PREFIX].iter().any(|name| headers.contains_key(name));
    let list = |name: &HeaderName, parameter: &str| {
        if has_x_forwarded {
            header_list(headers, name)
        } else {
            forwarded_parameters(headers, parameter)
        }
    };
    let mut hops = 0;
    for value in list(&FOR, "for").iter().rev() {
        let address = value.as_deref().and_then(parse_address);
        let Some(address) = address.filter(|_| is_trusted(origin.client)) else { break };
        (origin.client, hops) = (address, hops + 1);
    }
    let valid_value = |name: &HeaderName, parameter: &str, is_valid: fn(&str) -> bool| {
        let mut values = list(name, parameter);
        let index = if hops == 0 { 0 } else { values.len().saturating_sub(hops) };
        let value = values.get_mut(index).and_then(Option::take);
        value.filter(|value| is_valid(value))
    };
    origin.proto = valid_value(&PROTO, "proto", |proto| {
        ["http", "https"].iter().any(|known| proto.eq_ignore_ascii_case(known))
    })
    .map(|proto| proto.to_ascii_lowercase());
    origin.host = valid_value(&HOST, "host", is_host);
    origin.port = valid_value(&PORT, "", |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    origin.prefix = valid_value(&PREFIX, "", is_prefix);
    origin
}

/// Returns the values of a list header, over all its lines.
fn header_list(headers: &HeaderMap, name: &HeaderName) -> Vec<Option<String>> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|value| Some(value.trim().to_owned())).collect()
}

/// Returns the values of a parameter of `Forwarded` (RFC 7239), one for each proxy.
fn forwarded_parameters(headers: &HeaderMap, name: &str) -> Vec<Option<String>> {
    let elements = header_list(headers, &header::FORWARDED).into_iter().flatten();
    let parameter = |element: String| {
        let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    elements.map(parameter).collect()
}

/// Reads an address with or without a port: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin_of(trusted: &[&str], peer: &str, lines: &[(&'static str, &str)]) -> ClientOrigin {
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        client_origin(&trusted, peer.parse().unwrap(), &headers)
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_trusted_proxy() {
        let networks = ["10.0.0.0/8", "fd00::/8"];
        let client = |peer: &str, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            origin_of(&networks, peer, &lines).client.to_string()
        };
        assert_eq!(client("7.7.7.7", &["1.1.1.1"]), "7.7.7.7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, [2001:db8::1]:80, fd00::2"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(client("::ffff:10.0.0.1", &["1.1.1.1:5"]), "1.1.1.1");
    }

    #[test]
    fn valid_values_of_the_outermost_trusted_proxy_are_believed() {
        let networks = ["10.0.0.0/8"];
        let values = |lines: &[(&'static str, &str)], peer: &str| {
            let origin = origin_of(&networks, peer, lines);
            [origin.proto, origin.host, origin.port, origin.prefix].map(Option::unwrap_or_default)
        };
        let lines = [
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/shop"),
            ("forwarded", "host=other;proto=http"),
        ];
        assert_eq!(values(&lines, "10.1.1.1"), ["https", "shop.example", "8443", "/shop"]);
        assert_eq!(values(&lines, "11.1.1.1"), [""; 4]);
        let invalid = [
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", ":::"),
            ("x-forwarded-port", "0"),
            ("x-forwarded-prefix", "//evil"),
        ];
        assert_eq!(values(&invalid, "10.1.1.1"), [""; 4]);
        // A client claims a host of its own. Two proxies append theirs.
        let appended = [
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2"),
            ("x-forwarded-host", "evil, shop.example, inner"),
            ("x-forwarded-proto", "http, https, http"),
        ];
        assert_eq!(values(&appended, "10.1.1.1"), ["https", "shop.example", "", ""]);
        // Two proxies that add no address: the first is next to the client.
        let bare = [
            ("x-forwarded-host", "shop.example, inner"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(values(&bare, "10.1.1.1"), ["https", "shop.example", "", ""]);
        let bare = [("forwarded", "host=shop.example;proto=https, host=inner;proto=http")];
        assert_eq!(values(&bare, "10.1.1.1"), ["https", "shop.example", "", ""]);
        let standard = [
            ("forwarded", "for=6.6.6.6;host=evil"),
            ("forwarded", "For=\"[2001:db8::1]:4711\"; Host=\"shop.example:1\"; Proto=https"),
            ("forwarded", "for=10.0.0.2;proto=http;host=inner"),
        ];
        assert_eq!(values(&standard, "10.1.1.1"), ["https", "shop.example:1", "", ""]);
        assert_eq!(origin_of(&networks, "10.1.1.1", &standard).client.to_string(), "2001:db8::1");
    }
}
