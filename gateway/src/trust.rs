//! Where the client called, and from where: what the gateway tells the services in `X-Forwarded-*`.
//!
//! Only proxies in `TRUSTED_PROXIES` are believed about that. Everybody else is taken as the client.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use chassis::base::patience;
use chassis::base::uri::{is_host, is_prefix};
use chassis::http::PeerAddr;
use hyper::Request;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// What the gateway tells the services, and so takes from no client.
pub(crate) const OURS: [HeaderName; 8] = [
    HOST,
    PROTO,
    FOR,
    PORT,
    PREFIX,
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    patience::BUDGET,
];

/// The proxies in front of the gateway.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Proxies {
    /// Networks of proxies whose X-Forwarded-* or Forwarded is believed, as 10.0.0.0/8,192.168.1.7; unset believes nobody
    #[arg(long, env, value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
}

/// A network in CIDR form, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it looks like 10.0.0.0/8,fd00::/8,192.168.1.7".to_owned();
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            Some(bits) => Some(bits).filter(digits).and_then(|bits| bits.parse().ok()),
            None => Some(most),
        };
        let bits: u32 = bits.filter(|bits| *bits <= most).ok_or_else(wrong)?;
        // What is compared with it is written as IPv4, too.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) => {
                Ok(Self { address: mapped, bits: bits.checked_sub(96).ok_or_else(wrong)? })
            }
            _ => Ok(Self { address, bits }),
        }
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Where a client called, and from where.
#[derive(Debug, PartialEq, Eq)]
struct Called {
    client: IpAddr,
    proto: Option<String>,
    host: Option<String>,
    port: Option<String>,
    prefix: Option<String>,
}

