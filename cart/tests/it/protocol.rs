//! Every order of the steps of two purchases, with a crash, lost and repeated calls, and a sweeper that suspects a process which
//! is alive: no unit stays held without a cart, and no cart is without its units.
//!
//! The rules of cart are the real ones. Gifticon, the network and the requests are modelled: what they do is in `steps`. A search
//! takes fifteen lines, so no library for it is needed.

use cart::domain::{Attempt, Block, Carts, Command, Refusal, Reply};
use chassis::model::Publications;
use common_events::{GifticonId, Owner};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const REQUESTS: usize = 2;

/// What is left out of the protocol, to see that the search would find it.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// A cart is made also where its block is gone.
    TheBlockAtTheEnd,
    /// Gifticon makes a reservation that was released before.
    Tombstones,
    /// A block is deleted while requests use it.
    Settling,
    /// Cart asks gifticon before its block is written.
    WritingFirst,
    /// A block that expires is only deleted.
    Cancelling,
}

/// What gifticon has of a reservation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stock {
    Free,
    Held,
    /// It was released, and stays so.
    Released,
}

/// Where a request is. What is in memory is lost in a crash.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    New,
    /// Its attempt is durable.
    Begun,
    /// Gifticon was asked, and has not answered.
    Asks,
    /// Gifticon holds its stock.
    Reserved,
    /// Gifticon did not answer in time, or its caller has gone.
    Unknown,
    /// What it wanted to write could not be written.
    LeftBehind,
    /// The customer got 201.
    Added,
    /// The customer got an error.
    Refused,
    /// Its process crashed.
    Gone,
}

#[derive(Clone, Debug)]
struct State {
    carts: Carts,
    stock: [Stock; REQUESTS],
    requests: [Request; REQUESTS],
    /// Calls that may still arrive, any number of times.
    calls: [bool; REQUESTS],
    /// Releases that gifticon has confirmed, before cart wrote that.
    released: [bool; REQUESTS],
    crashed: bool,
    /// The process knows that its block was written, and has not deleted it.
    hands_out: bool,
    /// The block was written once.
    was_opened: bool,
}

/// The attempts of the model. Either both are in one block, or the second has a key.
fn attempts(has_key: bool) -> [Attempt; REQUESTS] {
    let block = Block::of(common_events::ReservationId(uuid::Uuid::from_u128(0x100)));
    let attempt = |place: u8, key: Option<&str>| Attempt {
        reservation_id: block.reservation(place),
        owner: Owner::GUEST,
        gifticon_id: GifticonId(1),
        quantity: 1,
        key: key.map(Into::into),
        cancelled: false,
    };
    let mut second = attempt(1, has_key.then_some("k"));
    if has_key {
        second.reservation_id.0 = uuid::Uuid::from_u128(0x200);
    }
    [attempt(0, None), second]
}

struct Model {
    attempts: [Attempt; REQUESTS],
    without: Without,
}

impl Model {
    /// Has the rules carry out a command, and forgets the reservations of the block that no request has.
    fn command(&self, state: &State, command: &Command) -> (State, Result<Reply, Refusal>) {
        let mut next = state.clone();
        let reply = next.carts.handle(command, &mut Publications::default());
        let known: Vec<_> = self.attempts.iter().map(|attempt| attempt.reservation_id).collect();
        let unused: Vec<_> = next.carts.attempts.values().map(|one| one.reservation_id).collect();
        for id in unused.iter().filter(|id| !known.contains(id)) {
            next.carts.attempts.remove(id);
        }
        (next, reply)
    }

    /// The command, after which the request is elsewhere.
    fn then(&self, state: &State, n: usize, command: &Command, to: Request) -> State {
        let (mut next, reply) = self.command(state, command);
        next.requests[n] = if reply.is_ok() { to } else { Request::Refused };
        next
    }

    /// Returns each state that may come next.
    fn steps(&self, state: &State) -> Vec<State> {
        let mut next = self.steps_without_writing(state);
        next.extend(self.steps_of_requests(state));
        next.extend(self.steps_of_the_block(state));
        next
    }

