//! What one scene came to, as plain numbers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::script::Scene;
use super::stage::REGIONS;
use super::traffic::Books;

/// The figures of one scene. Requests count where they ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) phase: &'static str,
    pub(super) what: &'static str,
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) ok: u64,
    /// Answered because of a later attempt, as the proxy counted.
    pub(super) rescued: u64,
    pub(super) lost: u64,
    pub(super) wrong_bodies: u64,
    pub(super) latency_ms: Latency,
    /// From a fault to the end of the last failed or slow request, in seconds; 0 when there was
    /// none, nothing when the scene is no fault.
    pub(super) settled_s: Option<f64>,
    /// Answers by region.
    pub(super) regions: BTreeMap<&'static str, u64>,
}

/// Latency of right answers, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Figures {
    /// The figures of `part`, what was counted within `time` since the start of the traffic.
    pub(super) fn new(scene: &Scene, part: &Books, time: Range<Duration>, rescued: u64) -> Self {
        let wrong_bodies = part.sum(|book| book.wrong_bodies());
        let ends = part.incidents().map(|incident| incident.finished_at());
        let last = ends.max().unwrap_or_default();
        let regions = REGIONS.map(|(name, _)| (name, part.of_region(name)));
        Self {
            phase: scene.name,
            what: scene.told,
            seconds: (time.end - time.start).as_secs_f64(),
            requests: part.ended(),
            ok: part.sum(|book| book.ok()),
            rescued,
            lost: part.lost(),
            wrong_bodies,
            latency_ms: Latency::of(part),
            settled_s: scene
                .is_fault()
                .then(|| last.saturating_sub(time.start).as_secs_f64()),
            regions: regions.into_iter().collect(),
        }
    }
}

impl Latency {
    pub(super) fn of(part: &Books) -> Self {
        let [p50, p99, max] = part.latency([0.5, 0.99, 1.0]);
        let ms = |latency: Duration| latency.as_secs_f64() * 1e3;
        Self {
            p50: ms(p50),
            p99: ms(p99),
            max: ms(max),
        }
    }
}
