//! Whom the gateway believes: the networks of the proxies in front of it (`TRUSTED_PROXIES`), and clients about their traces
//! (`TRUST_TRACEPARENT`).

use std::net::IpAddr;
use std::str::FromStr;

/// The proxies in front of the gateway, and what is believed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Proxies {
    /// Networks of proxies whose X-Forwarded-* or Forwarded is believed, as 10.0.0.0/8,192.168.1.7; unset believes nobody
    #[arg(long, env, value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,

    /// Whether the traces of clients go on in the shop, as true or false; by default a trace begins here, linked to theirs
    #[arg(long, env, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub trust_traceparent: bool,
}

/// A network in CIDR notation, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || "it looks like 10.0.0.0/8,fd00::/8,192.168.1.7".to_owned();
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let address_bits = if address.is_ipv4() { 32 } else { 128 };
        let is_decimal = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_bits = match prefix {
            Some(prefix) => Some(prefix).filter(is_decimal).and_then(|prefix| prefix.parse().ok()),
            None => Some(address_bits),
        };
        let prefix_bits: u32 =
            prefix_bits.filter(|bits| *bits <= address_bits).ok_or_else(invalid)?;
        // `contains` compares canonical addresses, so an IPv4-mapped IPv6 network becomes one of IPv4.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) => {
                let prefix_bits = prefix_bits.checked_sub(96).ok_or_else(invalid)?;
                Ok(Self { address: mapped, prefix_bits })
            }
            _ => Ok(Self { address, prefix_bits }),
        }
    }
}

impl Network {
    /// Returns true if `address` is in this network. An IPv4-mapped IPv6 address counts as IPv4.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let difference = network.to_bits() ^ address.to_bits();
                difference.checked_shr(32 - self.prefix_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let difference = network.to_bits() ^ address.to_bits();
                difference.checked_shr(128 - self.prefix_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_number_of_bits() {
        let contains = |network: &str, address: &str| {
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
            assert!(contains(network, inside) && !contains(network, outside), "{network}");
        }
        assert!(contains("0.0.0.0/0", "255.1.2.3") && contains("::/0", "ffff::1"));
        assert!(!contains("0.0.0.0/0", "::1"));
        for invalid in [
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
            assert!(invalid.parse::<Network>().is_err(), "{invalid} was accepted");
        }
    }
}
