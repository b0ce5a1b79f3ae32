//! What the acceptor and all connections of one link share: orders, shape, counters, and the wire's schedule.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::LinkSpec;
use crate::sync::locked;

/// No delay or jitter is longer, so that no due time runs off the clock.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// Delay and rate of a link, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// Time from one end to the other. More than a day counts as a day.
    pub delay_one_way: Duration,
    /// Up to this much more, drawn evenly for each read, at most a day. Order is kept.
    pub jitter: Duration,
    /// Bytes a second and direction, shared by all connections; `None` is no limit. 0 counts as 1.
    pub bandwidth: Option<u64>,
}

/// Whether and how bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Up,
    /// Connections stay and the kernel still completes new ones, but nothing passes either way, bytes already
    /// under way included. They go on when the link is up again, as TCP would resend them. Connections beyond
    /// the link's limit are reset even so.
    BlackHole,
    /// [`Mode::BlackHole`], and a connect hangs too: its SYN finds the accept queue full and is dropped. When the
    /// link is up again it succeeds with the kernel's next resend (1, 3, 7 s after the first).
    Unreachable,
    /// Every connection, open or new, gets RST.
    Reset,
    /// The port is closed: a connect gets ECONNREFUSED, open connections get RST.
    Refuse,
    /// Each connection passes this many more bytes towards the client, then ends in order (FIN).
    Truncate {
        /// Bytes counted per connection, from the switch or from its start.
        after: u64,
    },
}

impl Shape {
    fn bounded(self) -> Self {
        Self {
            delay_one_way: self.delay_one_way.min(DELAY_MAX),
            jitter: self.jitter.min(DELAY_MAX),
            ..self
        }
    }
}

impl Mode {
    /// Whether bytes may move at all.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Up | Self::Truncate { .. })
    }

    /// Whether open connections are torn down.
    pub(super) fn resets(self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }

    /// What is left to send to the client, when that is limited.
    pub(super) fn budget(self) -> Option<u64> {
        match self {
            Self::Truncate { after } => Some(after),
            _ => None,
        }
    }
}

/// A mode and the running number of the command that set it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) number: u64,
    pub(super) mode: Mode,
}

/// One of the two ways through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToUpstream,
    ToClient,
}

