//! Connections to upstreams, kept per thread and shared before a new one is opened.
//!
//! A checkout looks on its own shelf, then on the other threads', then connects. Where HTTP/2 may
//! be spoken, simultaneous requests wait for the one connect under way. A thread that had to borrow
//! a stream of another thread's HTTP/2 connection opens its own in the background, since a borrowed
//! stream wakes two threads for every frame.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tidegate_core::plan::UpstreamProtocol;
use tokio::sync::watch;

pub(crate) use super::checked::{Checked, Home, Link};
use super::checked::{Found, Origin};
use super::connect::{ConnectError, ConnectErrorKind, Connected, connect};
use super::directory::Directory;
use super::gate::{FreeStream, Gate, Ticket};
use super::key::{ByKey, Key};
use super::resolve::Resolver;
use super::shelf::{Picked, Place, Shelf, is_quiet};
use super::socket::Socket;
use super::target::Wish;
pub(crate) use super::target::{Freshness, Target};
use super::wait::Admission;
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
pub(super) type Flight = watch::Receiver<Option<Result<Duration, ConnectError>>>;

impl Inner {
    fn shelf(&self) -> &Shelf {
        self.directory.shelf(self.index)
    }

    fn others(&self) -> impl Iterator<Item = &Shelf> {
        self.directory.others(self.index)
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

    pub(super) async fn checkout(
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
            return match self.admit(target, None).await? {
                Admission::Place(ticket) => self.connect_h1(target, ticket).await,
                Admission::Link(link) => Ok(Checked::new(self, target, *link, true, None)),
            };
        }
        // Waiting a moment for another thread at its shelf is quicker than any handshake.
        if let Some(link) = self.take_over(target, wish, |shelf| Some(shelf.lock())) {
            return Ok(Checked::new(self, target, link, true, None));
        }
        if self.may_speak_h2(target)
            && let Some(checked) = self.share_connect(target, wish).await?
        {
            return Ok(checked);
        }
        match self.admit(target, Some(wish)).await? {
            Admission::Place(ticket) => self.connect(target, ticket).await,
            Admission::Link(link) => Ok(Checked::new(self, target, *link, true, None)),
        }
    }

    fn reuse(&self, target: &Target<'_>, wish: Wish) -> Option<Found> {
        self.reuse_own(target, wish)
            .or_else(|| self.take_over(target, wish, Shelf::try_lock))
    }

    fn reuse_own(&self, target: &Target<'_>, wish: Wish) -> Option<Found> {
        loop {
            let picked = pick(&mut self.0.shelf().lock(), target.key(), wish.since)?;
            if let Some(link) = picked.into_found(|conn| is_usable(conn, wish)) {
                return Some(link);
            }
        }
    }

    fn take_over(&self, target: &Target<'_>, wish: Wish, lock: Lock) -> Option<Found> {
        let link = self
            .0
            .others()
            .find_map(|shelf| take_from(|| lock(shelf), target, wish.since))?;
        if matches!(link, Found::H2(_)) {
            self.connect_in_the_background(target);
        }
        Some(link)
    }

    /// Opens a connection of this thread's own, unless there is one, or no room for it.
    fn connect_in_the_background(&self, target: &Target<'_>) {
        if self.has_channel(target) || self.flying(target).is_some() {
            return;
        }
        if let Some(ticket) = self.gate(target).enter(target) {
            let _nobody_waits = self.flight(target, ticket);
        }
    }

    /// Whether a request to `target` would have a connection, or be let open one, without standing in
    /// line, if nobody comes before it.
    pub(crate) fn has_room(&self, target: &Target<'_>) -> bool {
        self.gate(target).has_room(target) || self.0.directory.warm(target, now(), 1) > 0
    }

    /// Whether requests stand in line for a connection to the region of `target`.
    pub(crate) fn is_crowded(&self, target: &Target<'_>) -> bool {
        self.gate(target).waits()
    }

    pub(super) fn gate(&self, target: &Target<'_>) -> Arc<Gate> {
        self.0.directory.gate(target.region)
    }

    /// Which of the process's threads it belongs to.
    pub(crate) fn index(&self) -> usize {
        self.0.index
    }

