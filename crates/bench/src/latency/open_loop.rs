//! The generator: an open loop over 32 connections in one thread that never sleeps.
//!
//! It polls its sockets and the clock in turn, because timers and wake-ups are late by more than what
//! is measured here. Between two looks it yields: the upstream shares its core and must not wait
//! for the end of a time slice. It is a process of its own, on the core of the load.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rustix::event::{Timespec, epoll};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tidegate_lab::content;

use super::books::{Arrivals, Books, Findings};
use super::http1::Http1;
use super::http2::Http2;
use super::link::{Link, Readable};
use crate::cell::{CONNECTIONS, SIZES, Wire};
use crate::peer::HOST;

/// Requests at a time on a connection of HTTP/2.
const STREAMS: usize = 10;

/// An answer that takes longer is missing.
const PATIENCE: Duration = Duration::from_secs(10);

const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What to send.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// To whom.
    pub(super) target: SocketAddr,
    /// Over what.
    pub(super) wire: Wire,
    /// How many a second, above 0.
    pub(super) per_second: f64,
    /// Requests that only warm up.
    pub(super) warm_up: u64,
    /// Requests that are measured, after them.
    pub(super) measured: u64,
    /// Of the times at which they are due.
    pub(super) seed: u64,
    /// Who has signed the target's certificate, PEM.
    pub(super) authority: String,
}

impl Orders {
    fn books(&self) -> Books {
        let arrivals = || Arrivals::new(self.per_second, self.warm_up + self.measured, self.seed);
        let first = arrivals().nth(usize::try_from(self.warm_up).unwrap_or(usize::MAX));
        Books::new(arrivals(), first.unwrap_or_default())
    }

    fn tls(&self) -> io::Result<Option<Arc<ClientConfig>>> {
        let alpn = match self.wire {
            Wire::H1 => return Ok(None),
            Wire::TlsH1 => b"http/1.1".to_vec(),
            Wire::TlsH2 => b"h2".to_vec(),
        };
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.as_bytes());
        let root = root.map_err(io::Error::other)?;
        roots.add(root).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions();
        let config = config.map_err(io::Error::other)?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn];
        Ok(Some(Arc::new(config)))
    }
}

/// A connection and what it speaks.
enum Connection {
    Http1(Http1),
    Http2(Box<Http2>),
}

impl Connection {
    fn new(link: Link, wire: Wire) -> io::Result<Self> {
        let path = format!("/bytes/{}", SIZES[0]);
        let body = content::bytes(content::SEED, 0, SIZES[0] as usize);
        if wire == Wire::TlsH2 {
            let request = Request::get(format!("https://{HOST}{path}")).body(());
            let request = request.map_err(io::Error::other)?;
            let connection = Http2::new(link, request, body)?;
            return Ok(Self::Http2(Box::new(connection)));
        }
        let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        Ok(Self::Http1(Http1::new(link, Bytes::from(request), body)))
    }

    fn send(&mut self, due: Duration) -> io::Result<()> {
        match self {
            Self::Http1(connection) => connection.send(due),
            Self::Http2(connection) => connection.send(due),
        }
    }

    fn advance(&mut self, answered: impl FnMut(Duration)) -> io::Result<()> {
        match self {
            Self::Http1(connection) => connection.advance(answered),
            Self::Http2(connection) => connection.advance(answered),
        }
    }
}

/// All connections, and who of them is free.
struct Loop {
    poll: rustix::fd::OwnedFd,
    connections: Vec<(Connection, Readable)>,
    /// A place for each request that can be sent, by number of its connection; the one that was
    /// free for longest is taken, so that all are used alike.
    free: VecDeque<usize>,
    events: Vec<epoll::Event>,
}