/// Counts since the start of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkStats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes taken from clients to be passed on, whatever became of them.
    pub bytes_from_client: u64,
    /// Bytes delivered to the upstream.
    pub bytes_to_upstream: u64,
    /// Bytes delivered to clients.
    pub bytes_to_client: u64,
    /// Bytes on the way now, both directions together.
    pub bytes_held: u64,
    /// Bytes read from one end that never reached the other.
    pub bytes_dropped: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    from_client: AtomicU64,
    to_upstream: AtomicU64,
    to_client: AtomicU64,
    held: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// Bytes have been read and are on the way.
    pub(super) fn held(&self, direction: Direction, bytes: usize) {
        self.held.fetch_add(bytes as u64, Relaxed);
        if direction == Direction::ToUpstream {
            self.from_client.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// Bytes on the way have arrived.
    pub(super) fn delivered(&self, direction: Direction, bytes: usize) {
        self.held.fetch_sub(bytes as u64, Relaxed);
        let counter = match direction {
            Direction::ToUpstream => &self.to_upstream,
            Direction::ToClient => &self.to_client,
        };
        counter.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes on the way were lost.
    pub(super) fn lost(&self, bytes: usize) {
        self.held.fetch_sub(bytes as u64, Relaxed);
        self.dropped(bytes);
    }

    /// Bytes were thrown away as they were read.
    pub(super) fn dropped(&self, bytes: usize) {
        self.dropped.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn stats(&self) -> LinkStats {
        LinkStats {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            bytes_from_client: self.from_client.load(Relaxed),
            bytes_to_upstream: self.to_upstream.load(Relaxed),
            bytes_to_client: self.to_client.load(Relaxed),
            bytes_held: self.held.load(Relaxed),
            bytes_dropped: self.dropped.load(Relaxed),
        }
    }
}

/// Everything the parts of one link have in common.
pub(super) struct Shared {
    pub(super) upstream: SocketAddr,
    pub(super) spec: LinkSpec,
    pub(super) shape: Mutex<Shape>,
    pub(super) counters: Counters,
    orders: watch::Sender<Order>,
    rng: Mutex<fastrand::Rng>,
    /// When each direction has finished sending what it was given, for the limit of rate.
    wires: [Mutex<Option<Instant>>; 2],
}

impl Shared {
    pub(super) fn new(upstream: SocketAddr, spec: LinkSpec) -> Self {
        Self {
            upstream,
            spec,
            shape: Mutex::new(spec.shape),
            counters: Counters::default(),
            orders: watch::Sender::new(Order {
                number: 0,
                mode: Mode::Up,
            }),
            rng: Mutex::new(fastrand::Rng::with_seed(spec.seed)),
            wires: [Mutex::new(None), Mutex::new(None)],
        }
    }

    /// Orders `mode` and returns the number of the order.
    pub(super) fn command(&self, mode: Mode) -> u64 {
        let mut number = 0;
        self.orders.send_modify(|order| {
            number = order.number + 1;
            *order = Order { number, mode };
        });
        number
    }

    pub(super) fn order(&self) -> Order {
        *self.orders.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Order> {
        self.orders.subscribe()
    }

    /// When the handshake of a connection that starts `now` would be over at the client.
    pub(super) fn established_at(&self, now: Instant) -> Instant {
        now + self.bounded_shape().delay_one_way * 2
    }

    /// When `bytes` that enter at `now` come out at the other end.
    pub(super) fn due(&self, direction: Direction, bytes: usize, now: Instant) -> Instant {
        let shape = self.bounded_shape();
        let sent = match shape.bandwidth {
            Some(rate) => self.serialise(direction, bytes, rate.max(1), now),
            None => now,
        };
        sent + shape.delay_one_way + shape.jitter.mul_f64(self.chance(shape.jitter))
    }

    fn bounded_shape(&self) -> Shape {
        locked(&self.shape).bounded()
    }

    fn chance(&self, jitter: Duration) -> f64 {
        if jitter.is_zero() {
            0.0
        } else {
            locked(&self.rng).f64()
        }
    }

    /// When the wire of `direction` has put `bytes` out, after everything it was given before.
    fn serialise(&self, direction: Direction, bytes: usize, rate: u64, now: Instant) -> Instant {
        let mut wire = locked(&self.wires[direction as usize]);
        let free = wire.map_or(now, |free| free.max(now));
        // One hour is longer than any test and far from the end of the clock's range.
        let seconds = (bytes as f64 / rate as f64).min(3600.0);
        let sent = free + Duration::from_secs_f64(seconds);
        *wire = Some(sent);
        sent
    }

    /// Counts a connection for as long as the guard lives; `None` when the link is full.
    pub(super) fn admit(self: &std::sync::Arc<Self>) -> Option<Open> {
        self.counters.connections.fetch_add(1, Relaxed);
        let before = self.counters.open.fetch_add(1, Relaxed);
        let open = Open(std::sync::Arc::clone(self));
        (before < self.spec.connections_max as u64).then_some(open)
    }
}

/// One open connection, counted.
pub(super) struct Open(std::sync::Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn shared(shape: Shape) -> Shared {
        let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
        Shared::new(
            upstream,
            LinkSpec {
                shape,
                ..LinkSpec::default()
            },
        )
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_due_after_the_delay() {
        let shared = shared(Shape {
            delay_one_way: 40 * MS,
            ..Shape::default()
        });
        let now = Instant::now();
        assert_eq!(
            shared.due(Direction::ToClient, 1_000_000, now),
            now + 40 * MS
        );
        assert_eq!(shared.established_at(now), now + 80 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wire_is_shared_per_direction() {
        let shape = Shape {
            bandwidth: Some(1000),
            ..Shape::default()
        };
        let shared = shared(shape);
        let now = Instant::now();
        assert_eq!(shared.due(Direction::ToClient, 100, now), now + 100 * MS);
        assert_eq!(shared.due(Direction::ToClient, 100, now), now + 200 * MS);
        assert_eq!(shared.due(Direction::ToUpstream, 100, now), now + 100 * MS);
        let later = now + 500 * MS;
        assert_eq!(
            shared.due(Direction::ToClient, 100, later),
            later + 100 * MS
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_delay_is_a_day() {
        let shape = Shape {
            delay_one_way: Duration::MAX,
            jitter: Duration::MAX,
            bandwidth: Some(0),
        };
        let shared = shared(shape);
        let now = Instant::now();
        assert_eq!(shared.established_at(now), now + 2 * DELAY_MAX);
        assert!(shared.due(Direction::ToClient, usize::MAX, now) <= now + 3 * DELAY_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_only_adds() {
        let shape = Shape {
            delay_one_way: 10 * MS,
            jitter: 5 * MS,
            bandwidth: None,
        };
        let shared = shared(shape);
        let now = Instant::now();
        let mut extra: Vec<_> = (0..100)
            .map(|_| shared.due(Direction::ToClient, 1, now) - now)
            .collect();
        extra.sort();
        assert!(extra[0] >= 10 * MS && extra[99] <= 15 * MS && extra[0] < extra[99]);
    }
}
