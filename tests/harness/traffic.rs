//! Steady traffic of both protocols that accounts for every request.

use std::net::SocketAddr;

use tidegate_lab::client::{Outcome, Snapshot};
use tidegate_lab::{Client, ClientSpec, Pace, Protocol, RequestSpec};

use super::{HOST, until};

/// Requests a second of each client.
const RATE: f64 = 40.0;

/// One client for each protocol.
pub(crate) struct Traffic {
    clients: Vec<Client>,
}

/// The books of all clients together.
pub(crate) struct Books(pub(crate) Vec<Snapshot>);

impl Traffic {
    /// Sends `mix` at a steady rate, half of it HTTP/1.1, half HTTP/2.
    pub(crate) fn start(address: SocketAddr, mix: &[RequestSpec]) -> Self {
        let client = |protocol| {
            Client::start(ClientSpec {
                protocol,
                pace: Pace::Open { per_second: RATE },
                concurrency: 256,
                mix: mix.to_vec(),
                timeout: super::PATIENCE,
                ..ClientSpec::new(address, HOST)
            })
        };
        let clients = [Protocol::H1, Protocol::H2].map(|protocol| client(protocol).unwrap());
        Self {
            clients: clients.into(),
        }
    }

    /// Reads and uploads that may be repeated, every byte checked.
    pub(crate) fn replayable() -> Vec<RequestSpec> {
        vec![
            RequestSpec::content(1_000).weighing(3),
            RequestSpec::digest(8_000).weighing(2),
            RequestSpec::get("/").weighing(1),
        ]
    }

    /// Whether a request with this `x-lab-id` is one of these.
    pub(crate) fn sent(&self, id: &str) -> bool {
        let ours = |client: &Client| client.id_of(0).trim_end_matches('0').to_owned();
        self.clients
            .iter()
            .any(|client| id.starts_with(&ours(client)))
    }

    /// The books so far.
    pub(crate) fn books(&self) -> Books {
        Books(self.clients.iter().map(Client::snapshot).collect())
    }

    /// Waits until so many more requests have ended.
    pub(crate) async fn more(&self, requests: u64) {
        let goal = self.books().ended() + requests;
        until("requests have ended", || async {
            self.books().ended() >= goal
        })
        .await;
    }

    /// Waits until a region has answered so many more requests.
    pub(crate) async fn more_from(&self, region: &str, requests: u64) {
        let goal = self.books().of(region) + requests;
        until(&format!("{region} has answered"), || async {
            self.books().of(region) >= goal
        })
        .await;
    }

    /// Sends no more, and waits for what is under way.
    pub(crate) async fn stop(self) -> Books {
        let mut books = Vec::new();
        for client in self.clients {
            books.push(client.stop().await);
        }
        Books(books)
    }
}

impl Books {
    /// Requests that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.iter().map(|book| book.sent).sum()
    }

    /// Requests that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.0.iter().map(|book| book.ok() + book.failed()).sum()
    }

    /// Requests that got their right answer.
    pub(crate) fn ok(&self) -> u64 {
        self.0.iter().map(Snapshot::ok).sum()
    }

    /// Answers of a region.
    pub(crate) fn of(&self, region: &str) -> u64 {
        let regions = self.0.iter().filter_map(|book| book.regions.get(region));
        regions.sum()
    }

    /// Connections that the HTTP/1.1 client has opened.
    pub(crate) fn connections(&self) -> u64 {
        self.0.iter().map(|book| book.connections).sum()
    }

    /// How requests ended that did not get their right answer.
    pub(crate) fn failures(&self) -> Vec<(Outcome, u64)> {
        let outcomes = self.0.iter().flat_map(|book| &book.outcomes);
        let failed = outcomes.filter(|(outcome, _)| **outcome != Outcome::Ok);
        failed.map(|(outcome, count)| (*outcome, *count)).collect()
    }

    /// Every request got its right answer, and the books balance.
    pub(crate) fn assert_nothing_lost(&self) {
        for book in &self.0 {
            book.check_balance().unwrap();
        }
        assert_eq!(self.failures(), [], "of {} requests", self.sent());
        assert_eq!(self.ok(), self.sent());
    }
}
