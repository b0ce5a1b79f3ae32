//! One probe of one endpoint, from name to answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body_util::Empty;
use tidegate_core::plan::{ConnectionPolicy, Probe, ProbeKind, UpstreamProtocol};
use tidegate_tls::InvalidTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::connect::connect;
use crate::error::ProbeError;
use crate::exchange::{Ask, http1, http2};
use crate::tls::Tls;

/// What is asked of the endpoints of one upstream, ready to be asked.
pub(crate) struct Check {
    probe: Probe,
    connection: ConnectionPolicy,
    tls: Option<Result<Tls, InvalidTls>>,
}

/// What a probe found.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The time to connect, if it came to that.
    pub(crate) rtt: Option<Duration>,
    /// The time from request to answer, if the probe asks something and was answered.
    pub(crate) answered: Option<Duration>,
    /// Whether everything was as expected.
    pub(crate) result: Result<(), ProbeError>,
}

impl Check {
    /// The check for `probe` over connections made as `connection` says. TLS that cannot be set
    /// up fails every probe, and says why.
    pub(crate) fn new(probe: Probe, connection: ConnectionPolicy) -> Self {
        let tls = connection
            .tls
            .as_ref()
            .map(|tls| Tls::new(tls, connection.protocol));
        Self {
            probe,
            connection,
            tls,
        }
    }

    /// Whether this is the check for the same probe and connections.
    pub(crate) fn is_for(&self, probe: &Probe, connection: &ConnectionPolicy) -> bool {
        self.probe == *probe && self.connection == *connection
    }

    /// The probe as configured.
    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Probes the endpoint at `address` (`host:port`), within the probe's limit.
    pub(crate) async fn run(&self, address: &str) -> Seen {
        let deadline = Instant::now() + self.probe.timeout;
        let mut rtt = None;
        let whole = timeout_at(deadline, self.visit(address, deadline, &mut rtt)).await;
        let result = whole.unwrap_or_else(|_| Err(self.late(rtt.is_some())));
        let answered = result.as_ref().ok().copied().flatten();
        Seen {
            rtt,
            answered,
            result: result.map(drop),
        }
    }

    fn late(&self, connected: bool) -> ProbeError {
        let limit = self.probe.timeout;
        if connected {
            ProbeError::Timeout(limit)
        } else {
            ProbeError::ConnectTimeout(limit)
        }
    }

    async fn visit(
        &self,
        address: &str,
        deadline: Instant,
        rtt: &mut Option<Duration>,
    ) -> Result<Option<Duration>, ProbeError> {
        let stream = connect(address, deadline, rtt).await?;
        match &self.tls {
            None => self.plain(stream, address).await,
            Some(Ok(tls)) => {
                self.secured(tls.handshake(stream, address).await?, address)
                    .await
            }
            Some(Err(problem)) => Err(ProbeError::Tls(problem.to_string())),
        }
    }

    async fn plain(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> Result<Option<Duration>, ProbeError> {
        let h2 = self.connection.protocol == UpstreamProtocol::Http2;
        self.ask(stream, address, h2).await
    }

    async fn secured(
        &self,
        stream: TlsStream<TcpStream>,
        address: &str,
    ) -> Result<Option<Duration>, ProbeError> {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !h2 && self.connection.protocol == UpstreamProtocol::Http2 {
            return Err(ProbeError::Tls(
                "the endpoint does not agree on h2".to_owned(),
            ));
        }
        self.ask(stream, address, h2).await
    }

    /// Asks what the probe asks; says how long the answer took.
    async fn ask<S>(
        &self,
        stream: S,
        address: &str,
        h2: bool,
    ) -> Result<Option<Duration>, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ProbeKind::Http { path, host, expect } = &self.probe.kind else {
            return Ok(None);
        };
        let asked = Instant::now();
        let host = host.as_deref().unwrap_or(address);
        let status = if h2 {
            http2(stream, self.ask_h2(path, host)?).await?
        } else {
            http1(stream, ask_h1(path, host)?).await?
        };
        let expected = expect
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&status));
        if expected {
            Ok(Some(asked.elapsed()))
        } else {
            Err(ProbeError::Status(status))
        }
    }

    fn ask_h2(&self, path: &str, host: &str) -> Result<Ask, ProbeError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        build(Request::get(format!("{scheme}://{host}{path}")).version(Version::HTTP_2))
    }
}

fn ask_h1(path: &str, host: &str) -> Result<Ask, ProbeError> {
    build(
        Request::get(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "close"),
    )
}

fn build(builder: http::request::Builder) -> Result<Ask, ProbeError> {
    const WHO: HeaderValue =
        HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"), " probe"));
    builder
        .header(header::USER_AGENT, WHO)
        .body(Empty::<Bytes>::new())
        .map_err(|error| ProbeError::Protocol(format!("the request cannot be made: {error}")))
}
