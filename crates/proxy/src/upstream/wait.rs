//! Waiting for a connection where as many are open as may be.
//!
//! A request that goes away while it waits leaves the line, and whatever was given to it in the same
//! moment goes to the next.

use std::sync::Arc;

use tidegate_telemetry::labels::Limit;
use tokio::sync::oneshot;

use super::checked::Found;
use super::connect::{ConnectError, ConnectErrorKind};
use super::gate::{Gate, Reached, Ticket};
use super::pool::{Pool, rehome};
use super::queue::{Grant, Waiter};
use super::shelf::Picked;
use super::target::{Target, Wish};
use crate::clock::now;
use crate::conn::Conn;
use crate::wheel::{Elapsed, TICK, within};

/// What a request may do that found no idle connection.
pub(super) enum Admission {
    /// Open one.
    Place(Ticket),
    /// Use one that became free meanwhile.
    Link(Box<Found>),
}

impl Pool {
    /// Room for a new connection to `target`, or a used one if `wish` says which will do. Where as
    /// many are open as may be, it waits for as long as connecting may take.
    pub(super) async fn admit(
        &self,
        target: &Target<'_>,
        wish: Option<Wish>,
    ) -> Result<Admission, ConnectError> {
        let gate = self.gate(target);
        if let Some(ticket) = gate.enter(target) {
            return Ok(Admission::Place(ticket));
        }
        let timer = self.wheel().timer();
        // Before whoever bounds the attempt calls it a connect that hangs: nothing hangs here.
        let until = now() + target.profile.connect_timeout.saturating_sub(TICK);
        let waited = within(&timer, until, self.wait(gate, target, wish)).await;
        waited.unwrap_or_else(|Elapsed| Err(waited_in_vain(target)))
    }

    async fn wait(
        &self,
        gate: Arc<Gate>,
        target: &Target<'_>,
        wish: Option<Wish>,
    ) -> Result<Admission, ConnectError> {
        let (waiter, told) = Waiter::new(target, wish);
        let id = waiter.id();
        gate.join(waiter).map_err(|reached| full(target, reached))?;
        let mut waiting = Waiting {
            pool: self.clone(),
            gate,
            id,
            told,
        };
        loop {
            let granted = (&mut waiting.told).await;
            match granted.map_err(|_| waited_in_vain(target))? {
                Grant::Place(ticket) => return Ok(Admission::Place(ticket)),
                // What is dead was somebody's place: when it is dropped, that is for the first in line.
                Grant::Link(picked) => match picked.into_usable() {
                    Ok(found) => return Ok(Admission::Link(Box::new(found))),
                    Err(_dead) => waiting.again(target, wish),
                },
            }
        }
    }

    /// Passes on what was given to a request that does not want it any more.
    fn give_back(&self, grant: Grant) {
        if let Grant::Link(picked) = grant
            && let Ok(Found::H1(conn, origin)) = picked.into_usable()
        {
            self.put(origin, conn);
        }
    }
}

impl Picked {
    /// What was picked, on this thread now, or the connection that turned out to be dead.
    fn into_usable(self) -> Result<Found, Box<Conn>> {
        match self {
            Self::Stream(handle) => Ok(Found::H2(handle)),
            Self::Conn(mut conn, origin) => match rehome(&mut conn) {
                true => Ok(Found::H1(conn, origin)),
                false => Err(conn),
            },
        }
    }
}

/// Stands in line until it is dropped.
struct Waiting {
    pool: Pool,
    gate: Arc<Gate>,
    id: usize,
    told: oneshot::Receiver<Grant>,
}

impl Waiting {
    fn again(&mut self, target: &Target<'_>, wish: Option<Wish>) {
        let (waiter, told) = Waiter::new(target, wish);
        (self.id, self.told) = (waiter.id(), told);
        self.gate.join_first(waiter);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gate.quit(self.id);
        if let Ok(grant) = self.told.try_recv() {
            self.pool.give_back(grant);
        }
    }
}

fn full(target: &Target<'_>, reached: Reached) -> ConnectError {
    target.series.refused(Limit::MaxPending);
    let Reached {
        level,
        max_connections,
        max_pending,
    } = reached;
    let detail = format!(
        "{}: circuit_breaker.{level} allows {max_connections} connections, and {max_pending} \
         requests wait for one already",
        target.endpoint.address
    );
    ConnectError::new(ConnectErrorKind::Full, detail)
}

fn waited_in_vain(target: &Target<'_>) -> ConnectError {
    target.series.refused(Limit::MaxConnections);
    let limit = target.profile.connect_timeout.as_millis();
    let detail = format!(
        "{}: none of the connections that circuit_breaker allows became free within {limit} ms",
        target.endpoint.address
    );
    ConnectError::new(ConnectErrorKind::Full, detail)
}
