//! Clients of Kafka are closed on a thread of their own.

use tokio::sync::oneshot;

/// Closes a client, which can take as long as its broker is away, on a thread that is not the runtime's: that
/// would wait for it when the process ends. What is answered resolves when it is closed.
pub(super) fn drop_aside<T: Send + 'static>(client: T) -> oneshot::Receiver<()> {
    let (closed, closing) = oneshot::channel();
    std::thread::spawn(move || {
        drop(client);
        let _ = closed.send(());
    });
    closing
}