    pub(super) fn wheel(&self) -> &Wheel {
        &self.0.wheel
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
            let flight = match self.flying(target) {
                Some(flight) => flight,
                None => match self.admit(target, Some(wish)).await? {
                    Admission::Place(ticket) => self.flight(target, ticket),
                    Admission::Link(link) => {
                        return Ok(Some(Checked::new(self, target, *link, true, None)));
                    }
                },
            };
            let took = land(flight).await?;
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

    /// The connect under way, if there is one.
    fn flying(&self, target: &Target<'_>) -> Option<Flight> {
        self.0.flights.borrow().get(&target.key()).cloned()
    }

    /// The connect under way, started with the ticket if there is none. It goes on when nobody waits
    /// any more.
    pub(super) fn flight(&self, target: &Target<'_>, ticket: Ticket) -> Flight {
        if let Some(flight) = self.flying(target) {
            return flight;
        }
        let key = target.key();
        let (tell, flight) = watch::channel(None);
        self.0.flights.borrow_mut().insert(key, flight.clone());
        let (pool, destination) = (self.clone(), target.to_destination());
        tokio::task::spawn_local(async move {
            let connected = pool.connect(&destination.target(), ticket).await;
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
    async fn connect(&self, target: &Target<'_>, ticket: Ticket) -> Result<Checked, ConnectError> {
        let connected = self.dial(target, target.profile.protocol, ticket).await?;
        let (took, h2) = (connected.took, connected.h2);
        let origin = Box::new(Origin::new(target, self.gate(target)));
        self.with_place(&origin, |place| place.speaks_h2 = Some(h2));
        let link = if h2 {
            Found::H2(self.open(target, &origin, connected.stream).await?)
        } else {
            Found::H1(Box::new(Conn::new(connected.stream)), origin)
        };
        Ok(Checked::new(self, target, link, false, Some(took)))
    }

    /// A new HTTP/1.1 connection, whatever else the endpoint might speak.
    async fn connect_h1(
        &self,
        target: &Target<'_>,
        ticket: Ticket,
    ) -> Result<Checked, ConnectError> {
        let connected = self.dial(target, UpstreamProtocol::Http1, ticket).await?;
        let origin = Box::new(Origin::new(target, self.gate(target)));
        let link = Found::H1(Box::new(Conn::new(connected.stream)), origin);
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
        ticket: Ticket,
    ) -> Result<Connected, ConnectError> {
        let address = &target.endpoint.address;
        let resolver = &self.0.resolver;
        let connected = connect(resolver, address, target.profile, protocol, ticket).await?;
        target.region.observe_rtt(connected.rtt, now());
        target.series.connected(connected.took);
        Ok(connected)
    }

    async fn open(
        &self,
        target: &Target<'_>,
        origin: &Origin,
        stream: Stream,
    ) -> Result<h2::client::Handle, ConnectError> {
        let region = target.region.clone();
        let free_stream = FreeStream::new(origin.gate.clone(), origin.key);
        let opened = h2::client::open(&self.0.wheel, stream, Some(region), Some(free_stream)).await;
        let channel = opened.map_err(|error| ended_at_once(target, &error.to_string()))?;
        let reserved = channel.reserve();
        self.with_place(origin, |place| place.keep(channel, now()));
        self.start_sweeping();
        // It has more streams than the one that was opened for.
        if origin.gate.waits() {
            origin.gate.freed(origin.key);
        }
        match reserved {
            Reserved::Handle(handle) => Ok(handle),
            Reserved::Full | Reserved::Gone => Err(ended_at_once(target, "it takes no streams")),
        }
    }

    fn with_place<R>(&self, origin: &Origin, run: impl FnOnce(&mut Place) -> R) -> R {
        self.0.shelf().with(origin, run)
    }

    /// Puts a connection down for others.
    pub(super) fn put(&self, origin: Box<Origin>, conn: Box<Conn>) {
        let key = origin.key;
        let put_down = self.0.shelf().put(origin, conn, now());
        if let Some(gate) = put_down.waiting {
            gate.freed(key);
        }
        drop(put_down.surplus);
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
pub(super) async fn land(mut flight: Flight) -> Result<Duration, ConnectError> {
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
    if wish.ask_system
        && let Some(socket) = socket(conn)
    {
        socket.ask_system();
    }
    is_quiet(conn)
}

/// How another thread's shelf is locked.
type Lock = for<'a> fn(&'a Shelf) -> Option<MutexGuard<'a, ByKey<Place>>>;

/// What another thread keeps idle, unless its shelf cannot be had.
fn take_from<'a>(
    lock: impl Fn() -> Option<MutexGuard<'a, ByKey<Place>>>,
    target: &Target<'_>,
    since: Option<Instant>,
) -> Option<Found> {
    loop {
        let picked = pick(&mut *lock()?, target.key(), since)?;
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

/// Moves a connection of another thread to this one, if it is as it must be. What TLS has to tell
/// between two requests (tickets) is heard by the way.
pub(super) fn rehome(conn: &mut Conn) -> bool {
    let moved = match socket(conn) {
        Some(socket) => socket.rehome().is_ok(),
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
