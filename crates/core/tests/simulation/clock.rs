//! Virtual time: events in the order of their moments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Which attempt an event is about: where its request is kept, and its number. An event whose attempt
/// is over finds another number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttemptId {
    pub(crate) request: usize,
    pub(crate) number: u64,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next request comes.
    Arrival,
    /// The attempt's connection is there.
    Connected(AttemptId),
    /// The attempt's request has been sent whole.
    Sent(AttemptId),
    /// The answer's head arrives, with this status.
    Head(AttemptId, u16),
    /// The connection is refused.
    Refused(AttemptId),
    /// The connection is reset.
    Reset(AttemptId),
    /// No connection within its limit.
    ConnectTimeout(AttemptId),
    /// No answer within the attempt's limit.
    TimeUp(AttemptId),
    /// The attempt has waited for its answer for as long as a hedge is held back.
    Late(AttemptId),
    /// The last of the answer's body arrives.
    Body(AttemptId),
    /// Nothing has come of the answer's body for long.
    Idle(AttemptId),
    /// A request whose answer broke off in this region, at this position, asks again for room elsewhere.
    Rest(usize, u8, u8),
    /// The request's backoff is over.
    Again(usize),
    /// An endpoint (region, endpoint) is to be probed; the number is the schedule's.
    Probe(usize, usize, u64),
    /// A probe ends, well or not, after so long.
    Probed(usize, usize, bool, Duration),
    /// The judge looks.
    Look,
    /// A fault, by number, begins or ends.
    Turn(usize, bool),
    /// A second is over.
    Second,
}

/// The moments to come.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    entered: u64,
}

impl Agenda {
    /// Of events at the same moment, the first entered comes first.
    pub(crate) fn enter(&mut self, at: Duration, event: Event) {
        self.entered += 1;
        self.heap.push(Reverse((at, self.entered, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(Duration, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
