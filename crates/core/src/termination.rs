//! Why a request ended: one word for every request, the same in the log, the metrics and the
//! problem document.

use http::StatusCode;
use serde::Serialize;

/// The termination reason of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Termination {
    /// The answer was delivered whole.
    Completed,
    /// An upgraded connection (WebSocket, CONNECT) ended.
    Tunnelled,
    /// A stream that had to begin elsewhere was ended so that it begins anew in a region that is back.
    DrainedHome,
    /// The client went away first.
    ClientGone,
    /// The request was not valid HTTP, or broke a limit.
    BadRequest,
    /// The client did not send its request's head or body in time.
    ClientTimeout,
    /// No route matches.
    NoRoute,
    /// Residency leaves no region. Never a spill.
    ResidencyBlocked,
    /// Every eligible region is down or draining.
    NoHealthyRegion,
    /// The place that the client is strictly bound to does not serve.
    AffinityLost,
    /// The region that the request must not leave, by its route's `isolation`, does not serve.
    Isolated,
    /// Every region that could have served is at a bound of `circuit_breaker`.
    UpstreamFull,
    /// No connection to any candidate.
    ConnectFailed,
    /// The upstream's connection ended before its answer's head.
    UpstreamReset,
    /// The upstream's connection ended within the answer's body.
    UpstreamTruncated,
    /// The upstream's answer was not valid HTTP.
    BadResponse,
    /// The upstream did not answer in time; nothing was sent twice.
    UpstreamTimeout,
    /// The request's deadline passed.
    DeadlineExceeded,
    /// The body did not move for the idle limit.
    IdleTimeout,
    /// The retry budget was empty.
    BudgetExhausted,
    /// A limit of this process was reached.
    Overloaded,
    /// The request body is larger than allowed.
    BodyTooLarge,
    /// The process is shutting down.
    ShuttingDown,
    /// The upstream answered with a status that `retry.on` lists and no attempt was left; its
    /// answer was passed on.
    StatusPassed,
    /// Its route sent the client elsewhere.
    Redirected,
    /// Its route answered by itself.
    Responded,
    /// It was answered with an injected error.
    FaultInjected,
}

/// Every termination reason, for metrics and documents.
pub const ALL: [Termination; 27] = [
    Termination::Completed,
    Termination::Tunnelled,
    Termination::DrainedHome,
    Termination::ClientGone,
    Termination::BadRequest,
    Termination::ClientTimeout,
    Termination::NoRoute,
    Termination::ResidencyBlocked,
    Termination::NoHealthyRegion,
    Termination::AffinityLost,
    Termination::Isolated,
    Termination::UpstreamFull,
    Termination::ConnectFailed,
    Termination::UpstreamReset,
    Termination::UpstreamTruncated,
    Termination::BadResponse,
    Termination::UpstreamTimeout,
    Termination::DeadlineExceeded,
    Termination::IdleTimeout,
    Termination::BudgetExhausted,
    Termination::Overloaded,
    Termination::BodyTooLarge,
    Termination::ShuttingDown,
    Termination::StatusPassed,
    Termination::Redirected,
    Termination::Responded,
    Termination::FaultInjected,
];

impl Termination {
    /// The word for logs, metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Tunnelled => "tunnelled",
            Self::DrainedHome => "drained_home",
            Self::ClientGone => "client_gone",
            Self::BadRequest => "bad_request",
            Self::ClientTimeout => "client_timeout",
            Self::NoRoute => "no_route",
            Self::ResidencyBlocked => "residency_blocked",
            Self::NoHealthyRegion => "no_healthy_region",
            Self::AffinityLost => "affinity_lost",
            Self::Isolated => "isolated",
            Self::UpstreamFull => "upstream_full",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::BadResponse => "bad_response",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::IdleTimeout => "idle_timeout",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Overloaded => "overloaded",
            Self::BodyTooLarge => "body_too_large",
            Self::ShuttingDown => "shutting_down",
            Self::StatusPassed => "status_passed",
            Self::Redirected => "redirected",
            Self::Responded => "responded",
            Self::FaultInjected => "fault_injected",
        }
    }

    /// The status that a local reply for this reason carries.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Completed | Self::Tunnelled | Self::DrainedHome | Self::Responded => {
                StatusCode::OK
            }
            Self::Redirected => StatusCode::PERMANENT_REDIRECT,
            Self::BadRequest | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UpstreamReset
            | Self::UpstreamTruncated
            | Self::BadResponse
            | Self::StatusPassed => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout | Self::DeadlineExceeded | Self::IdleTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ResidencyBlocked
            | Self::NoHealthyRegion
            | Self::AffinityLost
            | Self::Isolated
            | Self::UpstreamFull
            | Self::ConnectFailed
            | Self::BudgetExhausted
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::FaultInjected => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the user lost an answer that the service owed: what `tidegate_requests_lost_total`
    /// counts. The client's own mistakes and absences are not losses, nor is what was injected.
    pub fn lost(self) -> bool {
        matches!(
            self,
            Self::ResidencyBlocked
                | Self::NoHealthyRegion
                | Self::AffinityLost
                | Self::Isolated
                | Self::UpstreamFull
                | Self::ConnectFailed
                | Self::UpstreamReset
                | Self::UpstreamTruncated
                | Self::BadResponse
                | Self::UpstreamTimeout
                | Self::DeadlineExceeded
                | Self::IdleTimeout
                | Self::BudgetExhausted
                | Self::Overloaded
                | Self::ShuttingDown
                | Self::StatusPassed
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_one_word_which_is_also_its_serialised_form() {
        let words: HashSet<_> = ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), ALL.len());
        for reason in ALL {
            let json = serde_json::to_string(&reason).expect("a word");
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
    }

    #[test]
    fn what_is_lost_is_the_services_debt_and_answered_with_5xx() {
        for reason in ALL {
            let injected = reason == Termination::FaultInjected;
            assert_eq!(
                reason.lost(),
                reason.status().is_server_error() && !injected,
                "{}",
                reason.as_str()
            );
        }
    }
}