impl Loop {
    fn open(orders: &Orders) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let tls = orders.tls()?;
        let mut connections = Vec::new();
        for number in 0..CONNECTIONS {
            let link = Link::open(orders.target, tls.as_ref())?;
            let number = epoll::EventData::new_u64(u64::from(number));
            epoll::add(&poll, &link, number, epoll::EventFlags::IN)?;
            let readable = link.readable();
            connections.push((Connection::new(link, orders.wire)?, readable));
        }
        let streams = if orders.wire == Wire::TlsH2 {
            STREAMS
        } else {
            1
        };
        let free = (0..streams).flat_map(|_| 0..connections.len()).collect();
        let events = Vec::with_capacity(connections.len());
        Ok(Self {
            poll,
            connections,
            free,
            events,
        })
    }

    /// Sends what is due as long as there is a place for it.
    fn send(&mut self, books: &mut Books, start: Instant) -> io::Result<()> {
        loop {
            books.arrive(start.elapsed());
            let Some(&place) = self.free.front() else {
                return Ok(());
            };
            let Some(due) = books.send() else {
                return Ok(());
            };
            self.free.pop_front();
            self.connections[place].0.send(due)?;
        }
    }

    /// Takes the answers that are there; false when there are none.
    fn receive(&mut self, books: &mut Books, start: Instant) -> io::Result<bool> {
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        epoll::wait(&self.poll, room, Some(&NOT_AT_ALL))?;
        for event in &self.events {
            let place = event.data.u64() as usize;
            let (connection, readable) = &mut self.connections[place];
            readable.set(true);
            connection.advance(|due| {
                books.answer(due, start.elapsed());
                self.free.push_back(place);
            })?;
        }
        Ok(!self.events.is_empty())
    }
}

/// Sends, and waits for every answer.
///
/// # Errors
/// A wrong answer, one that is missing, or what the system says.
pub(super) fn run(orders: &Orders) -> io::Result<Findings> {
    let mut books = orders.books();
    let mut all = Loop::open(orders)?;
    let start = Instant::now();
    let mut moved = start;
    while !books.is_done() {
        all.send(&mut books, start)?;
        let received = all.receive(&mut books, start)?;
        if received || books.open() == 0 {
            moved = Instant::now();
        } else if moved.elapsed() > PATIENCE {
            let missing = format!("{} answers are missing after {PATIENCE:?}", books.open());
            return Err(io::Error::other(missing));
        }
        if !received {
            std::thread::yield_now();
        }
    }
    Ok(books.findings())
}

#[cfg(test)]
mod tests {
    use tidegate_lab::tls::Alpn;
    use tidegate_lab::{Authority, Behaviour, Region, RegionSpec};

    use super::*;

    async fn region(wire: Wire) -> (Region, Orders) {
        let authority = Authority::new("bench").unwrap();
        let tls = match wire {
            Wire::H1 => None,
            Wire::TlsH1 | Wire::TlsH2 => {
                let leaf = authority.issue(&[HOST]).unwrap();
                Some(leaf.server_config(Alpn::Both).unwrap())
            }
        };
        let spec = RegionSpec {
            tls,
            ..RegionSpec::new("only")
        };
        let region = Region::start(spec).await.unwrap();
        let orders = Orders {
            target: region.addr(),
            wire,
            per_second: 5_000.0,
            warm_up: 50,
            measured: 300,
            seed: 1,
            authority: authority.pem(),
        };
        (region, orders)
    }

    async fn run_beside(orders: Orders) -> io::Result<Findings> {
        let running = tokio::task::spawn_blocking(move || run(&orders));
        running.await.unwrap()
    }

    #[tokio::test]
    async fn every_wire_is_answered_in_full() {
        for wire in [Wire::H1, Wire::TlsH1, Wire::TlsH2] {
            let (region, orders) = region(wire).await;
            let found = run_beside(orders).await.unwrap();
            assert_eq!(found.answered, 350, "{wire:?}");
            assert_eq!(region.snapshot().requests_total(), 350, "{wire:?}");
            assert!(
                found.p50_us > 0.0 && found.p50_us <= found.p99_us,
                "{found:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_it() {
        let status = Behaviour {
            error_rate: 1.0,
            ..Behaviour::default()
        };
        let content = Behaviour {
            content_seed: content::SEED + 1,
            ..Behaviour::default()
        };
        for wire in [Wire::H1, Wire::TlsH1, Wire::TlsH2] {
            for (behaviour, words) in [(status.clone(), "status"), (content.clone(), "content")] {
                let (region, orders) = region(wire).await;
                region.set(behaviour);
                let error = run_beside(orders).await.unwrap_err().to_string();
                assert!(error.contains(words), "{wire:?}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn one_who_has_no_certificate_of_ours_is_refused() {
        let (_region, mut orders) = region(Wire::TlsH1).await;
        orders.authority = Authority::new("another").unwrap().pem();
        assert!(run_beside(orders).await.is_err());
    }
}
