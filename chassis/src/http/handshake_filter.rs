//! Closing the door: a listener that ends cuts the connections that the kernel has for it and that
//! nobody has accepted yet, so that their clients lose a request that they could not know to be too late.

use std::io;
use tokio::net::TcpListener;

/// Lets nobody begin to come in, and returns when those who had begun are in the queue of `listener`.
/// Who comes after that hears nothing and asks again after a second, when the listener is gone.
#[cfg(target_os = "linux")]
pub(super) async fn shut(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    /// How long a handshake that is underway may take to end: more than a round trip in one cluster.
    const HANDSHAKE: std::time::Duration = std::time::Duration::from_millis(20);

    // Classic BPF (linux/filter.h); the filter of a listener sees a packet from its TCP header on.
    let let_nobody_in = [
        SockFilter::new(0x30, 0, 0, 13),       // ldb [13]: the flags
        SockFilter::new(0x54, 0, 0, 0x12),     // and SYN|ACK
        SockFilter::new(0x15, 0, 1, 0x02),     // jeq SYN: the first packet of a handshake
        SockFilter::new(0x06, 0, 0, 0),        // ret: drop it
        SockFilter::new(0x06, 0, 0, u32::MAX), // ret: let it pass
    ];
    SockRef::from(listener).attach_filter(&let_nobody_in)?;
    tokio::time::sleep(HANDSHAKE).await;
    Ok(())
}

/// Nothing here stops a handshake: who comes in this moment may be cut.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_async, reason = "as above")]
pub(super) async fn shut(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