    /// Crashes, calls, answers and releases.
    fn steps_without_writing(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        let mut with = |change: &dyn Fn(&mut State)| {
            let mut after = state.clone();
            change(&mut after);
            next.push(after);
        };
        if !state.crashed {
            with(&|after| {
                (after.crashed, after.hands_out) = (true, false);
                for request in &mut after.requests {
                    if ![Request::Added, Request::Refused].contains(request) {
                        *request = Request::Gone;
                    }
                }
            });
        }
        for n in 0..REQUESTS {
            match state.requests[n] {
                Request::Begun => {
                    with(&|after| (after.requests[n], after.calls[n]) = (Request::Asks, true));
                    if self.attempts[n].key.is_none() {
                        with(&|after| after.requests[n] = Request::Refused); // the circuit is open
                    }
                }
                Request::Asks => {
                    if state.stock[n] == Stock::Held {
                        with(&|after| after.requests[n] = Request::Reserved);
                    }
                    // Nothing is left. It counts only as the answer to the only call.
                    if state.calls[n]
                        && state.stock[n] == Stock::Free
                        && self.attempts[n].key.is_none()
                    {
                        with(&|after| {
                            (after.requests[n], after.calls[n]) = (Request::Refused, false);
                        });
                    }
                    with(&|after| after.requests[n] = Request::Unknown);
                }
                Request::Reserved => with(&|after| after.requests[n] = Request::Unknown),
                Request::Unknown => with(&|after| after.requests[n] = Request::LeftBehind),
                _ => {}
            }
            if state.calls[n] {
                with(&|after| after.calls[n] = false); // it is lost, or was the last
                let makes = match state.stock[n] {
                    Stock::Free => true,
                    Stock::Released => self.without == Without::Tombstones,
                    Stock::Held => false,
                };
                if makes {
                    with(&|after| after.stock[n] = Stock::Held);
                }
            }
            let cancelled = state.carts.attempts.get(&self.attempts[n].reservation_id);
            if cancelled.is_some_and(|attempt| attempt.cancelled) && !state.released[n] {
                with(&|after| (after.stock[n], after.released[n]) = (Stock::Released, true));
            }
        }
        next
    }

    /// What requests write, and the sweeper of them.
    fn steps_of_requests(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        let block = Block::of(self.attempts[0].reservation_id);
        let is_open = state.carts.blocks.get(&block).is_some();
        for (n, attempt) in self.attempts.iter().enumerate() {
            let reservation = attempt.reservation_id;
            match state.requests[n] {
                Request::New if attempt.key.is_some() && !state.crashed => {
                    let begin = Command::BeginAttempt(attempt.clone());
                    next.push(self.then(state, n, &begin, Request::Begun));
                }
                Request::New
                    if state.hands_out
                        || self.without == Without::WritingFirst && !state.crashed =>
                {
                    next.push(State {
                        requests: replaced(state.requests, n, Request::Begun),
                        ..state.clone()
                    });
                }
                Request::Reserved => {
                    let attempt = attempt.clone();
                    let confirm =
                        Command::Confirm { attempt, name: "Americano".into(), price: 1, at: 0 };
                    let mut from = state.clone();
                    if self.without == Without::TheBlockAtTheEnd && !is_open {
                        from.carts.blocks.add(block, block);
                        from.carts.attempts.remove(&reservation);
                    }
                    let mut after = self.then(&from, n, &confirm, Request::Added);
                    if !is_open {
                        after.carts.blocks.remove(&block);
                    }
                    next.push(after);
                }
                Request::Unknown => {
                    let cancel = Command::CancelAttempt(attempt.clone());
                    next.push(self.then(state, n, &cancel, Request::Refused));
                }
                _ => {}
            }
            // The sweeper expires what it believes to be left behind, at any time.
            let expire = Command::ExpireAttempt { reservation };
            next.push(self.command(state, &expire).0);
            if state.released[n] {
                let (mut closed, _) = self.command(state, &Command::CloseAttempt { reservation });
                closed.released[n] = false;
                next.push(closed);
            }
        }
        next
    }

