//! One probe of one endpoint, from name to answer.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{
    ConnectionPolicy, Probe, ProbeKind, ProbeTls, UpstreamProtocol, UpstreamTls,
};
use tidegate_tls::InvalidTls;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::answer::Answer;
use crate::ask::{Ask, Manner};
use crate::connect::connect;
use crate::error::ProbeError;
use crate::http2::Session;
use crate::link::Link;
use crate::steps::Step;
use crate::template::Values;
use crate::tls::Tls;
use crate::{expect, grpc};

/// How the endpoints of one upstream are probed.
pub(crate) struct Check {
    probe: Probe,
    connection: ConnectionPolicy,
    protocol: UpstreamProtocol,
    tls: Option<Result<Tls, InvalidTls>>,
    /// Of a transaction.
    steps: Box<[Step]>,
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

/// How far a probe over new connections has come.
#[derive(Default)]
struct Progress {
    /// The time to connect, once connected.
    rtt: Option<Duration>,
    /// The step of a transaction that is under way, from 1.
    step: usize,
}

impl Check {
    /// The check for `probe` over connections made as `connection` says, unless the probe has its
    /// own way. TLS that cannot be set up fails every probe, and says why.
    pub(crate) fn new(probe: Probe, connection: ConnectionPolicy) -> Self {
        let protocol = match probe.kind {
            ProbeKind::Grpc { .. } => UpstreamProtocol::Http2,
            _ => connection.protocol,
        };
        let steps: &[_] = match &probe.kind {
            ProbeKind::Steps(steps) => steps,
            _ => &[],
        };
        let tls = tls_settings(&probe, &connection).map(|tls| Tls::new(tls, protocol));
        Self {
            tls,
            protocol,
            steps: steps.iter().map(Step::new).collect(),
            probe,
            connection,
        }
    }

    /// Whether this is the check for the same probe and connections.
    pub(crate) fn is_for(&self, probe: &Probe, connection: &ConnectionPolicy) -> bool {
        self.probe == *probe && self.connection == *connection
    }

    /// Whether its connections are to have TLS.
    pub(crate) fn secures(&self) -> bool {
        self.tls.is_some()
    }

    /// The probe as configured.
    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// What is asked of the endpoint at `address` (`host:port`).
    pub(crate) fn ask(&self, address: &Arc<str>) -> Ask {
        Ask::new(address, &self.probe, self.manner())
    }

    fn manner(&self) -> Manner {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Manner {
            scheme,
            protocol: self.protocol,
        }
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
        let mut progress = Progress::default();
        let whole = timeout_at(deadline, self.visit(ask, deadline, &mut progress)).await;
        match whole.unwrap_or_else(|_| Err(self.late(&progress))) {
            Ok(Some(answered)) => Seen::answered(progress.rtt, answered),
            Ok(None) => Seen::unanswered(progress.rtt, Ok(())),
            Err(error) => Seen::unanswered(progress.rtt, Err(self.within(&progress, error))),
        }
    }

    fn late(&self, progress: &Progress) -> ProbeError {
        let limit = self.probe.timeout;
        match progress.rtt {
            Some(_) => ProbeError::Timeout(limit),
            None => ProbeError::ConnectTimeout(limit),
        }
    }

    /// Says at which step of a transaction it went wrong.
    fn within(&self, progress: &Progress, error: ProbeError) -> ProbeError {
        match progress.step {
            0 => error,
            step => ProbeError::Step {
                step,
                steps: self.steps.len(),
                error: error.into(),
            },
        }
    }

