//! What is kept of one request's body: the first part in memory, what follows on disk.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use tidegate_core::plan::BodyPolicy;
use tidegate_core::retry::Idempotency;
use tidegate_http1::Framing;
use tidegate_telemetry::labels::ReplayLost;

use super::run::Run;
use super::spool::Spool;
use super::totals::{Lease, Ledger};

/// What one request may keep of its body, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    /// In memory.
    pub(crate) memory: u64,
    /// On disk, beyond that.
    pub(crate) spool: u64,
}

impl Caps {
    /// What a request may keep that may be attempted `attempts` times, and is read whole before it is
    /// sent if it is `gathered`.
    ///
    /// What must not be sent twice is not spooled unless it is gathered: only a refused stream could
    /// make use of it.
    pub(crate) fn of(
        policy: &BodyPolicy,
        idempotency: Idempotency,
        attempts: u8,
        gathered: bool,
    ) -> Self {
        let twice = attempts > 1;
        let spooled = gathered || (twice && idempotency != Idempotency::No);
        Self {
            memory: if twice || gathered {
                policy.replay_bytes
            } else {
                0
            },
            spool: if spooled { policy.spool_bytes } else { 0 },
        }
    }

    /// Whether anything is to be kept.
    pub(crate) fn are_none(self) -> bool {
        self == Self::default()
    }

    /// Whether a body that is announced so can be kept whole. What is not announced can, perhaps.
    pub(crate) fn take(self, framing: Framing) -> bool {
        match framing {
            Framing::Length(length) => length <= self.memory.saturating_add(self.spool),
            Framing::None | Framing::Chunked | Framing::UntilClose => true,
        }
    }
}

/// What is kept.
pub(super) struct Store {
    memory: Run,
    lease: Lease,
    spool: Option<Box<Spool>>,
    caps: Caps,
    /// Bounded and not counted, as the head that they belong to.
    pub(super) trailers: Option<Box<HeaderMap>>,
}

impl Store {
    /// Nothing yet, of a body whose pieces are most of their buffer from `by_reference` bytes on.
    pub(super) fn new(ledger: Rc<Ledger>, caps: Caps, by_reference: usize) -> Self {
        Self {
            memory: Run::of_pieces(by_reference),
            lease: Lease::new(ledger),
            spool: None,
            caps,
            trailers: None,
        }
    }

    /// Bytes of content.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes() + self.spool.as_ref().map_or(0, |spool| spool.bytes())
    }

    /// Keeps a piece of content, or says which limit forbids it.
    pub(super) fn push(&mut self, data: &Bytes) -> Result<(), ReplayLost> {
        if self.spool.is_none() {
            match self.take(data.len() as u64) {
                Ok(()) => {
                    self.memory.push(data);
                    return Ok(());
                }
                Err(why) if self.caps.spool == 0 => return Err(why),
                Err(_) => {}
            }
        }
        let (ledger, caps) = (&self.lease.ledger, self.caps);
        let spool = self
            .spool
            .get_or_insert_with(|| Box::new(Spool::new(ledger, caps.spool)));
        spool.push(data)
    }

    fn take(&mut self, bytes: u64) -> Result<(), ReplayLost> {
        if self.memory.bytes() + bytes > self.caps.memory {
            return Err(ReplayLost::RequestLimit);
        }
        match self.lease.take(bytes) {
            true => Ok(()),
            false => Err(ReplayLost::TotalLimit),
        }
    }

    /// Ready once there is room for another piece.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.spool {
            Some(spool) => spool.poll_room(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// What begins at byte `at`; nothing at the end.
    pub(super) fn poll_from(
        &mut self,
        cx: &mut Context<'_>,
        at: u64,
    ) -> Poll<io::Result<Option<Bytes>>> {
        match &mut self.spool {
            _ if at < self.memory.bytes() => Poll::Ready(Ok(self.memory.from(at))),
            Some(spool) => spool.poll_from(cx, at - self.memory.bytes()),
            None => Poll::Ready(Ok(None)),
        }
    }

    /// Another attempt reads from the beginning.
    pub(super) fn rewind(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.rewind();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(idempotency: Idempotency, attempts: u8, gathered: bool, expected: (u64, u64)) {
        let policy = BodyPolicy {
            replay_bytes: 10,
            spool_bytes: 100,
            ..BodyPolicy::default()
        };
        let caps = Caps::of(&policy, idempotency, attempts, gathered);
        let what = format!("{idempotency:?} {attempts} {gathered}");
        assert_eq!((caps.memory, caps.spool), expected, "{what}");
        assert_eq!(caps.are_none(), expected == (0, 0), "{what}");
    }

    #[test]
    fn kept_is_what_can_be_of_use() {
        for idempotency in [
            Idempotency::Safe,
            Idempotency::Idempotent,
            Idempotency::Keyed,
        ] {
            check(idempotency, 3, false, (10, 100));
            check(idempotency, 1, false, (0, 0));
        }
        check(Idempotency::No, 3, false, (10, 0));
        check(Idempotency::No, 1, false, (0, 0));
        check(Idempotency::No, 3, true, (10, 100));
        check(Idempotency::No, 1, true, (10, 100));
    }

    #[test]
    fn what_is_announced_too_long_is_not_kept() {
        let caps = Caps {
            memory: 10,
            spool: 100,
        };
        let check = |framing, expected| assert_eq!(caps.take(framing), expected, "{framing:?}");
        check(Framing::Length(110), true);
        check(Framing::Length(111), false);
        check(Framing::Length(u64::MAX), false);
        check(Framing::Chunked, true);
    }
}
