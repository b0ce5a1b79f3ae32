//! Connections to upstreams, kept per thread and shared before a new one is opened.
//!
//! A checkout looks on its own shelf, then on the other threads', then connects. Where HTTP/2 may
//! be spoken, simultaneous requests wait for the one connect under way. A thread that had to borrow
//! a stream of another thread's HTTP/2 connection opens its own in the background, since a borrowed
//! stream wakes two threads for every frame.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::UpstreamProtocol;
use tokio::sync::watch;

pub(crate) use super::checked::{Checked, Home, Link};
use super::checked::{Found, Origin};
use super::connect::{ConnectError, ConnectErrorKind, Connected, connect};
use super::key::{ByKey, Key};
use super::resolve::Resolver;
use super::shelf::{Picked, Place, Shelf, is_quiet};
use super::socket::Socket;
use super::target::Wish;
pub(crate) use super::target::{Freshness, Target};
use crate::clock::now;
use crate::conn::Conn;
use crate::h2;
use crate::h2::client::Reserved;
use crate::io::Stream;
use crate::wheel::Wheel;
use crate::worker::Worker;

/// Idle connections are looked after so often.
const SWEEP: Duration = Duration::from_secs(1);
/// A request joins so many shared connects, one after the other, before it gives up.
const FLIGHTS: usize = 16;

/// The shelves of all threads.
#[derive(Clone)]
pub(crate) struct Directory(Arc<[Shelf]>);

/// One thread's connections. A clone is another handle to the same.
#[derive(Clone)]
pub(crate) struct Pool(Rc<Inner>);

struct Inner {
    index: usize,
    directory: Directory,
    wheel: Wheel,
    resolver: Resolver,
    flights: RefCell<ByKey<Flight>>,
    sweeping: Cell<bool>,
}

/// A shared connect under way: its outcome, once there is one.
type Flight = watch::Receiver<Option<Result<Duration, ConnectError>>>;

impl Directory {
    /// Shelves for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Shelf::default()).collect())
    }
}

impl Inner {
    fn shelf(&self) -> &Shelf {
        &self.directory.0[self.index]
    }

    fn others(&self) -> impl Iterator<Item = &Shelf> {
        let own = self.index;
        self.directory
            .0
            .iter()
            .enumerate()
            .filter(move |(at, _)| *at != own)
            .map(|(_, shelf)| shelf)
    }
}

/// A connection for one request to `target`: a kept one if there is, else a new one. Dropped while
/// it waits, it leaves a connect that others may share under way.
pub(crate) async fn checkout(
    worker: &Worker,
    target: &Target<'_>,
    freshness: Freshness,
) -> Result<Checked, ConnectError> {
    worker.pool.checkout(target, freshness).await
}

impl Pool {
    /// The connections of the thread with this index, whose deadlines are on `wheel`.
    pub(crate) fn new(index: usize, directory: &Directory, wheel: Wheel) -> Self {
        Self(Rc::new(Inner {
            index,
            directory: directory.clone(),
            wheel,
            resolver: Resolver::default(),
            flights: RefCell::default(),
            sweeping: Cell::new(false),
        }))
    }

    async fn checkout(
        &self,
        target: &Target<'_>,
        freshness: Freshness,
    ) -> Result<Checked, ConnectError> {
        let wish = Wish::of(freshness);
        let switch =
            freshness == Freshness::Upgrade && target.profile.protocol != UpstreamProtocol::Http2;
        if !switch && let Some(link) = self.reuse(target, wish) {
            return Ok(Checked::new(self, target, link, true, None));
        }
        // Boxed, so that the requests that need no new connection have no room for one.
        Box::pin(self.connect_anew(target, switch, wish)).await
    }

    async fn connect_anew(
        &self,
        target: &Target<'_>,
        switch: bool,
        wish: Wish,
    ) -> Result<Checked, ConnectError> {
        if switch {
            return self.connect_h1(target).await;
        }
        if self.may_speak_h2(target)
            && let Some(checked) = self.share_connect(target, wish).await?
        {
            return Ok(checked);
        }
        self.connect(target).await
    }

