//! The front of a service's replicas: hands connections out round robin, and does to them what a bad
//! network does.

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

/// Connections that may wait to be accepted: as many as our services take. With the usual 128 a crowd stands before the
/// front, and tries again after a second, instead of before the shop.
const BACKLOG: u32 = 4_096;

/// The thread of all fronts. On those of the customers, a call from one service to another would wait until a crowd of
/// them is done.
static THREAD: LazyLock<Runtime> = LazyLock::new(|| {
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(1).thread_name("front").enable_all().build().expect("a thread starts")
});

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// They go through.
    Fair,
    /// They are closed at once.
    Refuse,
    /// They are taken and nothing comes back.
    Hang,
    /// They are cut after the request went through and before its answer did.
    Reset,
    /// Answers take this long.
    Delay(Duration),
    /// One request a connection; every third is cut: in turn before the request went through, while
    /// it is worked on, and when its answer is there.
    CutEveryThird,
}

/// A front that listens on a port of its own.
#[derive(Clone, Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    backends: Mutex<Vec<SocketAddr>>,
    weather: Mutex<Weather>,
    next: AtomicU64,
    /// Connections since [`Weather::CutEveryThird`], and those of them that were cut at each stage.
    carried: AtomicU64,
    cuts: [AtomicU64; 3],
    /// Cancelled to cut what is open when the weather changes.
    open: Mutex<CancellationToken>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A front with nobody behind it yet.
    pub fn start(seed: u64) -> anyhow::Result<Self> {
        let _there = THREAD.enter();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            backends: Mutex::default(),
            weather: Mutex::new(Weather::Fair),
            next: AtomicU64::new(Dice::new(seed).roll(2)),
            carried: AtomicU64::default(),
            cuts: Default::default(),
            open: Mutex::default(),
        });
        let accepted = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                // Out of open files, most likely: those in use will be free again.
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

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many requests were cut before they went through, while they were worked on, and when they
    /// were answered.
    pub fn cuts(&self) -> [u64; 3] {
        self.shared.cuts.each_ref().map(|cuts| cuts.load(Ordering::Relaxed))
    }

    /// Puts these behind it.
    pub fn lead_to(&self, backends: Vec<SocketAddr>) {
        *lock(&self.shared.backends) = backends;
    }

    /// Changes what becomes of connections, and cuts those that are open.
    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
        std::mem::take(&mut *lock(&self.shared.open)).cancel();
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream) {
        let weather = *lock(&self.weather);
        match weather {
            Weather::Refuse => return,
            Weather::Hang => return std::future::pending().await,
            Weather::Fair | Weather::Reset | Weather::Delay(_) | Weather::CutEveryThird => {}
        }
        let Some(mut service) = self.connect().await else { return };
        let _ = (client.set_nodelay(true), service.set_nodelay(true));
        match weather {
            // One request through, its answer read and kept.
            Weather::Reset => self.one_request(client, service, Some(2)).await,
            Weather::CutEveryThird => {
                let turn = self.carried.fetch_add(1, Ordering::Relaxed);
                let cut = turn.is_multiple_of(3).then_some(turn / 3 % 3);
                self.one_request(client, service, cut).await;
            }
            Weather::Delay(by) => {
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
            Weather::Fair | Weather::Refuse | Weather::Hang => {
                let _ = copy_bidirectional(&mut client, &mut service).await;
            }
        }
    }

    /// Carries one request and its answer, and cuts it at a stage, if one is given.
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

    /// Connects to the next replica that takes connections.
    async fn connect(&self) -> Option<TcpStream> {
        let backends = lock(&self.backends).clone();
        let turn = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or_default();
        for try_of in 0..backends.len() {
            // Each once: others take turns meanwhile, and would lead this one to the same again.
            let place = turn.wrapping_add(try_of) % backends.len();
            if let Ok(stream) = TcpStream::connect(backends[place]).await {
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
    async fn whoever_comes_while_one_replica_is_gone_is_led_to_the_other() {
        // Bound, so that the kernel gives the port to no client, which would then be connected to itself.
        let gone = TcpSocket::new_v4().unwrap();
        gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Proxy::start(1).unwrap();
        front.lead_to(vec![gone.local_addr().unwrap(), there.local_addr().unwrap()]);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = there.accept().await.unwrap();
                tokio::spawn(async move { client.write_all(b"served").await });
            }
        });
        let addr = front.url().strip_prefix("http://").unwrap().to_owned();
        let mut clients = JoinSet::new();
        // Fewer than may wait for `there`: one that did not get in would wait for what it is not told.
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
