//! One proxy in one scene: its regions, its process, its load, and what was seen of them.

use std::time::{Duration, Instant};

use tidegate_lab::client::{Incident, Outcome};
use tidegate_lab::{Client, ClientSpec, Leaf, Pace, RequestSpec, Snapshot};

use super::fault::well;
use super::figures::{LATE_MS, Mishap, Sample};
use super::sites::{Near, REGIONS, Sites};
use crate::error::BenchError;
use crate::peer::failover::{Demands, Regions};
use crate::peer::{HOST, Kind, Peer, Process};

/// How long a client waits for an answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// How long a proxy may take until it serves from the near region.
const PATIENCE: Duration = Duration::from_secs(20);

/// Right answers in a row from the near region that count as serving.
const SIGNS: u64 = 16;

/// Of what is asked for, and of what is posted.
const BYTES: u64 = 1_024;

/// Requests that may be under way beyond those that come within the deadline.
const SPARE: usize = 64;

/// A proxy with its regions.
pub(super) struct Lane {
    pub(super) kind: Kind,
    pub(super) sites: Sites,
    process: Process,
    load: Option<Load>,
    /// When that began.
    began: Option<Instant>,
    pub(super) samples: Vec<Sample>,
}

/// The load of one proxy: a client a method, so that no number has to be told apart.
struct Load {
    get: Client,
    post: Option<Client>,
}

/// What a load came to.
pub(super) struct Books {
    /// All requests, GET first.
    pub(super) sent: [u64; 2],
    pub(super) mishaps: Vec<Mishap>,
    /// Mishaps beyond what a client remembers.
    pub(super) forgotten: u64,
    /// The slowest answer or failure after the warm-up.
    pub(super) worst_ms: u64,
    /// POSTs that arrived more than once, over all regions.
    pub(super) twice: u64,
}

impl Lane {
    /// Starts its regions and the proxy, and waits until that serves from the near one.
    ///
    /// # Errors
    /// When something cannot be started, or the proxy does not serve.
    pub(super) async fn start(
        peer: &Peer,
        regions: usize,
        endpoints: usize,
        leaf: &Leaf,
    ) -> Result<Self, BenchError> {
        let regions = REGIONS.get(..regions).unwrap_or(&REGIONS);
        let sites = Sites::start(regions, endpoints, None, &well()).await?;
        let among = Regions {
            all: sites.addresses(),
            secured: None,
            demands: Demands::default(),
        };
        let mut process = peer.start_among(&among, leaf)?;
        until_near(&mut process).await?;
        Ok(Self {
            kind: peer.kind,
            sites,
            process,
            load: None,
            began: None,
            samples: Vec::new(),
        })
    }

    /// Begins its load: so many requests a second, of which this share are POST.
    ///
    /// # Errors
    /// When the rate is none.
    pub(super) fn begin(&mut self, per_second: f64, posts: f64) -> Result<(), BenchError> {
        let target = self.process.address(false);
        let client = |request, per_second: f64| {
            let spec = ClientSpec {
                concurrency: (per_second * DEADLINE.as_secs_f64()).ceil() as usize + SPARE,
                pace: Pace::Open { per_second },
                timeout: DEADLINE,
                slow_after: Duration::from_millis(LATE_MS),
                mix: vec![request],
                ..ClientSpec::new(target, HOST)
            };
            Client::start(spec).map_err(|error| BenchError::Load(error.to_string()))
        };
        let post = (posts > 0.0).then(|| client(RequestSpec::echo(BYTES), per_second * posts));
        self.began = Some(Instant::now());
        self.load = Some(Load {
            get: client(RequestSpec::content(BYTES), per_second * (1.0 - posts))?,
            post: post.transpose()?,
        });
        Ok(())
    }

    /// Takes a sample; nothing before the load has begun.
    pub(super) fn look(&mut self) {
        let Some(load) = &self.load else { return };
        let at_ms = self.at_ms(Instant::now());
        let mut answered = [0; 3];
        for client in load.clients() {
            let books = client.snapshot();
            for (sum, (name, _)) in answered.iter_mut().zip(REGIONS) {
                *sum += books.regions.get(name).copied().unwrap_or(0);
            }
        }
        self.samples.push(Sample {
            at_ms,
            answered,
            arrived: self.sites.arrived(),
        });
    }

    /// What has arrived at its near region.
    pub(super) fn at_near(&self) -> Near {
        self.sites.at_near()
    }

