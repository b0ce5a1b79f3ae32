//! One attempt, as the cells count it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::{EndpointCell, Outcome};
use super::region::RegionCell;
use super::tally::ErrorClass;

/// Counts one attempt as in flight until it is dropped, and as waiting from when its request was
/// sent until its answer begins, on whatever path that happens.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<EndpointCell>,
    region: Arc<RegionCell>,
    waiting: bool,
    retry: bool,
}

impl InFlight {
    /// Counts an attempt at `endpoint` in `region`.
    pub fn begin(endpoint: Arc<EndpointCell>, region: Arc<RegionCell>) -> Self {
        endpoint.under_way().begin();
        region.under_way().begin();
        region.begun();
        Self {
            endpoint,
            region,
            waiting: false,
            retry: false,
        }
    }

    /// Counts it as a retry besides.
    #[must_use]
    pub fn retry(mut self) -> Self {
        if !std::mem::replace(&mut self.retry, true) {
            self.endpoint.under_way().is_retry();
            self.region.under_way().is_retry();
        }
        self
    }

    /// Counts it as bound to its region besides: steering could not have shed it. At most once.
    #[must_use]
    pub fn bound(self) -> Self {
        self.region.begun_bound();
        self
    }

    /// The endpoint's cell.
    pub fn endpoint(&self) -> &EndpointCell {
        &self.endpoint
    }

    /// The region's cell.
    pub fn region(&self) -> &RegionCell {
        &self.region
    }

    /// A connection is being made for it: the upstream owes a sign of life. Where connections carry one
    /// request each, most of what waits in a region that has just fallen silent waits for this.
    pub fn connecting(&mut self) {
        self.sent();
    }

    /// The connection is there: as long as the request is being sent, nothing is owed. That is no sign
    /// of life from the region itself: something near may accept connections in its place.
    pub fn connected(&mut self) {
        self.settle();
    }

    /// The request was handed over whole: from now on the upstream owes its answer.
    pub fn sent(&mut self) {
        if !self.waiting {
            self.waiting = true;
            self.region.sent();
        }
    }

    /// The answer's head came after `took`, with `status`. `listed`: the retry policy counts the
    /// status as a failure. The speed of an error, and of a 429, is no merit.
    pub fn answered(&mut self, took: Duration, status: u16, listed: bool, now: Instant) {
        self.settle();
        self.region.heard(now);
        let class = match status {
            500.. => ErrorClass::ServerError,
            _ if listed => ErrorClass::Declared,
            429 => return self.endpoint.record(Outcome::Throttled(took), now),
            _ => {
                self.region.observe_service(took, now);
                return self.endpoint.record(Outcome::Answered(took), now);
            }
        };
        self.blame(class);
        let failed = Outcome::Failed {
            class,
            gateway: matches!(status, 502..=504),
            took: (!listed).then_some(took),
        };
        self.endpoint.record(failed, now);
    }

    /// The attempt failed, before its answer or within it.
    pub fn failed(&mut self, class: ErrorClass, now: Instant) {
        self.settle();
        self.blame(class);
        self.endpoint.record(Outcome::failed(class), now);
    }

    /// Holds a failure against the region, unless the request failed before: then it may as well be the
    /// request's own, and where other regions see of a bad route nothing but its retries, they would
    /// seem to fail wholly. Who refuses a connection has not seen the request.
    fn blame(&self, class: ErrorClass) {
        if !self.retry || matches!(class, ErrorClass::Connect | ErrorClass::Tls) {
            self.region.failed(class);
        }
    }

    /// A byte came: the region is not silent.
    pub fn heard(&self, now: Instant) {
        self.region.heard(now);
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.region.settled();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.settle();
        self.endpoint.under_way().end(self.retry);
        self.region.under_way().end(self.retry);
    }
}
