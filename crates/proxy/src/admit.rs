//! What a request must pass before anything is attempted for it: the plan, the route, the limits. From
//! here on it holds its route and its upstream, and not the plan.

use std::rc::Rc;

use http::{Method, StatusCode};
use tidegate_core::geo::Origin;
use tidegate_core::plan::Route;
use tidegate_core::retry::{Idempotency, idempotency};
use tidegate_core::{Lot, RegionIdx, RouteIdx, Termination};
use tidegate_http1::{Framing, Known};

use crate::action::{Acts, Replied};
use crate::context::Context;
use crate::grpc::Dialect;
use crate::held::{HeldRoute, HeldUpstream};
use crate::keys;
use crate::named;
use crate::pipeline::Request;
use crate::problem::Refusal;
use crate::recorder::Met;
use crate::worker::Bound;

/// A request that may go on.
pub(crate) struct Admitted {
    pub(crate) route: Rc<HeldRoute>,
    /// Where all of its attempts go: the route's upstream, or the one that its split gives the request.
    pub(crate) upstream: Rc<HeldUpstream>,
    /// The upstream that its client is served by, if it is another one: that of a copy's original.
    pub(crate) served_by: Option<Rc<HeldUpstream>>,
    /// Where its client is, if its upstream steers by that and something tells it.
    pub(crate) origin: Option<Origin>,
    pub(crate) idempotency: Idempotency,
    /// How it is spoken, if it is a call of gRPC.
    pub(crate) dialect: Option<Dialect>,
    /// Whether its client wants to switch to another protocol.
    pub(crate) upgrade: bool,
    /// Whether it is the copy of a request, for another upstream.
    pub(crate) is_copy: bool,
    /// The region that a trusted peer names for it.
    pub(crate) named: Option<RegionIdx>,
    /// What its route does with it. None: nothing but to send it on.
    pub(crate) acts: Option<Rc<Acts>>,
}

impl Admitted {
    /// The upstream that its client is served by.
    pub(crate) fn served_by(&self) -> &HeldUpstream {
        self.served_by.as_ref().unwrap_or(&self.upstream)
    }
}

/// Why a request is not sent on.
pub(crate) enum Turned {
    /// It must not be, and got so far.
    Refused(Refusal, Option<Met>),
    /// Its route answers by itself.
    Replied(Box<Replied>),
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, None)
    }
}

/// Loads the plan once, finds the route, checks the limits. The plan comes along for what else is looked
/// at in this moment; who keeps it keeps all of it.
pub(crate) fn admit(
    context: &Context,
    request: &Request,
    lot: Lot,
) -> Result<(Admitted, Rc<Bound>), Turned> {
    let dialect = Dialect::of(&request.head);
    let admitted = check(context, request, dialect, lot);
    admitted.map_err(|turned| match turned {
        Turned::Refused(refusal, met) => Turned::Refused(refusal.spoken(dialect), met),
        replied @ Turned::Replied(_) => replied,
    })
}

fn check(
    context: &Context,
    request: &Request,
    dialect: Option<Dialect>,
    lot: Lot,
) -> Result<(Admitted, Rc<Bound>), Turned> {
    refuse_proxying(request)?;
    let parts = keys::Parts {
        context,
        head: &request.head,
    };
    let bound = context
        .worker
        .bound_for(&parts)
        .ok_or_else(|| Refusal::new(Termination::NoRoute, None))?;
    let Some(index) = bound.live.plan.table.find(&parts) else {
        let refusal = Refusal::new(Termination::NoRoute, None);
        return Err(Turned::Refused(refusal, Some(Met::Plan(bound))));
    };
    match send_on(&parts, request, dialect, (&bound, index), lot) {
        Ok(admitted) => Ok((admitted, bound)),
        Err(Turned::Refused(refusal, _)) => {
            let met = Met::Route(bound.route(index).clone());
            Err(Turned::Refused(refusal, Some(met)))
        }
        Err(replied) => Err(replied),
    }
}

/// What a request that takes this route may go on with.
fn send_on(
    parts: &keys::Parts<'_>,
    request: &Request,
    dialect: Option<Dialect>,
    (bound, index): (&Bound, RouteIdx),
    lot: Lot,
) -> Result<Admitted, Turned> {
    let (context, plan) = (parts.context, &bound.live.plan);
    let held = bound.route(index);
    held.approach();
    let route = &held.route;
    let Some(upstream) = keys::upstream(context, &request.head, plan, route, lot) else {
        return Err(reply(held, parts, dialect)?);
    };
    let upstream = bound.upstream(upstream);
    let wanted = &upstream.wanted;
    refuse_large(request, wanted.body.max_bytes)?;
    let named = named::region(context, &request.head, plan, wanted)?;
    let upgrade = request.head.upgrade().is_some();
    let idempotency = match upgrade {
        true => Idempotency::No,
        false => idempotency_of(request, route),
    };
    Ok(Admitted {
        upgrade,
        is_copy: false,
        named,
        origin: keys::origin(context, &request.head, plan, wanted),
        acts: Acts::of(held, parts, lot)?,
        route: held.clone(),
        upstream: upstream.clone(),
        served_by: None,
        idempotency,
        dialect,
    })
}

/// What a route without an upstream answers.
fn reply(
    route: &Rc<HeldRoute>,
    parts: &keys::Parts<'_>,
    dialect: Option<Dialect>,
) -> Result<Turned, Refusal> {
    let replied = Replied::of(route, parts, dialect)?;
    let no_route = || Refusal::new(Termination::NoRoute, None);
    Ok(Turned::Replied(Box::new(replied.ok_or_else(no_route)?)))
}

/// CONNECT asks for a tunnel to anywhere, which this is not, unless it asks for a WebSocket
/// (RFC 8441). Other protocols would carry what no rule of ours looks at.
fn refuse_proxying(request: &Request) -> Result<(), Refusal> {
    let is_websocket = |protocol: &str| protocol.eq_ignore_ascii_case("websocket");
    if *request.head.method() == Method::CONNECT
        && !request.head.upgrade().is_some_and(is_websocket)
    {
        let detail =
            "CONNECT to other hosts, or for other protocols than WebSocket, is not offered here"
                .to_owned();
        return Err(Refusal::new(Termination::BadRequest, Some(detail))
            .with_status(StatusCode::NOT_IMPLEMENTED));
    }
    Ok(())
}

fn refuse_large(request: &Request, max: Option<u64>) -> Result<(), Refusal> {
    match (request.head.framing(request.has_body), max) {
        (Framing::Length(length), Some(max)) if length > max => {
            let detail = format!("the body has {length} bytes, {max} are allowed");
            Err(Refusal::new(Termination::BodyTooLarge, Some(detail)))
        }
        _ => Ok(()),
    }
}

fn idempotency_of(request: &Request, route: &Route) -> Idempotency {
    let has_key = || {
        let name = http::HeaderName::from_static("idempotency-key");
        request.head.field(Known::IdempotencyKey, &name).is_some()
    };
    let keyed = route.idempotency_key && has_key();
    idempotency(request.head.method(), route.idempotent, keyed)
}
