//! What a request gets: a connection or a stream of one, and the way back to the pool.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::EndpointCell;
use tidegate_telemetry::metrics::UpstreamHandle;

use super::gate::Gate;
use super::key::Key;
use super::pool::Pool;
use super::shelf::Picked;
use super::target::Target;
use crate::conn::Conn;
use crate::h2;
use crate::tls::client::Profile;

/// A connection, or a stream of one, to send one request on.
pub(crate) struct Checked {
    /// The connection.
    pub(crate) link: Link,
    /// Where an HTTP/1.1 connection goes when it can be used again.
    pub(crate) home: Option<Home>,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Whether it had been used before.
    pub(crate) reused: bool,
    /// How long connecting took, if this request waited for it.
    pub(crate) connect: Option<Duration>,
}

/// What a request is sent on.
pub(crate) enum Link {
    /// An HTTP/1.1 connection.
    H1(Box<Conn>),
    /// One stream of an HTTP/2 connection.
    H2(h2::client::Handle),
}

/// A [`Link`] as the pool finds or makes it. What it is made of is boxed for as long as the
/// connection lives: it goes from hand to hand with every request.
pub(super) enum Found {
    /// An HTTP/1.1 connection.
    H1(Box<Conn>, Box<Origin>),
    /// One stream of an HTTP/2 connection.
    H2(h2::client::Handle),
}

/// Where a connection goes when it can be used again.
pub(crate) struct Home {
    pool: Pool,
    pub(super) origin: Box<Origin>,
}

/// What a connection was made for. It stays with the connection, so that no request that uses it
/// again has to put it together.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(super) key: Key,
    pub(super) cell: Arc<EndpointCell>,
    pub(super) profile: Arc<Profile>,
    pub(super) series: UpstreamHandle,
    pub(super) gate: Arc<Gate>,
}

impl Checked {
    pub(super) fn new(
        pool: &Pool,
        target: &Target<'_>,
        link: Found,
        reused: bool,
        connect: Option<Duration>,
    ) -> Self {
        let (link, home) = match link {
            Found::H1(conn, origin) => {
                let pool = pool.clone();
                (Link::H1(conn), Some(Home { pool, origin }))
            }
            Found::H2(handle) => (Link::H2(handle), None),
        };
        Self {
            link,
            home,
            tls: target.profile.tls.is_some(),
            reused,
            connect,
        }
    }

    /// Whether HTTP/2 is spoken.
    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.link, Link::H2(_))
    }

    /// Waits until its peer has told its settings, if HTTP/2 is spoken, or the connection has ended.
    pub(crate) async fn settled(&self) {
        if let Link::H2(handle) = &self.link {
            handle.settled().await;
        }
    }

    /// Leaves the connection to others, unused.
    pub(super) fn lay_down(self) {
        if let (Link::H1(conn), Some(home)) = (self.link, self.home) {
            home.put(conn);
        }
    }
}

impl Picked {
    /// What was picked, unless it is a connection that turns out not to be usable.
    pub(super) fn into_found(self, is_usable: impl FnOnce(&mut Conn) -> bool) -> Option<Found> {
        match self {
            Self::Stream(handle) => Some(Found::H2(handle)),
            Self::Conn(mut conn, origin) => is_usable(&mut conn).then(|| Found::H1(conn, origin)),
        }
    }
}

impl Origin {
    pub(super) fn new(target: &Target<'_>, gate: Arc<Gate>) -> Self {
        Self {
            gate,
            key: target.key(),
            cell: target.endpoint.cell.clone(),
            profile: target.profile.clone(),
            series: target.series.clone(),
        }
    }
}

impl Home {
    /// Gives a connection back. It must be done with its request, with nothing left to read or
    /// write. To be called on the thread that checked it out.
    pub(crate) fn put(self, mut conn: Box<Conn>) {
        conn.release();
        self.pool.put(self.origin, conn);
    }
}
