//! Hands out the reservations of requests without an `Idempotency-Key`, each from a block that is durable.
//!
//! A block is used by one process. It is deleted when all that came of its reservations is durable; one that a crash left behind
//! is ended by the sweeper.

use crate::domain::{BLOCK_SIZE, Block, Command};
use crate::model::CartModel;
use chassis::base::patience;
use chassis::base::unavailable::Unavailable;
use chassis::writer::{CommandError, Writer};
use common_events::ReservationId;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// For how long the reservations of a block are handed out, from before it was written on. So the sweeper knows for how long
/// one that it sees may be in use. As long as a request waits for a block, at most.
pub const BLOCK_USE_MAX: Duration = chassis::base::limits::PATIENCE;
/// When so few reservations of the last block are left, the next block is written.
const FEW_LEFT: usize = BLOCK_SIZE / 2;

const OVERLOADED: Unavailable = Unavailable::Overloaded { at: "writer" };

/// The blocks that this process uses. Clones share them.
#[derive(Clone)]
pub struct Blocks(Arc<Shared>);

struct Shared {
    writer: Writer<CartModel>,
    open: Mutex<Open>,
    /// Held by whoever writes the next block.
    turn: AsyncMutex<()>,
    ended: mpsc::UnboundedSender<Block>,
}

/// The blocks whose reservations are handed out.
#[derive(Default)]
struct Open {
    blocks: VecDeque<Unused>,
    /// The next block is being written before it is needed.
    ahead: bool,
}

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

/// The blocks that nobody uses any more.
pub struct Ended(mpsc::UnboundedReceiver<Block>);

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
    /// Returns the blocks of `writer`, none of which is open yet, and those that ended, for [`Blocks::run`].
    pub fn new(writer: Writer<CartModel>) -> (Self, Ended) {
        let (ended, receiver) = mpsc::unbounded_channel();
        let (open, turn) = (Mutex::default(), AsyncMutex::new(()));
        (Self(Arc::new(Shared { writer, open, turn, ended })), Ended(receiver))
    }

    /// Deletes blocks that nobody uses any more, until `stopped` resolves, and then also those that no request has a reservation
    /// of.
    pub async fn run(self, mut ended: Ended, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                Some(block) = ended.0.recv() => self.delete(block, &mut ended).await,
                () = stopped.as_mut() => break,
            }
        }
        self.open().blocks.clear();
        if let Ok(block) = ended.0.try_recv() {
            self.delete(block, &mut ended).await;
        }
    }

    /// Deletes a block, and those that ended meanwhile.
    async fn delete(&self, block: Block, ended: &mut Ended) {
        let mut blocks = vec![block];
        while let Ok(block) = ended.0.try_recv() {
            blocks.push(block);
        }
        let close = |block| (Command::CloseBlock(block), None);
        for outcome in self.0.writer.execute_all(blocks.into_iter().map(close)).await {
            if let Err(error) = outcome {
                warn!(%error, "a block of attempts was not deleted; the sweeper ends it");
            }
        }
    }

    /// Returns a reservation that no other request has. Writes a block first where none is open.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when `withdrawn` resolves before the writer has begun a block, and what the writer says.
    pub async fn take(&self, withdrawn: impl Future<Output = ()>) -> Result<Place, Unavailable> {
        let mut withdrawn = pin!(withdrawn);
        loop {
            if let Some(place) = self.take_ready() {
                return Ok(place);
            }
            let _turn = tokio::select! {
                turn = self.0.turn.lock() => turn,
                () = withdrawn.as_mut() => return Err(OVERLOADED),
            };
            if let Some(place) = self.take_ready() {
                return Ok(place);
            }
            self.write(withdrawn.as_mut()).await?;
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a reservation of an open block. Where few are left, the next block is written meanwhile.
    fn take_ready(&self) -> Option<Place> {
        let mut open = self.open();
        let place = open.take()?;
        if open.left() < FEW_LEFT && !open.ahead {
            open.ahead = true;
            let blocks = self.clone();
            tokio::spawn(async move {
                {
                    let _turn = blocks.0.turn.lock().await;
                    // Where this fails, a request that finds no block hears why.
                    let _ = blocks.write(std::future::pending()).await;
                }
                blocks.open().ahead = false;
            });
        }
        Some(place)
    }

    /// Writes a block, and has its reservations handed out.
    async fn write(&self, withdrawn: impl Future<Output = ()>) -> Result<(), Unavailable> {
        let (block, until) = (Block::unused(), Instant::now() + BLOCK_USE_MAX);
        let begun = self.0.writer.execute_unless(Command::OpenBlock(block), withdrawn);
        match patience::with(until, begun).await {
            Ok(_) => {}
            Err(CommandError::Unavailable(unavailable)) => return Err(unavailable),
            Err(CommandError::Refused(_)) => return Err(Unavailable::Failed), // a new block never is
        }
        let ended = self.0.ended.clone();
        let used = Arc::new(Used { block, left_behind: AtomicBool::new(false), ended });
        self.open().blocks.push_back(Unused { block: used, until, places: 0..=u8::MAX });
        let blocks = self.clone();
        tokio::spawn(async move {
            sleep_until(until).await;
            blocks.open().blocks.retain(|unused| Instant::now() < unused.until);
        });
        Ok(())
    }
}
