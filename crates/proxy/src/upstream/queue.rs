//! Requests that wait for a connection, in the order in which they came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;

use super::gate::{Seat, Ticket};
use super::key::Key;
use super::shelf::Picked;
use super::target::{Target, Wish};

/// What a request gets that waited.
pub(super) enum Grant {
    /// The right to open a connection.
    Place(Ticket),
    /// A connection that somebody put down, still to be checked, or a stream of one.
    Link(Box<Picked>),
}

/// A request in line.
pub(super) struct Waiter {
    pub(super) key: Key,
    pub(super) seat: Seat,
    /// Which connections it takes; none but a new one without.
    wish: Option<Wish>,
    tell: oneshot::Sender<Grant>,
    id: usize,
}

/// The line.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Waiter>);

impl Waiter {
    /// One that waits for a connection to `target`; what it gets arrives in the receiver.
    pub(super) fn new(target: &Target<'_>, wish: Option<Wish>) -> (Self, oneshot::Receiver<Grant>) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        let waiter = Self {
            key: target.key(),
            seat: Seat::of(target),
            wish,
            tell,
            id,
        };
        (waiter, told)
    }

    /// Its own among those in line.
    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// Gives it what it waited for. What it does not hear of any more comes back.
    pub(super) fn tell(self, grant: Grant) -> Option<Grant> {
        self.tell.send(grant).err()
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, waiter: Waiter) {
        self.0.push_back(waiter);
    }

    pub(super) fn push_first(&mut self, waiter: Waiter) {
        self.0.push_front(waiter);
    }

    pub(super) fn position(&self, is_meant: impl FnMut(&Waiter) -> bool) -> Option<usize> {
        self.0.iter().position(is_meant)
    }

    pub(super) fn take(&mut self, at: usize) -> Option<Waiter> {
        self.0.remove(at)
    }

    pub(super) fn remove(&mut self, id: usize) -> Option<Waiter> {
        self.take(self.position(|waiter| waiter.id == id)?)
    }

    pub(super) fn holds(&self, id: usize) -> bool {
        self.position(|waiter| waiter.id == id).is_some()
    }

    /// How many wait for this endpoint.
    pub(super) fn count_for(&self, endpoint: usize) -> usize {
        let here = |waiter: &&Waiter| waiter.key.endpoint() == endpoint;
        self.0.iter().filter(here).count()
    }

    /// The first that takes a used connection of this key, and since when that must have idled.
    pub(super) fn first_for(&self, key: Key) -> Option<(usize, Option<Instant>)> {
        let mut line = self.0.iter().enumerate();
        line.find_map(|(at, waiter)| {
            let wish = waiter.wish.filter(|_| waiter.key == key)?;
            Some((at, wish.since))
        })
    }

    /// Gives to the one at this position; what it does not hear of any more comes back.
    pub(super) fn give(&mut self, at: usize, grant: Grant) -> Option<Grant> {
        match self.take(at) {
            Some(waiter) => waiter.tell(grant),
            None => Some(grant),
        }
    }
}
