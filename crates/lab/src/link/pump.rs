//! One direction of one connection: read, stamp with the due time, hold, deliver.
//!
//! A single loop waits for the first of three things: an order, input while there is room, or the moment the
//! oldest segment may go out. The gate is looked at right before each write, so after a switch to black hole not
//! even a segment that was due leaves. An end (FIN) and a break (RST) travel through the queue like bytes do, and a
//! segment that jitter made due early waits behind its forerunner.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::shared::{Direction, Order, Shared};

const READ_BYTES: usize = 32 * 1024;
/// Bounds the queue's own size when a sender writes single bytes.
const SEGMENTS_MAX: usize = 16 * 1024;

/// Why both directions end together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Torn {
    /// A peer reset, or its socket failed.
    Broken,
    /// The truncation limit was reached; the client has been sent FIN.
    Cut,
}

enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

pub(super) struct Pump<'a> {
    direction: Direction,
    from: &'a TcpStream,
    to: &'a TcpStream,
    shared: &'a Shared,
    orders: watch::Receiver<Order>,
    queue: VecDeque<(Instant, Segment)>,
    queued_bytes: usize,
    buffer: Vec<u8>,
    /// Nothing more will be read.
    ended: bool,
    /// Bytes read before this count as sent at it.
    floor: Instant,
    /// Bytes that may still go to the client.
    budget: Option<u64>,
}

impl<'a> Pump<'a> {
    /// Bytes count as sent at `not_before` when they are read earlier.
    pub(super) fn new(
        direction: Direction,
        from: &'a TcpStream,
        to: &'a TcpStream,
        shared: &'a Shared,
        not_before: Instant,
    ) -> Self {
        let mut orders = shared.subscribe();
        let budget = budget(direction, *orders.borrow_and_update());
        Self {
            direction,
            from,
            to,
            shared,
            orders,
            queue: VecDeque::new(),
            queued_bytes: 0,
            buffer: vec![0; READ_BYTES],
            ended: false,
            floor: not_before,
            budget,
        }
    }

    /// Runs until the end of this direction has been delivered.
    pub(super) async fn run(mut self) -> Result<(), Torn> {
        loop {
            let (from, to) = (self.from, self.to);
            let due = self.next_due();
            let room = self.has_room();
            tokio::select! {
                biased;
                changed = self.orders.changed() => {
                    changed.map_err(|_| Torn::Broken)?;
                    let order = *self.orders.borrow_and_update();
                    self.budget = budget(self.direction, order);
                }
                () = deliverable(due, to) => {
                    if self.deliver()? {
                        return Ok(());
                    }
                }
                _ = from.readable(), if room => self.take_in(),
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if self.budget == Some(0) {
            return Some(Instant::now());
        }
        let gate_open = self.shared.order().mode.passes();
        self.queue
            .front()
            .filter(|_| gate_open)
            .map(|(due, _)| *due)
    }

    fn has_room(&self) -> bool {
        !self.ended
            && self.queued_bytes < self.shared.spec.buffer_bytes.max(1)
            && self.queue.len() < SEGMENTS_MAX
    }

    fn take_in(&mut self) {
        match self.from.try_read(&mut self.buffer) {
            Ok(0) => self.finish(Segment::Fin),
            Ok(n) => {
                self.queued_bytes += n;
                self.shared.counters.held(self.direction, n);
                self.enqueue(n, Segment::Data(Bytes::copy_from_slice(&self.buffer[..n])));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.broken(),
        }
    }

    /// The sender reset. While nothing passes, what it had sent is lost with it: nobody is left to resend it.
    fn broken(&mut self) {
        if !self.shared.order().mode.passes() {
            self.lose_queue();
        }
        self.finish(Segment::Reset);
    }

    fn lose_queue(&mut self) {
        self.queue.clear();
        self.shared
            .counters
            .lost(std::mem::take(&mut self.queued_bytes));
    }

    fn finish(&mut self, last: Segment) {
        self.ended = true;
        self.enqueue(0, last);
    }

    fn enqueue(&mut self, bytes: usize, segment: Segment) {
        let sent = Instant::now().max(self.floor);
        let due = self.shared.due(self.direction, bytes, sent);
        self.queue.push_back((due, segment));
    }

    /// Delivers what is due and fits. True once the end has been delivered.
    fn deliver(&mut self) -> Result<bool, Torn> {
        let now = Instant::now();
        while self.shared.order().mode.passes() {
            if self.budget == Some(0) {
                self.end_output()?;
                return Err(Torn::Cut);
            }
            match self.queue.front_mut() {
                Some((due, Segment::Data(bytes))) if *due <= now => {
                    let n = write_some(self.to, bytes, self.budget)?;
                    let Some(n) = n else { return Ok(false) };
                    bytes.advance(n);
                    let emptied = bytes.is_empty();
                    self.account(n, emptied);
                }
                Some((due, Segment::Fin)) if *due <= now => {
                    return self.end_output().map(|()| true);
                }
                Some((due, Segment::Reset)) if *due <= now => return Err(Torn::Broken),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    fn account(&mut self, delivered: usize, emptied: bool) {
        if emptied {
            self.queue.pop_front();
        }
        self.queued_bytes -= delivered;
        self.budget = self
            .budget
            .map(|budget| budget.saturating_sub(delivered as u64));
        self.shared.counters.delivered(self.direction, delivered);
    }

    fn end_output(&self) -> Result<(), Torn> {
        SockRef::from(self.to)
            .shutdown(Shutdown::Write)
            .map_err(|_| Torn::Broken)
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        self.lose_queue();
    }
}

fn budget(direction: Direction, order: Order) -> Option<u64> {
    match direction {
        Direction::ToClient => order.mode.budget(),
        Direction::ToUpstream => None,
    }
}

/// Ready when a segment is due and the socket takes bytes; never without a due time.
async fn deliverable(due: Option<Instant>, to: &TcpStream) {
    match due {
        Some(due) => {
            tokio::time::sleep_until(due).await;
            // An error shows at the write.
            let _ = to.writable().await;
        }
        None => std::future::pending().await,
    }
}

/// Writes what the budget and the socket allow; `None` when the socket takes nothing now.
fn write_some(to: &TcpStream, bytes: &[u8], budget: Option<u64>) -> Result<Option<usize>, Torn> {
    let allowed = budget.map_or(usize::MAX, |budget| {
        usize::try_from(budget).unwrap_or(usize::MAX)
    });
    match to.try_write(&bytes[..bytes.len().min(allowed)]) {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(Torn::Broken),
    }
}
