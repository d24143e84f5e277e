//! Hands out the reservations of requests without an `Idempotency-Key`, each from a block that is durable.
//!
//! A block is used by one process. It is deleted when all that came of its reservations is durable; one that a crash left behind
//! is ended by the sweeper.

use crate::domain::{BLOCK_SIZE, Block, Command};
use crate::model::CartModel;
use chassis::Chassis;
use chassis::base::limits::PATIENCE;
use chassis::base::patience;
use chassis::base::unavailable::Unavailable;
use chassis::writer::{CommandError, Writer};
use common_events::ReservationId;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

/// For how long the reservations of a block are handed out, from before it was written on. So the sweeper knows for how long
/// one that it sees may be in use. A request waits no longer for a block.
pub const BLOCK_USE_MAX: Duration = PATIENCE;
/// When so few reservations of the last block are left, the next block is written.
const FEW_LEFT: usize = BLOCK_SIZE / 2;
/// How long a block that could not be deleted waits for the next try.
const DELETE_RETRY_INTERVAL: Duration = Duration::from_millis(250);

const OVERLOADED: Unavailable = Unavailable::Overloaded { at: "writer" };

/// The blocks that this process uses. Clones share them.
#[derive(Clone)]
pub struct Blocks(Arc<Shared>);

struct Shared {
    writer: Writer<CartModel>,
    open: Mutex<Open>,
    ended: mpsc::UnboundedSender<Block>,
}

/// The blocks whose reservations are handed out.
#[derive(Default)]
struct Open {
    blocks: VecDeque<Unused>,
    /// Where the outcome of the block arrives that is being written.
    writing: Option<watch::Receiver<Option<Written>>>,
}

type Written = Result<(), Unavailable>;

/// What is left of a block.
struct Unused {
    block: Arc<Used>,
    until: Instant,
    /// The places of the reservations that nobody has.
    places: std::ops::RangeInclusive<u8>,
}

/// A block in use. When nobody uses it any more it is to be deleted, unless something of it was left behind.
struct Used {
    block: Block,
    left_behind: AtomicBool,
    ended: mpsc::UnboundedSender<Block>,
}

/// A reservation that one request has. Dropped, it is left behind for the sweeper; what is durable is [settled](Self::settle).
pub struct Place {
    reservation: ReservationId,
    block: Arc<Used>,
    settled: bool,
}

impl Place {
    /// Returns the reservation.
    pub fn reservation(&self) -> ReservationId {
        self.reservation
    }

    /// Ends the use of the reservation: its cart is durable, or that it is cancelled, or gifticon holds nothing for it.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.settled {
            self.block.left_behind.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if !*self.left_behind.get_mut() {
            let _ = self.ended.send(self.block); // or the process ends
        }
    }
}

impl Open {
    /// Takes a reservation that nobody has.
    fn take(&mut self) -> Option<Place> {
        while let Some(first) = self.blocks.front_mut() {
            if Instant::now() < first.until
                && let Some(place) = first.places.next()
            {
                let block = Arc::clone(&first.block);
                let reservation = block.block.reservation(place);
                return Some(Place { reservation, block, settled: false });
            }
            self.blocks.pop_front();
        }
        None
    }

    /// Returns how many reservations are left.
    fn left(&self) -> usize {
        self.blocks.iter().map(|unused| unused.places.len()).sum()
    }
}

impl Blocks {
    /// Returns the blocks of a service, none of which is open yet, and starts the task that deletes them.
    pub fn start(chassis: &Chassis, writer: Writer<CartModel>) -> Self {
        let (ended, receiver) = mpsc::unbounded_channel();
        let blocks = Self(Arc::new(Shared { writer, open: Mutex::default(), ended }));
        let stopped = chassis.stopping().cancelled_owned();
        chassis.spawn_to_its_end("blocks", blocks.clone().run(receiver, stopped));
        blocks
    }

