//! What is wanted of failover: when a request is tried again, what is kept of its body for that, how
//! an answer is continued elsewhere, and when a second attempt runs beside the first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// When a request may be tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. 1 to 16; 1 is "never again".
    pub attempts: u8,
    /// Which failures qualify.
    pub on: RetryOn,
    /// Limit of one attempt up to the response's head: connecting and, from the moment at which it has
    /// sent the whole request, the wait for the head, together; and, in between, every single stretch in
    /// which the upstream takes nothing of what is there to be sent. An upload that moves is no wait, and
    /// what the client takes for it does not count. It ends an attempt for the sake of a next one that is
    /// decided and paid for; without one the attempt stays. None: the request's own deadline.
    pub per_try: Option<Duration>,
    /// Limit from the moment at which an attempt has sent the whole request to the response's head.
    /// None: only the others.
    pub first_byte: Option<Duration>,
    /// How long to wait before a retry.
    pub backoff: Backoff,
    /// Tokens for retries within a region, as a part of requests (0.2 for 20 %).
    pub budget: f64,
    /// Tokens for retries in another region, as a part of requests (1.0 for 100 %).
    pub cross_region_budget: f64,
    /// What becomes of a request that may have been processed and must not be sent again, when its
    /// region goes down or its attempt runs out of time.
    pub on_unknown_outcome: UnknownOutcome,
}

/// The wait before a retry: drawn uniformly from zero to a bound that doubles ("full jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first retry; the bound of retry `n` is `(2^n - 1)` times this.
    pub base: Duration,
    /// No bound is longer.
    pub max: Duration,
}

/// The failures that `retry.on` lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection could be made.
    pub connect: bool,
    /// The connection ended before the response's head.
    pub reset: bool,
    /// The per-try limit passed before the response's head.
    pub timeout: bool,
    /// The answer was not valid HTTP.
    pub bad_response: bool,
    /// Statuses, sorted.
    pub statuses: Box<[u16]>,
    /// Codes of gRPC (0 to 16), sorted: those that a call ended with before its first message.
    pub grpc: Box<[u8]>,
}

/// What becomes of a request whose outcome cannot be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// Its attempt stays open until the request's deadline: a path that is frozen may thaw.
    #[default]
    Wait,
    /// It fails at once.
    Fail,
}

/// What is kept of one request's body, so that it can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyPolicy {
    /// Bytes kept in memory per request.
    pub replay_bytes: u64,
    /// Bytes kept on disk per request, beyond those in memory. 0: none. What is longer than both
    /// streams on and can no longer be replayed.
    pub spool_bytes: u64,
    /// A request that must not be sent twice is read whole before it is sent, if its body is announced
    /// with at most so many bytes. 0: never.
    pub gather_bytes: u64,
    /// Largest request body, if limited; more is answered 413.
    pub max_bytes: Option<u64>,
}

/// What all requests of the process together may keep of their bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes on disk.
    pub spool_bytes: u64,
    /// Where spooled bodies lie, as files without a name.
    pub spool_dir: Arc<Path>,
}

/// Where a request that may have been processed may be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayScope {
    /// Safe and idempotent requests anywhere; what only its key makes replayable within its region,
    /// because another one has usually not seen the key.
    #[default]
    Auto,
    /// Within its region.
    Region,
    /// Anywhere that is eligible.
    Global,
}

/// Whether and by what an answer is continued from another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Whether it is continued at all.
    pub enabled: bool,
    /// Whether `Last-Modified` means the same in all regions, and so counts where there is no
    /// `ETag`.
    pub last_modified: bool,
}

/// When a second attempt is made beside a slow one, for requests that are safe and have no body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// After how long.
    pub after: HedgeAfter,
    /// Hedges, as a part of the route's requests (0.05 for 5 %).
    pub budget: f64,
    /// Where to.
    pub to: HedgeTo,
}

/// After how long without an answer a hedge is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    /// So long.
    Fixed(Duration),
    /// So many of the route's requests (0.95 for 95 %) were answered earlier, lately.
    Percentile(f64),
}

/// Where a hedge goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HedgeTo {
    /// Another endpoint of the same region; another region if there is none.
    #[default]
    Endpoint,
    /// Another region; another endpoint if there is none.
    Region,
}

impl RetryOn {
    /// Whether an answer with this status counts as a failure.
    pub fn lists(&self, status: u16) -> bool {
        self.statuses.binary_search(&status).is_ok()
    }

    /// Whether a call of gRPC that ended so before its first message counts as a failure.
    pub fn lists_grpc(&self, code: u8) -> bool {
        self.grpc.binary_search(&code).is_ok()
    }
}

impl Default for RetryPolicy {
    /// Three attempts, for no failure unless one is listed; budgets of 20 % and 100 %.
    fn default() -> Self {
        Self {
            attempts: 3,
            on: RetryOn::default(),
            per_try: None,
            first_byte: None,
            backoff: Backoff::default(),
            budget: 0.2,
            cross_region_budget: 1.0,
            on_unknown_outcome: UnknownOutcome::Wait,
        }
    }
}

impl Default for BodyPolicy {
    /// 1 MiB in memory, nothing on disk, nothing gathered, no limit.
    fn default() -> Self {
        Self {
            replay_bytes: 1 << 20,
            spool_bytes: 0,
            gather_bytes: 0,
            max_bytes: None,
        }
    }
}

impl Default for Backoff {
    /// 25 ms, at most 250 ms (Envoy's).
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
        }
    }
}

impl Default for Resume {
    /// By strong `ETag` alone.
    fn default() -> Self {
        Self {
            enabled: true,
            last_modified: false,
        }
    }
}

impl Default for ReplayLimits {
    /// 256 MiB in memory, 4 GiB in `/var/tmp`, which is a disk where `/tmp` often is memory.
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            spool_bytes: 4 << 30,
            spool_dir: Path::new("/var/tmp").into(),
        }
    }
}
