//! The closed sets of label values: how attempts, probes, reloads and handshakes end.
//!
//! Counters are arrays indexed by these, so each set knows its length and its words. The access
//! log uses the same words.

use tidegate_core::retry::{Destination, Failure, Phase, WhyNot};
use tidegate_core::{Termination, termination};

/// A closed set of label values that can index an array.
pub trait Label: Copy + 'static {
    /// Every value; a value's position is its index.
    const ALL: &'static [Self];

    /// The position in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// The word for metrics, logs and documents.
    fn word(self) -> &'static str;
}

macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

mod failover;
mod health;
mod traffic;

pub use failover::{HedgeCause, HedgeResult, ReplayLost, ReplayStore, ResumeResult};
pub use health::{Cause, RegionTurn};
pub use traffic::{AffinityResult, MirrorResult, StartResult};

labels! {
    /// How an attempt ended.
    AttemptOutcome {
        /// The head came, and its status was passed on.
        Answered = "answered",
        /// No connection: refused, unreachable, name not found, TLS failed.
        Connect = "connect",
        /// No connection within the connect limit.
        ConnectTimeout = "connect_timeout",
        /// The connection ended before the response's head.
        Reset = "reset",
        /// The per-try limit passed before the response's head.
        Timeout = "timeout",
        /// The answer was not valid HTTP.
        BadResponse = "bad_response",
        /// The answer carried a status that `retry.on` lists.
        Status = "status",
        /// A call of gRPC ended, before its first message, with a code that `retry.on` lists.
        GrpcStatus = "grpc_status",
        /// The upstream said that it did not process the stream.
        Refused = "refused",
        /// As many connections were open as `circuit_breaker` allows.
        Full = "full",
        /// The head came, but the body ended early.
        Truncated = "truncated",
        /// It was to continue an answer, and did not give what continues it.
        Mismatch = "mismatch",
        /// The region went down while the attempt was under way.
        RegionDown = "region_down",
        /// Its region had fallen silent, and a hedge in another one answered first.
        Hedged = "hedged",
        /// Given up because nobody waited for it any more.
        Abandoned = "abandoned",
    }
}

labels! {
    /// The class of a response's status.
    StatusClass {
        /// No answer was sent.
        None = "none",
        /// 100 to 199: an upgrade.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 and above.
        ServerError = "5xx",
    }
}

labels! {
    /// A bound of `circuit_breaker`.
    Limit {
        /// Connections open, for as long as a request could wait for one.
        MaxConnections = "max_connections",
        /// Requests that wait for a connection.
        MaxPending = "max_pending",
        /// Requests under way.
        MaxRequests = "max_requests",
        /// Retries under way.
        MaxRetries = "max_retries",
    }
}

labels! {
    /// What was injected into a request.
    FaultKind {
        /// A wait before anything was attempted for it.
        Delay = "delay",
        /// An error, instead of an attempt.
        Abort = "abort",
    }
}

labels! {
    /// Where a retry went, seen from the attempt before it.
    RetryScope {
        /// The same region.
        InRegion = "in_region",
        /// Another region: a failover.
        CrossRegion = "cross_region",
    }
}

labels! {
    /// How an active probe ended.
    ProbeResult {
        /// As expected.
        Success = "success",
        /// No connection.
        Connect = "connect",
        /// The endpoint's name could not be resolved.
        Resolve = "resolve",
        /// The TLS handshake failed.
        Tls = "tls",
        /// Not complete within the time limit.
        Timeout = "timeout",
        /// Another status than expected; by gRPC, not serving.
        Status = "status",
        /// Other fields or another content than expected.
        Content = "content",
        /// The answer was not valid HTTP, or the connection ended within it.
        Protocol = "protocol",
        /// The request could not be made.
        Request = "request",
    }
}