    /// Deletes blocks that nobody uses any more, until `stopped` resolves, and then also those that no request has a reservation
    /// of.
    async fn run(
        self,
        mut ended: mpsc::UnboundedReceiver<Block>,
        stopped: impl Future<Output = ()>,
    ) {
        let (mut stopped, mut blocks) = (pin!(stopped), Vec::new());
        loop {
            tokio::select! {
                Some(block) = ended.recv() => blocks.push(block),
                () = sleep(DELETE_RETRY_INTERVAL), if !blocks.is_empty() => {}
                () = stopped.as_mut() => break,
            }
            blocks = self.delete(blocks, &mut ended).await;
        }
        self.close();
        for block in self.delete(blocks, &mut ended).await {
            let block = block.first();
            warn!(%block, "a block of attempts was not deleted; the sweeper ends it");
        }
    }

    /// Deletes blocks, and those that ended meanwhile. Returns those that could not be deleted.
    async fn delete(
        &self,
        mut blocks: Vec<Block>,
        ended: &mut mpsc::UnboundedReceiver<Block>,
    ) -> Vec<Block> {
        while let Ok(block) = ended.try_recv() {
            blocks.push(block);
        }
        fail::fail_point!("cart-before-close");
        let delete = blocks.iter().map(|block| (Command::CloseBlock(*block), None));
        let outcomes = self.0.writer.execute_all(delete.collect::<Vec<_>>()).await;
        let failed = blocks.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err());
        failed.map(|(block, _)| block).collect()
    }

    /// Returns a reservation that no other request has. Waits for a block where none is open.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when `withdrawn` resolves before, and what the writer says of a block that it could not write.
    pub async fn take(&self, withdrawn: impl Future<Output = ()>) -> Result<Place, Unavailable> {
        tokio::select! {
            biased;
            () = withdrawn => Err(OVERLOADED),
            place = self.place() => place,
        }
    }

    /// Hands out no more reservations of the open blocks.
    pub fn close(&self) {
        self.open().blocks.clear();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn place(&self) -> Result<Place, Unavailable> {
        loop {
            let mut written = {
                let mut open = self.open();
                match open.take() {
                    Some(place) => {
                        if open.left() < FEW_LEFT {
                            self.write(&mut open);
                        }
                        return Ok(place);
                    }
                    None => self.write(&mut open),
                }
            };
            match written.wait_for(Option::is_some).await.map(|written| *written) {
                // A block waited for too long in the queue of the writer, and not this request.
                Ok(Some(Ok(()) | Err(OVERLOADED))) => {}
                Ok(Some(Err(unavailable))) => return Err(unavailable),
                Ok(None) | Err(_) => return Err(Unavailable::Failed),
            }
        }
    }

    /// Writes a block in a task of its own, unless one is being written. Returns where its outcome arrives.
    fn write(&self, open: &mut Open) -> watch::Receiver<Option<Written>> {
        if let Some(writing) = open.writing.as_ref().filter(|writing| writing.has_changed().is_ok())
        {
            return writing.clone();
        }
        let (outcome, writing) = watch::channel(None);
        open.writing = Some(writing.clone());
        let blocks = self.clone();
        tokio::spawn(async move {
            let (block, until) = (Block::unused(), Instant::now() + BLOCK_USE_MAX);
            let written = blocks.0.writer.execute(Command::OpenBlock(block));
            let written = patience::with(until, written).await;
            fail::fail_point!("cart-after-block");
            let written = match written {
                Ok(_) => Ok(()),
                Err(CommandError::Unavailable(unavailable)) => Err(unavailable),
                Err(CommandError::Refused(_)) => Err(Unavailable::Failed), // a new block never is
            };
            {
                let mut open = blocks.open();
                open.writing = None;
                if written.is_ok() {
                    let ended = blocks.0.ended.clone();
                    let block =
                        Arc::new(Used { block, left_behind: AtomicBool::new(false), ended });
                    open.blocks.push_back(Unused { block, until, places: 0..=u8::MAX });
                }
            }
            let _ = outcome.send(Some(written)); // or nobody waits for it
            sleep_until(until).await;
            blocks.open().blocks.retain(|unused| Instant::now() < unused.until);
        });
        writing
    }
}
