//! The figures of the whole: a table for people, JSON for tools, and a verdict.

use std::fmt;

use serde::Serialize;

use super::DemoOptions;
use super::figures::{Figures, Latency};
use super::script::Played;
use super::stage::{REGIONS, Stage};
use super::traffic::{Books, SLOW};
use crate::exit::Exit;

/// What a failover by DNS takes: a health check of 30 s, and answers that resolvers keep for 60 s.
const DNS_FAILOVER_S: u64 = 90;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    verdict: Verdict,
    seconds: f64,
    rate: f64,
    regions: Vec<Region>,
    phases: Vec<Figures>,
    total: Total,
    /// A right answer that took longer counts as slow.
    slow_ms: u128,
    /// From a fault to its last failed or slow request, for the worst of the faults.
    settled_s: f64,
    dns_failover_s: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    NothingLost,
    RequestsLost,
    WrongBodies,
    /// A request that was sent is in none of the columns.
    BooksDoNotBalance,
}

#[derive(Debug, Serialize)]
struct Region {
    name: &'static str,
    rtt_ms: u128,
}

/// The sums, which also cover what ended after the last scene.
#[derive(Debug, Serialize)]
struct Total {
    requests: u64,
    ok: u64,
    rescued: u64,
    lost: u64,
    wrong_bodies: u64,
    /// Lost as the proxy counted.
    lost_by_proxy: u64,
    latency_ms: Latency,
}

impl Summary {
    pub(super) fn new(
        played: &Played,
        books: &Books,
        stage: &Stage,
        options: &DemoOptions,
    ) -> Self {
        let total = Total {
            requests: books.ended(),
            ok: books.sum(|book| book.ok()),
            rescued: stage.counted("tidegate_requests_rescued_total"),
            lost: books.lost(),
            wrong_bodies: books.sum(|book| book.wrong_bodies()),
            lost_by_proxy: stage.counted("tidegate_requests_lost_total"),
            latency_ms: Latency::of(books),
        };
        let settled = played
            .figures
            .iter()
            .filter_map(|figures| figures.settled_s);
        let region = |(name, rtt): (&'static str, std::time::Duration)| Region {
            name,
            rtt_ms: rtt.as_millis(),
        };
        Self {
            verdict: Verdict::of(&total, books.balance()),
            seconds: played.took.as_secs_f64(),
            rate: options.rate,
            regions: REGIONS.map(region).into(),
            phases: played.figures.clone(),
            total,
            slow_ms: SLOW.as_millis(),
            settled_s: settled.fold(0.0, f64::max),
            dns_failover_s: DNS_FAILOVER_S,
        }
    }

    /// The same figures as JSON.
    pub(super) fn to_json(&self) -> String {
        // Plain numbers and words always serialise.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(super) fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::NothingLost => Exit::Fine,
            _ => Exit::No,
        }
    }
}

impl Verdict {
    fn of(total: &Total, balanced: bool) -> Self {
        match () {
            () if total.wrong_bodies > 0 => Self::WrongBodies,
            () if total.lost > 0 => Self::RequestsLost,
            () if !balanced => Self::BooksDoNotBalance,
            () => Self::NothingLost,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::NothingLost => "nothing lost",
            Self::RequestsLost => "FAILED: requests were lost",
            Self::WrongBodies => "FAILED: bodies were wrong",
            Self::BooksDoNotBalance => "FAILED: requests are unaccounted for",
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:12}{:>9}{:>9}{:>9}{:>6}{:>7}{:>9}{:>9}{:>9}{:>10}",
            "phase",
            "requests",
            "ok",
            "rescued",
            "lost",
            "wrong",
            "p50 ms",
            "p99 ms",
            "max ms",
            "settled"
        )?;
        for figures in &self.phases {
            row(f, figures)?;
        }
        self.total_row(f)?;
        writeln!(
            f,
            "\nThe last failed or slow request (over {} ms) ended {:.1} s after its fault. A failover \
             by DNS takes\nabout {} s: 30 s until a health check has failed, 60 s until resolvers ask \
             again.\nVerdict: {}.",
            self.slow_ms,
            self.settled_s,
            self.dns_failover_s,
            self.verdict.told(),
        )
    }
}

impl Summary {
    fn total_row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total {
            requests,
            ok,
            rescued,
            lost,
            wrong_bodies,
            latency_ms: Latency { p50, p99, max },
            ..
        } = &self.total;
        writeln!(
            f,
            "{:12}{requests:>9}{ok:>9}{rescued:>9}{lost:>6}{wrong_bodies:>7}{p50:>9.1}{p99:>9.1}{max:>9.1}",
            "total",
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
    let Figures {
        phase,
        requests,
        ok,
        rescued,
        lost,
        wrong_bodies,
        latency_ms: Latency { p50, p99, max },
        settled_s,
        ..
    } = figures;
    let settled = match settled_s {
        None => "-".to_owned(),
        Some(0.0) => "at once".to_owned(),
        Some(seconds) => format!("{seconds:.1} s"),
    };
    writeln!(
        f,
        "{phase:12}{requests:>9}{ok:>9}{rescued:>9}{lost:>6}{wrong_bodies:>7}{p50:>9.1}{p99:>9.1}{max:>9.1}{settled:>10}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lost: u64, wrong_bodies: u64, balanced: bool, expected: Verdict) {
        let total = Total {
            requests: 10,
            ok: 10 - lost - wrong_bodies,
            rescued: 0,
            lost,
            wrong_bodies,
            lost_by_proxy: 0,
            latency_ms: Latency {
                p50: 1.0,
                p99: 2.0,
                max: 3.0,
            },
        };
        assert_eq!(Verdict::of(&total, balanced), expected, "{total:?}");
    }

    #[test]
    fn nothing_bad_passes() {
        check(0, 0, true, Verdict::NothingLost);
        check(1, 0, true, Verdict::RequestsLost);
        check(0, 1, true, Verdict::WrongBodies);
        check(1, 1, false, Verdict::WrongBodies);
        check(0, 0, false, Verdict::BooksDoNotBalance);
    }
}
