//! Steady traffic of the kind that may be replayed: reads, and small uploads whose repetition is
//! the same as doing them once. Half of it HTTP/1.1, half HTTP/2, at intended times, so that a
//! stall shows in the figures instead of thinning the traffic.

use std::time::{Duration, Instant};

use tidegate_lab::client::{Incident, Snapshot};
use tidegate_lab::{Client, ClientSpec, Pace, Protocol, RequestSpec};

use super::stage::{HOST, Stage};
use crate::exit::Failure;

/// A right answer that took longer counts as slow. Above what the second region takes on a
/// connection that is still to be opened, below an attempt that had to be given up.
pub(super) const SLOW: Duration = Duration::from_millis(350);

/// Room for everything that piles up while a region is silent.
const CONCURRENCY_MIN: f64 = 64.0;

/// Clients at work.
pub(super) struct Traffic {
    clients: Vec<Client>,
    started: Instant,
}

/// What all clients have counted.
pub(super) struct Books(Vec<Snapshot>);

impl Traffic {
    /// Sends `rate` requests a second from now on.
    pub(super) fn start(stage: &Stage, rate: f64) -> Result<Self, Failure> {
        let started = Instant::now();
        let clients = [Protocol::H1, Protocol::H2].map(|protocol| client(stage, protocol, rate));
        Ok(Self {
            clients: clients.into_iter().collect::<Result<_, _>>()?,
            started,
        })
    }

    /// The figures so far.
    pub(super) fn books(&self) -> Books {
        Books(self.clients.iter().map(Client::snapshot).collect())
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sends nothing new and waits for what is under way.
    pub(super) async fn stop(self) -> Books {
        let mut books = Vec::new();
        for client in self.clients {
            books.push(client.stop().await);
        }
        Books(books)
    }
}

impl Books {
    /// What happened since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.0.iter().zip(&earlier.0);
        Self(pairs.map(|(now, then)| now.since(then)).collect())
    }

    /// The sum of a number over all clients.
    pub(super) fn sum(&self, number: impl Fn(&Snapshot) -> u64) -> u64 {
        self.0.iter().map(number).sum()
    }

    /// Requests that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.sum(|book| book.ok() + book.failed())
    }

    /// Requests without a right answer, wrong bodies not counted.
    pub(super) fn lost(&self) -> u64 {
        self.sum(|book| book.failed() - book.wrong_bodies())
    }

    /// Answers of `region`.
    pub(super) fn of_region(&self, region: &str) -> u64 {
        self.sum(|book| book.regions.get(region).copied().unwrap_or(0))
    }

    /// Latency of right answers at each of `quantiles` (0 to 1); zero without any.
    pub(super) fn latency<const N: usize>(&self, quantiles: [f64; N]) -> [Duration; N] {
        let mut books = self.0.iter().map(|book| &book.latency);
        let Some(mut all) = books.next().cloned() else {
            return [Duration::ZERO; N];
        };
        for book in books {
            // Fails only for values out of range, and all clients have the same range.
            let _ = all.add(book);
        }
        quantiles.map(|quantile| Duration::from_micros(all.value_at_quantile(quantile)))
    }

    /// Failed and slow requests.
    pub(super) fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.0.iter().flat_map(|book| &book.incidents)
    }

    /// Whether every request that was sent has been accounted for.
    pub(super) fn balance(&self) -> bool {
        self.0
            .iter()
            .all(|book| book.in_flight == 0 && book.check_balance().is_ok())
    }
}

fn client(stage: &Stage, protocol: Protocol, rate: f64) -> Result<Client, Failure> {
    let per_second = rate / 2.0;
    let spec = ClientSpec {
        tls: Some(stage.client_tls()?),
        protocol,
        h2_connections: 2,
        concurrency: per_second.max(CONCURRENCY_MIN) as usize * 2,
        pace: Pace::Open { per_second },
        timeout: Duration::from_secs(10),
        slow_after: SLOW,
        mix: vec![
            RequestSpec::content(1_024).weighing(6),
            RequestSpec::content(65_536).weighing(1),
            RequestSpec::digest(16_384).weighing(2),
            RequestSpec::get("/").weighing(1),
        ],
        ..ClientSpec::new(stage.address()?, HOST)
    };
    Client::start(spec).map_err(Failure::no)
}
