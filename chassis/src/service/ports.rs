//! The ports of a process.

use crate::base::config::{InvalidSetting, Listen};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted. The kernel drops more than these, and the client retries after a second.
const LISTEN_BACKLOG: u32 = 4_096;

/// Opens the port of a process and, if it has a management address, that port.
pub(super) fn listen(addresses: &Listen) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let public = listen_at(addresses.listen_addr, "LISTEN_ADDR")?;
    let management = addresses.management_addr.map(|addr| listen_at(addr, "MANAGEMENT_ADDR"));
    Ok((public, management.transpose()?))
}

/// Opens a port. `setting` is the name of its setting, for the error.
pub(super) fn listen_at(addr: SocketAddr, setting: &'static str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(LISTEN_BACKLOG)
    };
    listen().map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "choose another port, or 0 for a free one",
            _ => "it looks like 127.0.0.1:8080, with port 0 for a free one",
        };
        let why = format!("{addr}: {error}; {hint}");
        InvalidSetting { setting, why }.into()
    })
}
