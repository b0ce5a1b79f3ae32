//! Who ended an attempt before its answer, and what that says of the place where it was made.

use tidegate_core::Termination;
use tidegate_core::cell::ErrorClass;
use tidegate_core::retry::{Failure, NextTry, Phase, WhyNot};

use crate::body::UploadError;
use crate::exchange::ExchangeError;
use crate::patience::End;
use crate::upstream::connect::{ConnectError, ConnectErrorKind};

/// Who ended an attempt.
pub(crate) enum EndedBy {
    Client(Termination),
    Upload(UploadError),
    /// Given up, because of what became of the region: for the next one, which is chosen and paid for,
    /// or for none.
    GivenUp {
        fault: Fault,
        next: Result<NextTry, WhyNot>,
    },
    Upstream(Fault),
}

/// What an upstream did to an attempt.
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    pub(crate) phase: Phase,
    /// What it says of the place; none if it says nothing.
    pub(crate) says: Option<ErrorClass>,
    /// What a person needs to know.
    pub(crate) detail: String,
}

impl EndedBy {
    /// Connecting took until this limit; `waits`: for a connection that others use, perhaps.
    pub(crate) fn no_connection(end: End, waits: bool) -> Self {
        let (whole, detail) = match end {
            End::PerTry => (!waits, "no connection within per_try"),
            End::Connect => (true, "no connection within connect_timeout"),
            _ => (false, "no connection before the request's deadline"),
        };
        Self::Upstream(Fault {
            failure: Failure::ConnectTimeout,
            phase: Phase::Connecting,
            says: whole.then_some(ErrorClass::Connect),
            detail: detail.to_owned(),
        })
    }

    /// What an upstream did, if it was one.
    pub(crate) fn fault(self) -> Option<Fault> {
        match self {
            Self::GivenUp { fault, .. } | Self::Upstream(fault) => Some(fault),
            Self::Client(_) | Self::Upload(_) => None,
        }
    }

    /// The answer broke the rule of this name.
    pub(crate) fn bad(rule: &str) -> Self {
        Fault::of(Failure::BadResponse, Phase::HeadReceived, rule.to_owned()).into()
    }
}

impl Fault {
    /// A failure that says of the place what its kind says.
    pub(crate) fn of(failure: Failure, phase: Phase, detail: String) -> Self {
        Self {
            failure,
            phase,
            says: class_of(failure),
            detail,
        }
    }
}

impl From<Fault> for EndedBy {
    fn from(fault: Fault) -> Self {
        Self::Upstream(fault)
    }
}

impl From<ConnectError> for EndedBy {
    fn from(error: ConnectError) -> Self {
        let mut fault = Fault::of(error.failure(), Phase::Connecting, error.to_string());
        if error.kind == ConnectErrorKind::Tls {
            fault.says = Some(ErrorClass::Tls);
        }
        fault.into()
    }
}

impl From<ExchangeError> for EndedBy {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Client(error) => Self::Upload(error),
            ExchangeError::Upstream {
                failure,
                phase,
                detail,
            } => Fault::of(failure, phase, detail).into(),
        }
    }
}

/// What a failure says of the place where it happened; nothing if it is full, or was given up.
fn class_of(failure: Failure) -> Option<ErrorClass> {
    Some(match failure {
        Failure::Full | Failure::RegionDown => return None,
        Failure::Connect | Failure::ConnectTimeout => ErrorClass::Connect,
        Failure::Reset => ErrorClass::Reset,
        Failure::Timeout => ErrorClass::Timeout,
        Failure::BadResponse | Failure::Status(_) | Failure::Grpc(_) => ErrorClass::ServerError,
        Failure::Refused => ErrorClass::Declared,
    })
}
