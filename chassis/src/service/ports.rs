//! The ports of a process.

use crate::base::config::{InvalidSetting, Listen};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted: beyond this the kernel drops them, and the client tries
/// again after a second. Many customers come at once here.
const BACKLOG: u32 = 4_096;
/// Opens the ports of a process: the public one and, where it has its own, that of management.
pub(super) fn listen(addresses: &Listen) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let public = listen_at(addresses.listen_addr, "LISTEN_ADDR")?;
    let management = addresses.management_addr.map(|addr| listen_at(addr, "MANAGEMENT_ADDR"));
    Ok((public, management.transpose()?))
}

/// Opens a port. `setting` is the name of the setting that it comes from.
pub(super) fn listen_at(addr: SocketAddr, setting: &'static str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| {
        let why =
            format!("{addr}: {error}; it looks like 127.0.0.1:8080, with port 0 for a free one");
        InvalidSetting { setting, why }.into()
    })
}
