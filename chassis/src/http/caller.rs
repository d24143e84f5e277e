//! Whom the bounds of each client count to.

use crate::auth::Principal;
use crate::http::peer::PeerAddr;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use common_events::Owner;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

/// The address of the client, which only the gateway may send.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who makes a request: an owner, or a guest's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody who is known.
    Owner(Owner),
    /// A guest or nobody: the address, and of IPv6 the network.
    Address(IpAddr),
    /// A test that calls the routes without a connection.
    Unknown,
}

impl Caller {
    /// Returns whom a request counts to.
    pub(crate) fn of(request: &Parts, principal: Option<&Principal>) -> Self {
        if let Some(principal) = principal.filter(|principal| !principal.is_guest()) {
            return Self::Owner(principal.owner().clone());
        }
        let peer = || Some(request.extensions.get::<PeerAddr>()?.0.ip());
        let address = forwarded_for(&request.headers).or_else(peer);
        address.map_or(Self::Unknown, |address| Self::Address(network(address)))
    }
}

/// Takes whom a request counts to, by what the gate found out.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts, parts.extensions.get()))
    }
}

/// Returns the address that the gateway got the request from.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get(FORWARDED_FOR)?.to_str().ok()?.parse().ok()
}

/// Returns the address, and of IPv6 the network of 64 bits that one customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn an_address_is_that_of_the_gateway_s_client() {
        for (forwarded, counts_to) in [
            (Some("203.0.113.7"), "203.0.113.7"),
            (Some("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::"),
            (Some("::ffff:203.0.113.7"), "203.0.113.7"),
            (Some("unknown"), "127.0.0.1"),
            (None, "127.0.0.1"),
        ] {
            let (mut request, ()) = Request::new(()).into_parts();
            assert_eq!(Caller::of(&request, None), Caller::Unknown);
            request.extensions.insert(PeerAddr(([127, 0, 0, 1], 1).into()));
            if let Some(address) = forwarded {
                request.headers.insert(FORWARDED_FOR, address.parse().unwrap());
            }
            let address = Caller::Address(counts_to.parse().unwrap());
            assert_eq!(Caller::of(&request, None), address, "{forwarded:?}");
            let guest = Caller::of(&request, Some(&Principal::open()));
            assert_eq!(guest, address, "guests share an owner and not a rate");
            let owner = Owner::of_subject("issuer", "alice");
            let alice = Principal::new(owner.clone(), []);
            assert_eq!(Caller::of(&request, Some(&alice)), Caller::Owner(owner));
        }
    }
}
