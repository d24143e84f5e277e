//! A TCP proxy in front of the replicas of a service: it distributes connections round robin, and injects
//! network faults.

use crate::Dice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Connections that may wait to be accepted: as many as at our services. With the usual 128, a burst of clients would wait for a
/// retry of TCP at the proxy, and not in the queues of the shop.
const LISTEN_BACKLOG: u32 = 4_096;

/// The one thread of all proxies. On the threads of the customers, a call between services would wait for hundreds of their tasks.
static PROXY_THREAD: LazyLock<Runtime> = LazyLock::new(|| {
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(1).thread_name("proxy").enable_all().build().expect("a thread starts")
});

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkCondition {
    /// They are passed on.
    Normal,
    /// They are closed at once.
    Refuse,
    /// They are accepted, and no byte is sent.
    Hang,
    /// They are closed after the request was passed on and before its answer is.
    Reset,
    /// Answers are delayed by this time.
    Delay(Duration),
    /// Each connection carries one request. Every third connection is cut: in turn before the request is passed
    /// on, before the answer comes, and before the answer is passed on.
    CutEveryThird,
}

/// A proxy that listens on a port of its own.
#[derive(Clone, Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    backends: Mutex<Vec<SocketAddr>>,
    condition: Mutex<NetworkCondition>,
    next: AtomicU64,
    /// Connections under [`NetworkCondition::CutEveryThird`], and how many of them were cut at each stage.
    carried: AtomicU64,
    cuts: [AtomicU64; 3],
    /// Cancelled to cut the open connections when the condition changes.
    open: Mutex<CancellationToken>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Starts a proxy without backends.
    pub fn start(seed: u64) -> anyhow::Result<Self> {
        let _entered = PROXY_THREAD.enter();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(LISTEN_BACKLOG)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            backends: Mutex::default(),
            condition: Mutex::new(NetworkCondition::Normal),
            next: AtomicU64::new(Dice::new(seed).roll(2)),
            carried: AtomicU64::default(),
            cuts: Default::default(),
            open: Mutex::default(),
        });
        let accepted = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                // Most likely out of file descriptors: open connections give theirs back.
                let Ok((client, _)) = listener.accept().await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let (shared, cut) = (Arc::clone(&accepted), lock(&accepted.open).clone());
                tokio::spawn(async move { cut.run_until_cancelled(shared.carry(client)).await });
            }
        });
        Ok(Self { addr, shared })
    }

    /// Returns the URL that it listens at.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns how many requests were cut before they were passed on, before they were answered, and before
    /// their answer was passed on.
    pub fn cuts(&self) -> [u64; 3] {
        self.shared.cuts.each_ref().map(|cuts| cuts.load(Ordering::Relaxed))
    }

    /// Distributes new connections to these backends.
    pub fn set_backends(&self, backends: Vec<SocketAddr>) {
        *lock(&self.shared.backends) = backends;
    }

    /// Changes what happens to connections, and cuts the open ones.
    pub fn set(&self, condition: NetworkCondition) {
        *lock(&self.shared.condition) = condition;
        std::mem::take(&mut *lock(&self.shared.open)).cancel();
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream) {
        let condition = *lock(&self.condition);
        match condition {
            NetworkCondition::Refuse => return,
            NetworkCondition::Hang => return std::future::pending().await,
            NetworkCondition::Normal
            | NetworkCondition::Reset
            | NetworkCondition::Delay(_)
            | NetworkCondition::CutEveryThird => {}
        }
        let Some(mut service) = self.connect().await else { return };
        let _ = (client.set_nodelay(true), service.set_nodelay(true));
        match condition {
            // Passes one request on, and drops its answer.
            NetworkCondition::Reset => self.one_request(client, service, Some(2)).await,
            NetworkCondition::CutEveryThird => {
                let turn = self.carried.fetch_add(1, Ordering::Relaxed);
                let cut = turn.is_multiple_of(3).then_some(turn / 3 % 3);
                self.one_request(client, service, cut).await;
            }
            NetworkCondition::Delay(by) => {
                let (mut from_client, mut to_client) = client.split();
                let (mut from_service, mut to_service) = service.split();
                let back = async {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_service.read(&mut bytes).await {
                        sleep(by).await;
                        if to_client.write_all(&bytes[..count]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_service) => {}
                    () = back => {}
                }
            }
            NetworkCondition::Normal | NetworkCondition::Refuse | NetworkCondition::Hang => {
                let _ = copy_bidirectional(&mut client, &mut service).await;
            }
        }
    }

    /// Passes on one request and its answer, or cuts the connection at the stage `cut`.
    async fn one_request(&self, mut client: TcpStream, mut service: TcpStream, cut: Option<u64>) {
        let mut bytes = vec![0; 64 * 1024];
        let Ok(count @ 1..) = client.read(&mut bytes).await else { return };
        if let Some(cuts) = cut.and_then(|cut| self.cuts.get(usize::try_from(cut).ok()?)) {
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        if cut == Some(0) || service.write_all(&bytes[..count]).await.is_err() || cut == Some(1) {
            return;
        }
        let Ok(count @ 1..) = service.read(&mut bytes).await else { return };
        if cut.is_none() {
            let _ = client.write_all(&bytes[..count]).await;
        }
    }

    /// Connects to the next replica that accepts.
    async fn connect(&self) -> Option<TcpStream> {
        let backends = lock(&self.backends).clone();
        let turn = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or_default();
        for try_of in 0..backends.len() {
            // Tries each backend once. A shared counter would not do: other connections advance it meanwhile.
            let index = turn.wrapping_add(try_of) % backends.len();
            if let Ok(stream) = TcpStream::connect(backends[index]).await {
                return Some(stream);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_go_to_the_other_replica_while_one_is_gone() {
        // The port stays bound: the kernel could give it to a client, which would then connect to itself.
        let gone = TcpSocket::new_v4().unwrap();
        gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(1).unwrap();
        proxy.set_backends(vec![gone.local_addr().unwrap(), there.local_addr().unwrap()]);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = there.accept().await.unwrap();
                tokio::spawn(async move { client.write_all(b"served").await });
            }
        });
        let addr = proxy.url().strip_prefix("http://").unwrap().to_owned();
        let mut clients = JoinSet::new();
        // Fewer than the backlog of `there`, which would drop further connections.
        for _ in 0..100 {
            let addr = addr.clone();
            clients.spawn(async move {
                let mut answer = String::new();
                let mut stream = TcpStream::connect(addr).await.unwrap();
                stream.read_to_string(&mut answer).await.map(|_| answer)
            });
        }
        for answer in clients.join_all().await {
            assert_eq!(answer.unwrap(), "served");
        }
    }
}