    /// Milliseconds of this moment since its load began; 0 before that.
    pub(super) fn at_ms(&self, moment: Instant) -> u64 {
        let since = |began| millis(moment.saturating_duration_since(began));
        self.began.map_or(0, since)
    }

    /// Ends the load, waits for what is under way, and closes the books.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] when the books do not balance or the proxy has ended by itself.
    pub(super) async fn end(&mut self) -> Result<Books, BenchError> {
        let wrong = |why: String| BenchError::Wrong {
            peer: self.kind.name(),
            cell: "failover",
            why,
        };
        let Some(load) = self.load.take() else {
            return Err(wrong("no load".to_owned()));
        };
        let ids: Vec<_> = load.post.iter().map(|client| client.id_of(0)).collect();
        let (get, post) = load.stop().await;
        for books in [Some(&get), post.as_ref()].into_iter().flatten() {
            books
                .check_balance()
                .map_err(|error| wrong(error.to_string()))?;
        }
        if self.process.has_ended() {
            return Err(wrong(format!("it has ended: {}", self.process.words())));
        }
        let twice = ids.first().map_or(0, |id| self.sites.twice(id));
        Ok(books(&get, post.as_ref(), twice))
    }
}

impl Load {
    fn clients(&self) -> impl Iterator<Item = &Client> {
        std::iter::once(&self.get).chain(&self.post)
    }

    /// Both at the same time: neither goes on while the other ends.
    async fn stop(self) -> (Snapshot, Option<Snapshot>) {
        let post = async {
            match self.post {
                Some(client) => Some(client.stop().await),
                None => None,
            }
        };
        tokio::join!(self.get.stop(), post)
    }
}

fn books(get: &Snapshot, post: Option<&Snapshot>, twice: u64) -> Books {
    let both = || std::iter::once((get, false)).chain(post.map(|books| (books, true)));
    let mishaps = both().flat_map(|(books, is_post)| {
        let of = move |incident: &Incident| mishap(incident, is_post);
        books.incidents.iter().map(of)
    });
    let worst = both().map(|(books, _)| books.latency.max().max(books.latency_failed.max()));
    Books {
        sent: [get.sent, post.map_or(0, |books| books.sent)],
        mishaps: mishaps.collect(),
        forgotten: both().map(|(books, _)| books.incidents_dropped).sum(),
        worst_ms: worst.max().unwrap_or(0) / 1_000,
        twice,
    }
}

fn mishap(incident: &Incident, post: bool) -> Mishap {
    Mishap {
        ended_ms: millis(incident.finished_at()),
        took_ms: millis(incident.latency),
        error: said(incident.outcome),
        post,
    }
}

/// A failure in a word or two; nothing for a right answer.
pub(super) fn said(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok => None,
        Outcome::WrongStatus(status) => Some(status.to_string()),
        Outcome::WrongBody(how) => Some(format!("wrong body: {how:?}").to_lowercase()),
        Outcome::Transport(fault) => Some(format!("{fault:?}").to_lowercase()),
        Outcome::TimedOut => Some("timed out".to_owned()),
        Outcome::Left => Some("left".to_owned()),
    }
}

/// Asks until all answers are right and come from the near region.
pub(super) async fn until_near(process: &mut Process) -> Result<(), BenchError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let spec = ClientSpec {
            requests: Some(SIGNS),
            timeout: Duration::from_secs(2),
            mix: vec![RequestSpec::content(BYTES)],
            ..ClientSpec::new(process.address(false), HOST)
        };
        let client = Client::start(spec).map_err(|error| BenchError::Load(error.to_string()))?;
        let ended = client.finish().await;
        if ended.ok() == SIGNS && ended.regions.get(REGIONS[0].0) == Some(&SIGNS) {
            return Ok(());
        }
        if process.has_ended() || Instant::now() > until {
            let (peer, words) = (process.name(), process.words());
            let (outcomes, regions) = (ended.outcomes, ended.regions);
            let why = format!("{outcomes:?} from {regions:?} after {PATIENCE:?}; {words}");
            return Err(BenchError::NotServing { peer, why });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_lab::client::{Fault, WrongBody};

    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let table = [
            (Outcome::Ok, None),
            (Outcome::WrongStatus(503), Some("503")),
            (
                Outcome::WrongBody(WrongBody::Short),
                Some("wrong body: short"),
            ),
            (Outcome::Transport(Fault::Reset), Some("reset")),
            (Outcome::TimedOut, Some("timed out")),
        ];
        for (outcome, expected) in table {
            assert_eq!(said(outcome).as_deref(), expected, "{outcome:?}");
        }
    }
}
