//! Why a probe failed, in words that go into events and logs.

use std::error::Error;
use std::io;
use std::time::Duration;

use tidegate_http1::{BodyError, ResponseError};
use tidegate_telemetry::labels::ProbeResult;

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The endpoint's name has no address.
    #[error("cannot resolve the name: {0}")]
    Resolve(String),
    /// No connection to any of the endpoint's addresses.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The TLS handshake failed, or cannot be begun with this configuration.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Not even a connection within the probe's limit.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// Connected, but not done within the probe's limit.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The answer carries a status that is not expected.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer's fields or content are not what is expected.
    #[error("the answer is not as expected: {0}")]
    Content(String),
    /// The health protocol of gRPC says that it does not serve.
    #[error("gRPC health: {0}")]
    Grpc(String),
    /// The answer is not valid HTTP, or ended early.
    #[error("no valid answer: {0}")]
    Protocol(String),
    /// What is configured, or came from an earlier answer, cannot be sent.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// A step of a transaction failed.
    #[error("step {step} of {steps}: {error}")]
    Step {
        /// Which, from 1.
        step: usize,
        /// How many there are.
        steps: usize,
        /// Why.
        error: Box<ProbeError>,
    },
}

impl ProbeError {
    /// The label for metrics.
    pub(crate) fn label(&self) -> ProbeResult {
        match self {
            Self::Resolve(_) => ProbeResult::Resolve,
            Self::Connect(_) => ProbeResult::Connect,
            Self::Tls(_) => ProbeResult::Tls,
            Self::ConnectTimeout(_) | Self::Timeout(_) => ProbeResult::Timeout,
            Self::Status(_) | Self::Grpc(_) => ProbeResult::Status,
            Self::Content(_) => ProbeResult::Content,
            Self::Protocol(_) => ProbeResult::Protocol,
            Self::Request(_) => ProbeResult::Request,
            Self::Step { error, .. } => error.label(),
        }
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Protocol(format!("the connection broke: {error}"))
    }
}

impl From<ResponseError> for ProbeError {
    fn from(error: ResponseError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<BodyError> for ProbeError {
    fn from(error: BodyError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<hyper::Error> for ProbeError {
    fn from(error: hyper::Error) -> Self {
        Self::Protocol(chain(&error))
    }
}

/// An error with its causes, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
