//! A connection over which an endpoint can be asked, whatever it speaks.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::answer::Answer;
use crate::error::ProbeError;
use crate::request::Request;
use crate::{http1, http2};

/// A connection to one endpoint, that of its checks alone. Small while nobody asks anything: a
/// socket, and with TLS its session.
pub(crate) enum Link {
    /// HTTP/1.1.
    Plain(TcpStream),
    /// HTTP/1.1 under TLS. Boxed: ten times the size of the other.
    Secured(Box<TlsStream<TcpStream>>),
    /// HTTP/2, under TLS or not.
    Http2(http2::Session),
}

impl Link {
    /// Sends `request` and reads the answer.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Result<Answer, ProbeError> {
        match self {
            Self::Plain(stream) => http1::exchange(stream, request).await,
            Self::Secured(stream) => http1::exchange(stream, request).await,
            Self::Http2(session) => {
                Box::pin(session.exchange(request.http2()?, request.keep)).await
            }
        }
    }

    /// Whether it can be asked over, as far as anybody knows: the endpoint has neither ended it nor
    /// said anything unasked.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => http1::is_quiet(stream).await,
            Self::Secured(stream) => http1::is_quiet(stream).await,
            Self::Http2(session) => session.is_quiet().await,
        }
    }
}
