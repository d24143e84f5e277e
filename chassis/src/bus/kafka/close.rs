//! Closing clients of Kafka.

use tokio::sync::oneshot;

/// Drops a client on a thread of its own. The receiver resolves when the client is closed.
///
/// Closing can take as long as the broker is away. On a thread of the runtime it would delay the end of the process.
pub(super) fn drop_on_thread<T: Send + 'static>(client: T) -> oneshot::Receiver<()> {
    let (sender, closed) = oneshot::channel();
    std::thread::spawn(move || {
        drop(client);
        let _ = sender.send(());
    });
    closed
}