labels! {
    /// What TLS a client's connection speaks.
    TlsVersion {
        /// Plaintext.
        None = "none",
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

labels! {
    /// Why a TLS handshake with a client failed.
    HandshakeFailure {
        /// Not done within the limit.
        Timeout = "timeout",
        /// The client went away.
        Closed = "closed",
        /// What the client sent was not TLS, or nothing could be agreed on.
        Protocol = "protocol",
        /// The client's certificate was missing or not accepted.
        ClientCertificate = "client_certificate",
        /// The client refused our certificate, or aborted with another alert.
        Alert = "alert",
    }
}

labels! {
    /// How a reload ended.
    ReloadResult {
        /// The new plan serves.
        Applied = "applied",
        /// The content was that of the serving plan.
        Unchanged = "unchanged",
        /// Problems were found; nothing changed.
        Refused = "refused",
    }
}

labels! {
    /// Who wanted a rollback.
    RollbackCause {
        /// Somebody asked for it.
        Operator = "operator",
        /// The share of requests that failed rose beyond its limit.
        Errors = "errors",
        /// Requests took longer than the limit allows.
        Latency = "latency",
    }
}

impl From<Failure> for AttemptOutcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect => Self::Connect,
            Failure::ConnectTimeout => Self::ConnectTimeout,
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
            Failure::BadResponse => Self::BadResponse,
            Failure::Status(_) => Self::Status,
            Failure::Grpc(_) => Self::GrpcStatus,
            Failure::Refused => Self::Refused,
            Failure::RegionDown => Self::RegionDown,
            Failure::Full => Self::Full,
        }
    }
}

impl From<Destination> for RetryScope {
    fn from(to: Destination) -> Self {
        match to {
            Destination::OtherRegion => Self::CrossRegion,
            Destination::OtherEndpoint | Destination::SameEndpoint => Self::InRegion,
        }
    }
}

impl From<Option<http::StatusCode>> for StatusClass {
    fn from(status: Option<http::StatusCode>) -> Self {
        match status.map(|status| status.as_u16()) {
            None => Self::None,
            Some(..200) => Self::Informational,
            Some(200..300) => Self::Success,
            Some(300..400) => Self::Redirection,
            Some(400..500) => Self::ClientError,
            Some(500..) => Self::ServerError,
        }
    }
}

impl Label for Termination {
    const ALL: &'static [Self] = &termination::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Label for WhyNot {
    const ALL: &'static [Self] = &[
        Self::NotListed,
        Self::NotIdempotent,
        Self::BodyLost,
        Self::Committed,
        Self::Attempts,
        Self::Deadline,
        Self::Budget,
        Self::NoCandidate,
        Self::RetriesFull,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyLost => "body_lost",
            Self::Committed => "committed",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::NoCandidate => "no_candidate",
            Self::RetriesFull => "retries_full",
        }
    }
}

impl Label for Phase {
    const ALL: &'static [Self] = &[
        Self::Connecting,
        Self::NothingSent,
        Self::Sent,
        Self::HeadReceived,
        Self::BodyUnderWay,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::NothingSent => "nothing_sent",
            Self::Sent => "sent",
            Self::HeadReceived => "head_received",
            Self::BodyUnderWay => "body_under_way",
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::budget::Purse;

    use super::*;

    fn check<L: Label>() {
        for (position, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), position, "{}", label.word());
        }
        let words: std::collections::HashSet<_> = L::ALL.iter().map(|label| label.word()).collect();
        assert_eq!(words.len(), L::ALL.len(), "words are unique");
    }

    #[test]
    fn positions_are_indices_and_words_are_unique() {
        check::<AttemptOutcome>();
        check::<StatusClass>();
        check::<RetryScope>();
        check::<ProbeResult>();
        check::<RegionTurn>();
        check::<Cause>();
        check::<ReplayStore>();
        check::<ReplayLost>();
        check::<HedgeCause>();
        check::<HedgeResult>();
        check::<ResumeResult>();
        check::<Purse>();
        check::<MirrorResult>();
        check::<AffinityResult>();
        check::<StartResult>();
        check::<TlsVersion>();
        check::<HandshakeFailure>();
        check::<ReloadResult>();
        check::<Termination>();
        check::<WhyNot>();
        check::<Phase>();
    }

    #[test]
    fn statuses_fall_into_their_class() {
        let check = |status: u16, word: &str| {
            let class = StatusClass::from(Some(http::StatusCode::from_u16(status).unwrap()));
            assert_eq!(class.word(), word, "{status}");
        };
        check(101, "1xx");
        check(200, "2xx");
        check(299, "2xx");
        check(304, "3xx");
        check(404, "4xx");
        check(503, "5xx");
        check(999, "5xx");
        assert_eq!(StatusClass::from(None).word(), "none");
    }
}
