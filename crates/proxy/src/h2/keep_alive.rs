//! Finds out that an HTTP/2 upstream is gone though its connection says nothing.
//!
//! A PING goes out when streams are open and nothing was heard for a while, and at once when a
//! request was given up without an answer. Servers count pings as abuse (some gRPC servers close
//! after three in a row without other frames), so after two that only a pong answered the pace
//! drops to one in five minutes. The first goes out at the start, for the round trip.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};

use crate::clock::now;
use crate::wheel::Timer;

/// Silence before a ping.
const INTERVAL: Duration = Duration::from_secs(10);
/// Silence before a ping, once [`PATIENCE`] of them brought nothing but pongs.
const SLOW_INTERVAL: Duration = Duration::from_secs(301);
/// The pong must come within this.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pings in a row that only pongs answered before the pace drops.
const PATIENCE: u8 = 2;
/// A PING frame's size in bytes (RFC 9113 section 6.7).
const PING_FRAME: u64 = 17;

/// The state of one connection's pings.
pub(super) struct KeepAlive {
    ping: PingPong,
    timer: Timer,
    sent: Option<Instant>,
    /// Whether the timer runs towards the next ping.
    armed: bool,
    /// Bytes received when the timer was set.
    heard: u64,
    /// Bytes received when the last ping was sent; none before the first.
    pinged: Option<u64>,
    silent: u8,
}

/// What the connection's task knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// Bytes received so far.
    pub(super) received: u64,
    /// Whether streams are open.
    pub(super) busy: bool,
    /// Whether a request was given up without an answer since the last call.
    pub(super) doubted: bool,
}

/// What a ping told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The peer answered after so long.
    Alive(Duration),
    /// It did not answer in time.
    Dead,
}

impl KeepAlive {
    /// Pings by `ping`, with deadlines on `timer`.
    pub(super) fn new(ping: PingPong, timer: Timer) -> Self {
        Self {
            ping,
            timer,
            sent: None,
            armed: false,
            heard: 0,
            pinged: None,
            silent: 0,
        }
    }

    /// Sends what is due. Ready when a ping told something; to be called again then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, seen: Observed) -> Poll<Sign> {
        if self.sent.is_none() {
            ready!(self.poll_due(cx, seen));
            self.send(seen);
        }
        self.poll_pong(cx, seen)
    }

    fn poll_due(&mut self, cx: &mut Context<'_>, seen: Observed) -> Poll<()> {
        let urgent = seen.doubted && self.silent < PATIENCE;
        if self.pinged.is_none() || urgent {
            return Poll::Ready(());
        }
        if !seen.busy {
            self.disarm();
            return Poll::Pending;
        }
        if !self.armed {
            self.arm(seen.received);
        }
        loop {
            ready!(self.timer.poll_expired(cx));
            if self.heard == seen.received {
                return Poll::Ready(());
            }
            self.arm(seen.received);
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>, seen: Observed) -> Poll<Sign> {
        let Some(sent) = self.sent else {
            return Poll::Pending;
        };
        match self.ping.poll_pong(cx) {
            Poll::Ready(Ok(_)) => {
                self.sent = None;
                self.disarm();
                return Poll::Ready(Sign::Alive(now().saturating_duration_since(sent)));
            }
            // The connection has ended, which its own future tells better.
            Poll::Ready(Err(_)) => return Poll::Pending,
            Poll::Pending => {}
        }
        loop {
            ready!(self.timer.poll_expired(cx));
            if self.heard == seen.received {
                return Poll::Ready(Sign::Dead);
            }
            // Whatever else arrives is life too: the pong may queue behind a big body.
            self.wait(seen.received, TIMEOUT);
        }
    }

    fn send(&mut self, seen: Observed) {
        let quiet = self
            .pinged
            .is_some_and(|at| seen.received <= at + PING_FRAME);
        self.silent = if quiet {
            self.silent.saturating_add(1)
        } else {
            0
        };
        self.pinged = Some(seen.received);
        // Refused only when the connection has ended.
        let _sent = self.ping.send_ping(Ping::opaque());
        self.sent = Some(now());
        self.wait(seen.received, TIMEOUT);
    }

    fn arm(&mut self, received: u64) {
        self.armed = true;
        self.wait(
            received,
            if self.silent < PATIENCE {
                INTERVAL
            } else {
                SLOW_INTERVAL
            },
        );
    }

    fn wait(&mut self, received: u64, limit: Duration) {
        self.heard = received;
        self.timer.set(now() + limit);
    }

    fn disarm(&mut self) {
        self.armed = false;
        self.timer.clear();
    }
}
