//! One probe of one endpoint, from name to answer.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{ConnectionPolicy, HttpProbe, Probe, ProbeKind, UpstreamProtocol};
use tidegate_tls::InvalidTls;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::ask::Ask;
use crate::connect::connect;
use crate::error::ProbeError;
use crate::http2::Session;
use crate::link::Link;
use crate::tls::Tls;

/// How the endpoints of one upstream are probed.
pub(crate) struct Check {
    probe: Probe,
    connection: ConnectionPolicy,
    tls: Option<Result<Tls, InvalidTls>>,
}

/// What a probe found.
pub(crate) struct Seen {
    /// The time to connect, if a new connection was needed and made.
    pub(crate) rtt: Option<Duration>,
    /// The time from request to answer, if the probe asks something and was answered.
    pub(crate) answered: Option<Duration>,
    /// Whether everything was as expected.
    pub(crate) result: Result<(), ProbeError>,
    /// The connection, if the next probe may use it.
    pub(crate) link: Option<Link>,
}

/// An expected answer.
struct Answered {
    took: Duration,
    link: Option<Link>,
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

    /// What is asked of the endpoint at `address` (`host:port`).
    pub(crate) fn ask(&self, address: Arc<str>) -> Ask {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ask::new(address, &self.probe.kind, scheme)
    }

    /// Probes an endpoint, within the probe's limit; over `kept` if that still serves.
    pub(crate) async fn run(&self, ask: &Ask, kept: Option<Link>) -> Seen {
        let started = Instant::now();
        if let Some(mut link) = kept
            && link.is_quiet().await
        {
            return self.again(ask, link, started).await;
        }
        Box::pin(self.afresh(ask, started)).await
    }

    /// Asks over a kept connection. That it fails there says nothing yet: the endpoint may just
    /// have ended it, and a network that has forgotten it stays silent. So a failure is followed
    /// by a new connection at once, and silence after half the time, while the answer may still
    /// come.
    async fn again(&self, ask: &Ask, link: Link, started: Instant) -> Seen {
        let mut kept = pin!(self.exchange(ask, link));
        match timeout_at(started + self.probe.timeout / 2, &mut kept).await {
            Ok(Ok(answered)) => Seen::answered(None, answered),
            Ok(Err(_)) => Box::pin(self.afresh(ask, started)).await,
            Err(_) => Box::pin(self.race(kept, ask, started)).await,
        }
    }

    async fn race(
        &self,
        kept: impl Future<Output = Result<Answered, ProbeError>>,
        ask: &Ask,
        started: Instant,
    ) -> Seen {
        tokio::select! {
            biased;
            Ok(answered) = kept => Seen::answered(None, answered),
            seen = self.afresh(ask, started) => seen,
        }
    }

    /// Asks over a new connection.
    async fn afresh(&self, ask: &Ask, started: Instant) -> Seen {
        let deadline = started + self.probe.timeout;
        let mut rtt = None;
        let whole = timeout_at(deadline, self.visit(ask, deadline, &mut rtt)).await;
        match whole.unwrap_or_else(|_| Err(self.late(rtt.is_some()))) {
            Ok(Some(answered)) => Seen::answered(rtt, answered),
            Ok(None) => Seen::unanswered(rtt, Ok(())),
            Err(error) => Seen::unanswered(rtt, Err(error)),
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
        ask: &Ask,
        deadline: Instant,
        rtt: &mut Option<Duration>,
    ) -> Result<Option<Answered>, ProbeError> {
        let stream = connect(ask.address(), deadline, rtt).await?;
        let link = match &self.tls {
            None => self.plain(stream).await?,
            Some(Ok(tls)) => {
                self.secured(tls.handshake(stream, ask.address()).await?)
                    .await?
            }
            Some(Err(problem)) => return Err(ProbeError::Tls(problem.to_string())),
        };
        match link {
            None => Ok(None),
            Some(link) => self.exchange(ask, link).await.map(Some),
        }
    }

    /// What to ask over, if anything is asked.
    async fn plain(&self, stream: TcpStream) -> Result<Option<Link>, ProbeError> {
        match self.connection.protocol {
            _ if self.expected().is_none() => Ok(None),
            UpstreamProtocol::Http2 => Ok(Some(Link::Http2(Session::open(stream).await?))),
            _ => Ok(Some(Link::Plain(stream))),
        }
    }

    async fn secured(&self, stream: TlsStream<TcpStream>) -> Result<Option<Link>, ProbeError> {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !h2 && self.connection.protocol == UpstreamProtocol::Http2 {
            return Err(ProbeError::Tls(
                "the endpoint does not agree on h2".to_owned(),
            ));
        }
        match h2 {
            _ if self.expected().is_none() => Ok(None),
            true => Ok(Some(Link::Http2(Session::open(stream).await?))),
            false => Ok(Some(Link::Secured(stream.into()))),
        }
    }

    /// Asks what the probe asks over `link`, and lets go of it unless it may be kept.
    async fn exchange(&self, ask: &Ask, mut link: Link) -> Result<Answered, ProbeError> {
        let asked = Instant::now();
        let answer = link.exchange(ask).await?;
        let status = answer.status;
        let is_expected = |ranges: &[(u16, u16)]| {
            ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&status))
        };
        if !self.expected().is_some_and(is_expected) {
            return Err(ProbeError::Status(status));
        }
        Ok(Answered {
            took: asked.elapsed(),
            link: answer.reusable.then_some(link),
        })
    }

    /// The statuses that are well; none if nothing is asked.
    fn expected(&self) -> Option<&[(u16, u16)]> {
        match &self.probe.kind {
            ProbeKind::Http(HttpProbe { expect, .. }) => Some(expect),
            _ => None,
        }
    }
}

impl Seen {
    fn answered(rtt: Option<Duration>, answered: Answered) -> Self {
        Self {
            rtt,
            answered: Some(answered.took),
            result: Ok(()),
            link: answered.link,
        }
    }

    fn unanswered(rtt: Option<Duration>, result: Result<(), ProbeError>) -> Self {
        Self {
            rtt,
            answered: None,
            result,
            link: None,
        }
    }
}