    async fn visit(
        &self,
        ask: &Ask,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Option<Answered>, ProbeError> {
        let link = self.open(ask, deadline, &mut progress.rtt).await?;
        match link {
            None => Ok(None),
            Some(link) if self.steps.is_empty() => self.exchange(ask, link).await.map(Some),
            Some(link) => {
                let transaction = self.transact(ask, link, deadline, progress);
                transaction.await.map(Some)
            }
        }
    }

    /// A new connection to ask over, if anything is asked.
    async fn open(
        &self,
        ask: &Ask,
        deadline: Instant,
        rtt: &mut Option<Duration>,
    ) -> Result<Option<Link>, ProbeError> {
        let stream = connect(ask.address(), deadline, rtt).await?;
        match &self.tls {
            None => self.plain(stream).await,
            Some(Ok(tls)) => self.secured(tls.handshake(stream, ask.host()).await?).await,
            Some(Err(problem)) => Err(ProbeError::Tls(problem.to_string())),
        }
    }

    async fn plain(&self, stream: TcpStream) -> Result<Option<Link>, ProbeError> {
        match self.protocol {
            _ if self.asks_nothing() => Ok(None),
            UpstreamProtocol::Http2 => Ok(Some(Link::Http2(Session::open(stream).await?))),
            _ => Ok(Some(Link::Plain(stream))),
        }
    }

    async fn secured(&self, stream: TlsStream<TcpStream>) -> Result<Option<Link>, ProbeError> {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !h2 && self.protocol == UpstreamProtocol::Http2 {
            return Err(ProbeError::Tls(
                "the endpoint does not agree on h2".to_owned(),
            ));
        }
        match h2 {
            _ if self.asks_nothing() => Ok(None),
            true => Ok(Some(Link::Http2(Session::open(stream).await?))),
            false => Ok(Some(Link::Secured(stream.into()))),
        }
    }

    fn asks_nothing(&self) -> bool {
        matches!(self.probe.kind, ProbeKind::Tcp)
    }

    /// Asks what the probe asks over `link`, and lets go of it unless it may be kept.
    async fn exchange(&self, ask: &Ask, mut link: Link) -> Result<Answered, ProbeError> {
        let Some(request) = ask.request() else {
            return Err(ProbeError::Request("there is none".to_owned()));
        };
        let asked = Instant::now();
        let answer = link.exchange(request?).await?;
        let took = asked.elapsed();
        self.meets(&answer)?;
        Ok(Answered {
            took,
            link: answer.reusable.then_some(link),
        })
    }

    fn meets(&self, answer: &Answer) -> Result<(), ProbeError> {
        match &self.probe.kind {
            ProbeKind::Http(probe) => expect::meets(probe, answer),
            ProbeKind::Grpc { service, .. } => grpc::meets(service, answer),
            ProbeKind::Tcp | ProbeKind::Steps(_) => Ok(()),
        }
    }

    /// Goes through the steps, over `link` as long as it stays. What it took is the first answer's
    /// time: the others are no round trips, they may do work.
    async fn transact(
        &self,
        ask: &Ask,
        link: Link,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Answered, ProbeError> {
        let (mut link, mut values, mut first) = (Some(link), Values::default(), None);
        let Manner { scheme, protocol } = self.manner();
        for (number, step) in (1..).zip(&self.steps) {
            progress.step = number;
            let request = step.request(scheme, ask.address(), protocol, &values)?;
            let Some(mut over) = self
                .stay_or_open(ask, link.take(), deadline, progress)
                .await?
            else {
                break;
            };
            let asked = Instant::now();
            let answer = over.exchange(&request).await?;
            first.get_or_insert(asked.elapsed());
            step.enter(&answer, &mut values)?;
            link = answer.reusable.then_some(over);
        }
        Ok(Answered {
            took: first.unwrap_or_default(),
            link: None,
        })
    }

    async fn stay_or_open(
        &self,
        ask: &Ask,
        link: Option<Link>,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Option<Link>, ProbeError> {
        if let Some(mut link) = link
            && link.is_quiet().await
        {
            return Ok(Some(link));
        }
        self.open(ask, deadline, &mut progress.rtt).await
    }
}

/// The TLS that a probe uses: its own, or its upstream's.
fn tls_settings<'a>(probe: &'a Probe, connection: &'a ConnectionPolicy) -> Option<&'a UpstreamTls> {
    match &probe.tls {
        Some(ProbeTls::Off) => None,
        Some(ProbeTls::On(own)) => Some(own),
        None => connection.tls.as_ref(),
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