    /// What becomes of the block.
    fn steps_of_the_block(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        let block = Block::of(self.attempts[0].reservation_id);
        if !state.crashed && !state.was_opened {
            let (mut opened, _) = self.command(state, &Command::OpenBlock(block));
            (opened.hands_out, opened.was_opened) = (true, true);
            next.push(opened);
        }
        let expire = match self.without {
            Without::Cancelling => Command::CloseBlock(block),
            _ => Command::ExpireBlock(block),
        };
        next.push(self.command(state, &expire).0);
        let of_block =
            state.requests.iter().zip(&self.attempts).filter(|(_, one)| one.key.is_none());
        let settled = of_block
            .map(|(request, _)| request)
            .all(|request| [Request::New, Request::Added, Request::Refused].contains(request));
        if state.hands_out && (settled || self.without == Without::Settling) {
            let (mut closed, _) = self.command(state, &Command::CloseBlock(block));
            closed.hands_out = false;
            next.push(closed);
        }
        next
    }

    /// Returns what is wrong in a state. In one from which nothing leads on, nothing may be held without a cart.
    fn fault(&self, state: &State, is_last: bool) -> Option<String> {
        for (n, attempt) in self.attempts.iter().enumerate() {
            let cart = state
                .carts
                .carts
                .values()
                .find(|cart| cart.reservation_id == attempt.reservation_id && cart.is_live());
            if cart.is_some() && state.stock[n] != Stock::Held {
                return Some(format!("request {n} has a cart without its stock: {state:?}"));
            }
            if cart.is_none() && state.requests[n] == Request::Added {
                return Some(format!(
                    "request {n} was promised a cart that is not there: {state:?}"
                ));
            }
            if is_last && cart.is_none() && state.stock[n] == Stock::Held {
                return Some(format!("stock of request {n} is held for ever: {state:?}"));
            }
        }
        None
    }

    /// Visits every state that can be reached. Returns how many they are, or the first fault.
    fn search(&self) -> Result<usize, String> {
        let first = State {
            carts: Carts::default(),
            stock: [Stock::Free; REQUESTS],
            requests: [Request::New; REQUESTS],
            calls: [false; REQUESTS],
            released: [false; REQUESTS],
            crashed: false,
            hands_out: false,
            was_opened: false,
        };
        let (mut seen, mut queue) =
            (BTreeSet::from([format!("{first:?}")]), VecDeque::from([first]));
        while let Some(state) = queue.pop_front() {
            let here = format!("{state:?}");
            let steps: BTreeMap<String, State> =
                self.steps(&state).into_iter().map(|next| (format!("{next:?}"), next)).collect();
            let is_last = steps.keys().all(|next| *next == here);
            if let Some(fault) = self.fault(&state, is_last) {
                return Err(fault);
            }
            queue.extend(
                steps.into_iter().filter_map(|(key, next)| seen.insert(key).then_some(next)),
            );
        }
        Ok(seen.len())
    }
}

fn replaced(mut requests: [Request; REQUESTS], n: usize, to: Request) -> [Request; REQUESTS] {
    requests[n] = to;
    requests
}

fn search(has_key: bool, without: Without) -> Result<usize, String> {
    Model { attempts: attempts(has_key), without }.search()
}

#[test]
fn no_order_of_steps_loses_stock_or_a_cart() {
    for has_key in [false, true] {
        let states = search(has_key, Without::Nothing).unwrap_or_else(|fault| panic!("{fault}"));
        println!("{states} states hold");
        assert!(states > 1_000, "only {states} were reached");
    }
}

#[test]
fn each_part_of_the_protocol_is_needed() {
    for (without, fault) in [
        (Without::TheBlockAtTheEnd, "a cart without its stock"),
        (Without::Tombstones, "is held for ever"),
        (Without::Settling, "is held for ever"),
        (Without::WritingFirst, "is held for ever"),
        (Without::Cancelling, "is held for ever"),
    ] {
        let found = search(false, without).expect_err("nothing is wrong without it");
        assert!(found.contains(fault), "{found}");
    }
}
