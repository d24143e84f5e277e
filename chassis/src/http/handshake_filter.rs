//! Stops new TCP handshakes at a listener before it is closed.
//!
//! Closing a listener resets connections that the kernel has completed but nobody has accepted yet. Their clients would lose
//! requests that they could not know to be too late.

use std::io;
use tokio::net::TcpListener;

/// Drops the first packet of new handshakes, and waits until handshakes in progress are in the queue of `listener`. A client
/// that connects later gets no response; its retransmission after a second is refused, because the listener is closed then.
#[cfg(target_os = "linux")]
pub(super) async fn stop_handshakes(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    /// Upper bound for a handshake in progress: more than a round trip within a cluster.
    const HANDSHAKE_TIME: std::time::Duration = std::time::Duration::from_millis(20);

    // Classic BPF (linux/filter.h). The filter of a listener gets packets from their TCP header on.
    let drop_syn = [
        SockFilter::new(0x30, 0, 0, 13),       // ldb [13]: the flags
        SockFilter::new(0x54, 0, 0, 0x12),     // and SYN|ACK
        SockFilter::new(0x15, 0, 1, 0x02),     // jeq SYN: the first packet of a handshake
        SockFilter::new(0x06, 0, 0, 0),        // ret: drop the packet
        SockFilter::new(0x06, 0, 0, u32::MAX), // ret: accept the packet
    ];
    SockRef::from(listener).attach_filter(&drop_syn)?;
    tokio::time::sleep(HANDSHAKE_TIME).await;
    Ok(())
}

/// Does nothing: without a filter, connections that open at this moment may be reset.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_async, reason = "the filter of Linux needs time")]
pub(super) async fn stop_handshakes(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
