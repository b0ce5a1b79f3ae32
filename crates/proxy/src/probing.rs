//! Probes of endpoints for the sake of balance (`balance: prequal`), beside the attempts that cause
//! them.
//!
//! Each attempt has a few endpoints of its own region (and zone) asked how much they have to do; core
//! says which and what follows. A probe is a GET over the connections that requests use, within their
//! bounds; it carries nothing of any request, delays none, and is no evidence of anybody's health. How
//! many are under way is bounded by core: one for each endpoint and 64 for each zone. What an endpoint
//! answers is believed with a status of 200 to 299 only, and its body is read for nothing, up to a
//! length.

mod told;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use tidegate_core::balance::prequal::Told;
use tidegate_core::balance::{Barred, Seek};
use tidegate_core::choose::Choice;
use tidegate_core::plan::Balance;
use tidegate_core::{Endpoint, EndpointSet};
use tidegate_http1::{Framing, Known, RequestContext, encode};

use crate::body::{Caps, Piece, ReplayBody, Upload};
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
use crate::h1::client as h1;
use crate::h2::client as h2;
use crate::head::ResponseHead;
use crate::held::HeldUpstream;
use crate::pipeline::Serving;
use crate::upstream::pool::{Checked, Freshness, Link, checkout};
use crate::worker::Worker;

/// So many bytes of an answer are read, so that its connection can be used again.
const ANSWER_BYTES: usize = 64 << 10;

/// Has endpoints probed for an attempt that was chosen, if its policy wants that.
pub(crate) fn begin(serving: &Serving, choice: &Choice) {
    let Balance::Prequal(policy) = choice.set.balance() else {
        return;
    };
    let worker = &serving.context.worker;
    let seek = Seek {
        barred: Barred::default(),
        hash: None,
        named: None,
        region: &serving.upstream().1.regions[usize::from(choice.position)].cell,
        now: now(),
    };
    let asked = choice
        .set
        .to_probe(choice.at, &seek, &mut worker.rng.borrow_mut());
    for at in asked {
        let probe = Probe {
            worker: worker.clone(),
            upstream: serving.admitted.upstream.clone(),
            position: choice.position,
            set: Arc::clone(&choice.set),
            at,
            told: None,
        };
        tokio::task::spawn_local(probe.run(policy.path.clone(), policy.timeout));
    }
}

/// One probe. Whatever becomes of it is told when this is dropped.
struct Probe {
    worker: Rc<Worker>,
    upstream: Rc<HeldUpstream>,
    position: u8,
    set: Arc<EndpointSet>,
    at: usize,
    told: Option<Told>,
}

impl Probe {
    async fn run(mut self, path: Arc<str>, timeout: Duration) {
        let answer = tokio::time::timeout(timeout, self.ask(&path)).await;
        self.told = answer.ok().flatten();
    }

    fn endpoint(&self) -> &Endpoint {
        &self.set.endpoints[self.at]
    }

    /// What the endpoint says; none if it does not answer, or with no success.
    async fn ask(&self, path: &str) -> Option<Told> {
        let target = self.upstream.target(self.position, self.endpoint());
        let checked = checkout(&self.worker, &target, Freshness::Any).await;
        let checked = checked
            .inspect_err(|error| tracing::debug!(%error, "no probe"))
            .ok()?;
        let mut exchange = start(checked, &self.endpoint().address, path)?;
        let ledger = &self.worker.replay;
        let mut nothing = ReplayBody::new(Upload::Empty, Framing::None, Caps::default(), 0, ledger);
        let head = poll_fn(|cx| poll_final(cx, &mut exchange, &mut nothing)).await?;
        let told = read(&head);
        let mut left = ANSWER_BYTES;
        poll_fn(|cx| poll_through(cx, &mut exchange, &mut left)).await;
        told
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let draw = self.worker.rng.borrow_mut().f64();
        self.set.probed(self.at, self.told.take(), draw, now());
    }
}

fn start(checked: Checked, authority: &str, path: &str) -> Option<Exchange> {
    match checked.link {
        Link::H1(conn) => {
            let context = RequestContext {
                head_request: false,
                connect: false,
                upgrade: false,
            };
            let write = |out: &mut BytesMut| {
                encode::request_line(out, &Method::GET, path.as_bytes());
                encode::field(out, b"host", authority.as_bytes());
                encode::end(out);
            };
            let home = checked.home;
            let exchange = h1::Exchange::start(conn, home, context, Framing::None, write);
            Some(Exchange::H1(exchange))
        }
        Link::H2(handle) => {
            let scheme = if checked.tls { "https" } else { "http" };
            let request = http::Request::get(format!("{scheme}://{authority}{path}"));
            let request = request.version(http::Version::HTTP_2).body(()).ok()?;
            let exchange = h2::Exchange::start(handle, request, true).ok()?;
            Some(Exchange::H2(Box::new(exchange)))
        }
    }
}

/// The answer's head; none if there will be none.
fn poll_final(
    cx: &mut TaskContext<'_>,
    exchange: &mut Exchange,
    nothing: &mut ReplayBody,
) -> Poll<Option<ResponseHead>> {
    let _told_by_the_answer = exchange.poll_upload(cx, nothing);
    loop {
        match ready!(exchange.poll_head(cx)) {
            Ok(HeadEvent::Interim(_)) => {}
            Ok(HeadEvent::Final(head)) => return Poll::Ready(Some(head)),
            Err(_) => return Poll::Ready(None),
        }
    }
}

/// Reads the answer's body for nothing. One that is too long is cut.
fn poll_through(cx: &mut TaskContext<'_>, exchange: &mut Exchange, left: &mut usize) -> Poll<()> {
    while !exchange.is_ended() && *left > 0 {
        match ready!(exchange.poll_body(cx)) {
            Some(Ok(Piece::Data(data))) => *left = left.saturating_sub(data.len()),
            Some(Ok(Piece::Trailers(_))) => {}
            Some(Err(_)) | None => return Poll::Ready(()),
        }
    }
    Poll::Ready(())
}

fn read(head: &ResponseHead) -> Option<Told> {
    let report = || head.field(Known::EndpointLoadMetrics);
    let success = head.status().is_success();
    success.then(|| report().map(told::read).unwrap_or_default())
}