    fn reuse(&self, target: &Target<'_>, wish: Wish) -> Option<Found> {
        self.reuse_own(target, wish)
            .or_else(|| self.take_over(target, wish))
    }

    fn reuse_own(&self, target: &Target<'_>, wish: Wish) -> Option<Found> {
        loop {
            let picked = pick(&mut self.0.shelf().lock(), target.key(), wish.since)?;
            if let Some(link) = picked.into_found(|conn| is_usable(conn, wish)) {
                return Some(link);
            }
        }
    }

    fn take_over(&self, target: &Target<'_>, wish: Wish) -> Option<Found> {
        let link = self
            .0
            .others()
            .find_map(|shelf| take_from(shelf, target, wish.since))?;
        if matches!(link, Found::H2(_)) && !self.has_channel(target) {
            let _in_the_background = self.flight(target);
        }
        Some(link)
    }

    fn has_channel(&self, target: &Target<'_>) -> bool {
        self.0
            .shelf()
            .lock()
            .get(&target.key())
            .is_some_and(Place::has_channel)
    }

    fn may_speak_h2(&self, target: &Target<'_>) -> bool {
        match target.profile.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => {
                let places = self.0.shelf().lock();
                places
                    .get(&target.key())
                    .and_then(|place| place.speaks_h2)
                    .unwrap_or(true)
            }
        }
    }

    /// Joins the connect under way, or starts one, until a connection or stream can be had. None
    /// when the endpoint turned out to speak HTTP/1.1, where everybody connects alone.
    async fn share_connect(
        &self,
        target: &Target<'_>,
        wish: Wish,
    ) -> Result<Option<Checked>, ConnectError> {
        for _ in 0..FLIGHTS {
            let took = land(self.flight(target)).await?;
            if let Some(link) = self.reuse(target, wish) {
                return Ok(Some(Checked::new(self, target, link, false, Some(took))));
            }
            if !self.may_speak_h2(target) {
                return Ok(None);
            }
        }
        let address = &target.endpoint.address;
        Err(ConnectError::new(
            ConnectErrorKind::Other,
            format!("{address} had no stream to spare on any of {FLIGHTS} new connections"),
        ))
    }

    /// The connect under way, started if there is none. It goes on when nobody waits any more.
    fn flight(&self, target: &Target<'_>) -> Flight {
        let key = target.key();
        if let Some(flight) = self.0.flights.borrow().get(&key) {
            return flight.clone();
        }
        let (tell, flight) = watch::channel(None);
        self.0.flights.borrow_mut().insert(key, flight.clone());
        let (pool, destination) = (self.clone(), target.to_destination());
        tokio::task::spawn_local(async move {
            let connected = pool.connect(&destination.target()).await;
            let outcome = connected.map(|checked| {
                let took = checked.connect.unwrap_or_default();
                checked.lay_down();
                took
            });
            pool.0.flights.borrow_mut().remove(&key);
            // Nobody may be waiting any more.
            let _unheard = tell.send(Some(outcome));
        });
        flight
    }

    /// A new connection, or a stream of one.
    async fn connect(&self, target: &Target<'_>) -> Result<Checked, ConnectError> {
        let connected = self.dial(target, target.profile.protocol).await?;
        let (took, h2) = (connected.took, connected.h2);
        self.with_place(target, |place| place.speaks_h2 = Some(h2));
        let link = if h2 {
            Found::H2(self.open(target, connected.stream).await?)
        } else {
            Found::H1(Conn::new(connected.stream), Origin::new(target))
        };
        Ok(Checked::new(self, target, link, false, Some(took)))
    }

    /// A new HTTP/1.1 connection, whatever else the endpoint might speak.
    async fn connect_h1(&self, target: &Target<'_>) -> Result<Checked, ConnectError> {
        let connected = self.dial(target, UpstreamProtocol::Http1).await?;
        let link = Found::H1(Conn::new(connected.stream), Origin::new(target));
        Ok(Checked::new(
            self,
            target,
            link,
            false,
            Some(connected.took),
        ))
    }

    async fn dial(
        &self,
        target: &Target<'_>,
        protocol: UpstreamProtocol,
    ) -> Result<Connected, ConnectError> {
        let address = &target.endpoint.address;
        let connected = connect(&self.0.resolver, address, target.profile, protocol).await?;
        target.region.observe_rtt(connected.rtt, now());
        target.series.connected(connected.took);
        Ok(connected)
    }

    async fn open(
        &self,
        target: &Target<'_>,
        stream: Stream,
    ) -> Result<h2::client::Handle, ConnectError> {
        let region = target.region.clone();
        let opened = h2::client::open(&self.0.wheel, stream, Some(region)).await;
        let channel = opened.map_err(|error| ended_at_once(target, &error.to_string()))?;
        let reserved = channel.reserve();
        self.with_place(target, |place| place.keep(channel, now()));
        self.start_sweeping();
        match reserved {
            Reserved::Handle(handle) => Ok(handle),
            Reserved::Full | Reserved::Gone => Err(ended_at_once(target, "it takes no streams")),
        }
    }

    fn with_place<R>(&self, target: &Target<'_>, run: impl FnOnce(&mut Place) -> R) -> R {
        self.0.shelf().with(&Origin::new(target), run)
    }

    /// Puts a connection down for others.
    pub(super) fn put(&self, origin: Origin, conn: Conn) {
        let _too_many = self.0.shelf().put(origin, conn, now());
        self.start_sweeping();
    }

    /// Looks after this thread's idle connections for as long as there are any.
    fn start_sweeping(&self) {
        if self.0.sweeping.replace(true) {
            return;
        }
        let inner = self.0.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                if !inner.shelf().sweep(now()) {
                    break inner.sweeping.set(false);
                }
            }
        });
    }
}

