//! A copy whose body is still being read.

use tidegate_telemetry::labels::MirrorResult;
use tokio::task::spawn_local;

use super::Original;
use super::room::{Due, Room};
use crate::body::{CopiedBody, Piece};
use crate::clock::in_turns;

/// A message of gRPC begins with so many bytes: a flag, and its length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// A copy under construction. Dropped before it is sent it counts as skipped.
pub(crate) struct Draft {
    original: Original,
    body: CopiedBody,
    max_body: u64,
    room: Room,
    due: Due,
}

impl Draft {
    /// A copy of which nothing was read yet, for at most so many bytes of body.
    pub(super) fn new(
        original: Original,
        body: CopiedBody,
        max_body: u64,
        room: Room,
        due: Due,
    ) -> Box<Self> {
        Box::new(Self {
            original,
            body,
            max_body,
            room,
            due,
        })
    }

    /// Takes a piece of the original's body; false if there is no room for it, so that there is no copy.
    pub(crate) fn hear(&mut self, piece: &Piece) -> bool {
        let bytes = super::piece_length(piece);
        if self.body.bytes() + bytes > self.max_body {
            return false;
        }
        if !self.room.take(bytes) {
            self.due.becomes(MirrorResult::SkippedBusy);
            return false;
        }
        self.body.push(piece);
        true
    }

    /// Sends the copy, now that the original is read.
    pub(crate) fn send(mut self: Box<Self>) {
        if !self.is_message() {
            return;
        }
        let mut due = self.due;
        match self.room.enter() {
            Some(place) => {
                spawn_local(in_turns(self.original.send(self.body, due, place)));
            }
            None => due.becomes(MirrorResult::SkippedBusy),
        }
    }

    /// Whether the body says everything at once: that of a call of gRPC is one message. What is said in
    /// several may answer what its server says meanwhile.
    fn is_message(&mut self) -> bool {
        if self.original.admitted.dialect.is_none() {
            return true;
        }
        let length = |[_, length @ ..]: [u8; PREFIX]| u64::from(u32::from_be_bytes(length));
        let announced = self.body.first_bytes::<PREFIX>().map(length);
        announced.is_some_and(|length| length + PREFIX as u64 == self.body.bytes())
    }
}