/// Replaces what the request says of its client by what is known: what trusted proxies say, else what
/// the connection and `Host` say.
pub(crate) fn tell(trusted: &[Network], mut request: Request<Body>) -> Request<Body> {
    let peer = request.extensions().get::<PeerAddr>().map(|client| client.0.ip().to_canonical());
    let headers = request.headers_mut();
    let called = peer.map(|peer| called(trusted, peer, headers));
    let host = headers.get(header::HOST).filter(|host| host.to_str().is_ok_and(is_host)).cloned();
    for name in OURS {
        headers.remove(name);
    }
    let mut tell = |name, value: Option<String>| {
        headers.extend(value.and_then(|value| Some((name, HeaderValue::from_str(&value).ok()?))));
    };
    let told = called.as_ref();
    tell(FOR, told.map(|called| called.client.to_string()));
    tell(PROTO, Some(told.and_then(|called| called.proto.clone()).unwrap_or("http".into())));
    tell(PORT, told.and_then(|called| called.port.clone()));
    tell(PREFIX, told.and_then(|called| called.prefix.clone()));
    tell(HOST, told.and_then(|called| called.host.clone()));
    if !headers.contains_key(HOST) {
        // HTTP/1.0 may name none, and the services must not show where the gateway found them.
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
    request
}

/// What can be believed of a request that `peer` sent. Each proxy adds, at the right, whom it heard. So
/// the client is the first from the right that is no trusted proxy; what else is said of it was added
/// in the same place. Where nothing is said of the client's address, the first value counts, as Spring and Express have
/// it: what the proxy next to the client wrote.
fn called(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> Called {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut called = Called { client: peer, proto: None, host: None, port: None, prefix: None };
    if !is_trusted(peer) {
        return called;
    }
    let own = [HOST, PROTO, FOR, PORT, PREFIX].iter().any(|name| headers.contains_key(name));
    let said = |name: &HeaderName, parameter: &str| {
        if own { listed(headers, name) } else { parameters(headers, parameter) }
    };
    let mut hops = 0;
    for heard in said(&FOR, "for").iter().rev() {
        let Some(heard) = heard.as_deref().and_then(address).filter(|_| is_trusted(called.client))
        else {
            break;
        };
        (called.client, hops) = (heard, hops + 1);
    }
    let there = |name: &HeaderName, parameter: &str, valid: fn(&str) -> bool| {
        let mut values = said(name, parameter);
        let at = if hops == 0 { 0 } else { values.len().saturating_sub(hops) };
        let value = values.get_mut(at).and_then(Option::take);
        value.filter(|value| valid(value))
    };
    called.proto = there(&PROTO, "proto", |proto| {
        ["http", "https"].iter().any(|known| proto.eq_ignore_ascii_case(known))
    })
    .map(|proto| proto.to_ascii_lowercase());
    called.host = there(&HOST, "host", is_host);
    called.port = there(&PORT, "", |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    called.prefix = there(&PREFIX, "", is_prefix);
    called
}

/// The values of a header that is a list, over all its lines.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<Option<String>> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|value| Some(value.trim().to_owned())).collect()
}

/// The values of a parameter of `Forwarded` (RFC 7239), one for each proxy.
fn parameters(headers: &HeaderMap, name: &str) -> Vec<Option<String>> {
    let elements = listed(headers, &header::FORWARDED).into_iter().flatten();
    let value = |element: String| {
        let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    elements.map(value).collect()
}

/// Reads an address with or without a port: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trusted: &[&str], peer: &str, lines: &[(&'static str, &str)]) -> Called {
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        called(&trusted, peer.parse().unwrap(), &headers)
    }

    #[test]
    fn a_network_is_an_address_and_a_number_of_bits() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.9.9.9", "9.9.9.9"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("192.168.1.6/31", "::ffff:192.168.1.7", "192.168.1.8"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("::ffff:127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
        ] {
            assert!(holds(network, inside) && !holds(network, outside), "{network}");
        }
        assert!(holds("0.0.0.0/0", "255.1.2.3") && holds("::/0", "ffff::1"));
        assert!(!holds("0.0.0.0/0", "::1"));
        for wrong in [
            "",
            "x",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/+8",
            "/8",
            "::ffff:10.0.0.0/95",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_trusted_proxy() {
        let networks = ["10.0.0.0/8", "fd00::/8"];
        let client = |peer: &str, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            told(&networks, peer, &lines).client.to_string()
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
    fn what_the_outermost_trusted_proxy_says_is_believed_where_it_is_valid() {
        let networks = ["10.0.0.0/8"];
        let all = |lines: &[(&'static str, &str)], peer: &str| {
            let called = told(&networks, peer, lines);
            [called.proto, called.host, called.port, called.prefix].map(Option::unwrap_or_default)
        };
        let lines = [
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/shop"),
            ("forwarded", "host=other;proto=http"),
        ];
        assert_eq!(all(&lines, "10.1.1.1"), ["https", "shop.example", "8443", "/shop"]);
        assert_eq!(all(&lines, "11.1.1.1"), [""; 4]);
        let invalid = [
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", ":::"),
            ("x-forwarded-port", "0"),
            ("x-forwarded-prefix", "//evil"),
        ];
        assert_eq!(all(&invalid, "10.1.1.1"), [""; 4]);
        // A client that claims a host of its own, through two proxies that add theirs.
        let appended = [
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2"),
            ("x-forwarded-host", "evil, shop.example, inner"),
            ("x-forwarded-proto", "http, https, http"),
        ];
        assert_eq!(all(&appended, "10.1.1.1"), ["https", "shop.example", "", ""]);
        // Of two proxies that tell no address the first is next to the client.
        let bare = [
            ("x-forwarded-host", "shop.example, inner"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(all(&bare, "10.1.1.1"), ["https", "shop.example", "", ""]);
        let bare = [("forwarded", "host=shop.example;proto=https, host=inner;proto=http")];
        assert_eq!(all(&bare, "10.1.1.1"), ["https", "shop.example", "", ""]);
        let standard = [
            ("forwarded", "for=6.6.6.6;host=evil"),
            ("forwarded", "For=\"[2001:db8::1]:4711\"; Host=\"shop.example:1\"; Proto=https"),
            ("forwarded", "for=10.0.0.2;proto=http;host=inner"),
        ];
        assert_eq!(all(&standard, "10.1.1.1"), ["https", "shop.example:1", "", ""]);
        assert_eq!(told(&networks, "10.1.1.1", &standard).client.to_string(), "2001:db8::1");
    }
}
