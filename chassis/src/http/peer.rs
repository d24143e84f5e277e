//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The address of the client, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// Marks a request that came over TLS, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;
