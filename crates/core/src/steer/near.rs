//! The nearest first: from this PoP by latency, or from the client by its place.

use std::time::Duration;

use super::{Group, Round, accept};
use crate::decision::{Because, Decision, RegionRow};
use crate::geo::Origin;
use crate::plan::{GeoRule, Tolerance};

/// Round-trip kilometres that count as one millisecond until a region is measured: light in fibre
/// makes 100 km of distance a round trip of one millisecond.
pub const KM_PER_MS: f64 = 100.0;

/// Regions share only where they are exactly as near.
pub(super) const NO_BAND: Tolerance = Tolerance::Absolute(Duration::ZERO);

/// Ascending by round trip; the band of the nearest is drawn by what is spare.
pub(super) fn by_latency(
    tolerance: Tolerance,
    group: &mut Group<'_>,
    round: &mut Round<'_>,
    decision: &mut Decision,
) {
    if group.iter().all(|row| row.latency.is_none()) {
        return by_distance(group, decision);
    }
    group.sort_unstable_by(|a, b| {
        latency_ms(a)
            .total_cmp(&latency_ms(b))
            .then(a.position.cmp(&b.position))
    });
    let nearest = group[0].position;
    let limit = limit_ms(latency_ms(group[0]), tolerance);
    let band = group.partition_point(|row| latency_ms(row) <= limit);
    round.share(&mut group[..band]);
    accept(group, decision, |row| match () {
        () if row.latency.is_none() => Because::Unmeasured,
        () if row.position == nearest => Because::Nearest,
        () if latency_ms(row) <= limit => Because::WithinTolerance,
        () => Because::Farther,
    });
}

fn by_distance(group: &mut Group<'_>, decision: &mut Decision) {
    if group.iter().all(|row| row.distance_km.is_some()) {
        let km = |row: &RegionRow| row.distance_km.unwrap_or(f64::INFINITY);
        group.sort_unstable_by(|a, b| km(a).total_cmp(&km(b)).then(a.position.cmp(&b.position)));
    }
    accept(group, decision, |_| Because::Unmeasured);
}

/// Milliseconds of round trip: measured, else estimated, else endless.
fn latency_ms(row: &RegionRow) -> f64 {
    match (row.latency, row.distance_km) {
        (Some(rtt), _) => rtt.as_secs_f64() * 1e3,
        (None, Some(km)) => km / KM_PER_MS,
        (None, None) => f64::INFINITY,
    }
}

fn limit_ms(nearest: f64, tolerance: Tolerance) -> f64 {
    match tolerance {
        Tolerance::Absolute(width) => nearest + width.as_secs_f64() * 1e3,
        Tolerance::Relative(part) => nearest * (1.0 + part),
    }
}

/// Those that the client's rule names in its order, then the nearest to the client, then the nearest to
/// this PoP.
pub(super) fn by_place(group: &mut Group<'_>, round: &mut Round<'_>, decision: &mut Decision) {
    let is_placed = |row: &&RegionRow| row.named.is_some() || row.client_km.is_some();
    if !group.iter().any(is_placed) {
        return by_latency(NO_BAND, group, round, decision);
    }
    let named = |row: &RegionRow| row.named.unwrap_or(u8::MAX);
    let km = |row: &RegionRow| row.client_km.unwrap_or(f64::INFINITY);
    group.sort_unstable_by(|a, b| {
        named(a)
            .cmp(&named(b))
            .then(km(a).total_cmp(&km(b)))
            .then(latency_ms(a).total_cmp(&latency_ms(b)))
            .then(a.position.cmp(&b.position))
    });
    accept(group, decision, |row| match () {
        () if row.named.is_some() => Because::GeoRule,
        () if row.client_km.is_some() => Because::Distance,
        () if row.latency.is_none() => Because::Unmeasured,
        () => Because::Farther,
    });
}

impl GeoRule {
    /// Whether the rule is for clients of this place.
    pub fn fits(&self, origin: &Origin) -> bool {
        let is_in =
            |list: &[[u8; 2]], code: Option<[u8; 2]>| code.is_some_and(|code| list.contains(&code));
        is_in(&self.countries, origin.country) || is_in(&self.continents, origin.continent)
    }
}