fn pick(places: &mut ByKey<Place>, key: Key, since: Option<Instant>) -> Option<Picked> {
    places.get_mut(&key)?.pick(since)
}

/// The outcome of a shared connect.
async fn land(mut flight: Flight) -> Result<Duration, ConnectError> {
    let outcome = flight
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|outcome| outcome.clone());
    outcome.unwrap_or_else(|| {
        Err(ConnectError::new(
            ConnectErrorKind::Other,
            "the thread that connected has stopped",
        ))
    })
}

/// Whether a connection of this thread can take a request.
fn is_usable(conn: &mut Conn, wish: Wish) -> bool {
    let silent = !wish.ask_system || socket(conn).is_none_or(|socket| socket.is_silent());
    silent && is_quiet(conn)
}

/// What another thread keeps idle, unless that thread is at its shelf right now.
fn take_from(shelf: &Shelf, target: &Target<'_>, since: Option<Instant>) -> Option<Found> {
    loop {
        let picked = pick(&mut *shelf.try_lock()?, target.key(), since)?;
        if let Some(link) = picked.into_found(rehome) {
            return Some(link);
        }
    }
}

fn ended_at_once(target: &Target<'_>, why: &str) -> ConnectError {
    let address = &target.endpoint.address;
    let detail = format!("{address} ended the HTTP/2 connection at once: {why}");
    ConnectError::new(ConnectErrorKind::Other, detail)
}

/// Moves a connection of another thread to this one. The reactor here knows nothing of it yet, so
/// the system is asked whether it is as it must be.
fn rehome(conn: &mut Conn) -> bool {
    let moved = match socket(conn) {
        Some(socket) => socket.is_silent() && socket.rehome().is_ok(),
        None => true,
    };
    moved && is_quiet(conn)
}

fn socket(conn: &mut Conn) -> Option<&mut Socket> {
    match conn.io_mut() {
        Stream::Upstream(socket) => Some(socket),
        Stream::UpstreamTls(tls) => Some(tls.get_mut().0.get_mut()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
