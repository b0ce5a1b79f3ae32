//! What can happen to the near region, on its links or in its service.

use std::time::Duration;

use clap::ValueEnum;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidegate_lab::{Behaviour, Latency, Mode};

/// The middle of what a region takes to answer.
const THINKS: Duration = Duration::from_millis(20);

/// Standard deviation of the logarithm of that.
const SPREAD: f64 = 0.4;

/// How much slower a slow region is.
const SLOWDOWN: u32 = 20;

/// Share of requests that a grey region fails.
const GREY: f64 = 0.3;

/// How long a flapping region is down, and how long up.
const FLAP: Duration = Duration::from_secs(2);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Ports closed, open connections reset
    Refuse,
    /// Every connection, open or new, is reset
    Reset,
    /// Connections stay and open, and no byte passes
    BlackHole,
    /// The same, and a connect hangs too
    Unreachable,
    /// 503 to everything, health checks included
    Errors,
    /// 503 to every request, health checks stay green
    HiddenErrors,
    /// Twenty times slower
    Slow,
    /// 503 to three requests in ten, health checks stay green
    Grey,
    /// Ports closed for two seconds, open for two, and so on
    Flapping,
}

/// One change of the near region.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Of its links.
    Link(Mode),
    /// Of its service.
    Service(Behaviour),
}

impl Fault {
    /// All, in the order of a run.
    pub(super) const ALL: [Self; 9] = [
        Self::Refuse,
        Self::Reset,
        Self::BlackHole,
        Self::Unreachable,
        Self::Errors,
        Self::HiddenErrors,
        Self::Slow,
        Self::Grey,
        Self::Flapping,
    ];

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::BlackHole => "black hole",
            Self::Unreachable => "unreachable",
            Self::Errors => "503, checks too",
            Self::HiddenErrors => "503, checks green",
            Self::Slow => "20 times slower",
            Self::Grey => "30 % 503",
            Self::Flapping => "flapping",
        }
    }

    /// Whether the come-back is watched for long: once for each way to see that a region is well.
    pub(super) fn is_watched_long(self) -> bool {
        matches!(self, Self::Refuse | Self::BlackHole | Self::HiddenErrors)
    }

    /// What happens at its start.
    pub(super) fn start(self) -> Change {
        let well = well();
        let failing = |error_rate, healthy| {
            Change::Service(Behaviour {
                error_rate,
                error_status: StatusCode::SERVICE_UNAVAILABLE,
                healthy,
                ..well.clone()
            })
        };
        match self {
            Self::Refuse | Self::Flapping => Change::Link(Mode::Refuse),
            Self::Reset => Change::Link(Mode::Reset),
            Self::BlackHole => Change::Link(Mode::BlackHole),
            Self::Unreachable => Change::Link(Mode::Unreachable),
            Self::Errors => failing(1.0, false),
            Self::HiddenErrors => failing(1.0, true),
            Self::Grey => failing(GREY, true),
            Self::Slow => Change::Service(Behaviour {
                latency: latency(THINKS * SLOWDOWN),
                ..well
            }),
        }
    }

    /// What happens at its end.
    pub(super) fn end(self) -> Change {
        match self.start() {
            Change::Link(_) => Change::Link(Mode::Up),
            Change::Service(_) => Change::Service(well()),
        }
    }

    /// Everything that happens in a fault of this length, with the time since its start; the last is
    /// its end.
    pub(super) fn changes(self, lasts: Duration) -> Vec<(Duration, Change)> {
        let mut changes = vec![(Duration::ZERO, self.start())];
        let mut at = FLAP;
        while self == Self::Flapping && at < lasts {
            let up = changes.len() % 2 == 1;
            changes.push((at, if up { self.end() } else { self.start() }));
            at += FLAP;
        }
        changes.push((lasts, self.end()));
        changes
    }
}

/// A region that is well.
pub(super) fn well() -> Behaviour {
    Behaviour {
        latency: latency(THINKS),
        ..Behaviour::default()
    }
}

fn latency(median: Duration) -> Latency {
    Latency::LogNormal {
        median,
        sigma: SPREAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn every_fault_ends_well() {
        for fault in Fault::ALL {
            let changes = fault.changes(10 * S);
            let (first, last) = (&changes[0], &changes[changes.len() - 1]);
            assert_eq!((first.0, last.0), (Duration::ZERO, 10 * S), "{fault:?}");
            match (&first.1, &last.1) {
                (Change::Link(bad), Change::Link(mode)) => {
                    assert_eq!(*mode, Mode::Up);
                    assert_ne!(*bad, Mode::Up);
                }
                (Change::Service(bad), Change::Service(behaviour)) => {
                    assert_eq!(*behaviour, well());
                    assert_ne!(*bad, well());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn flapping_goes_up_and_down() {
        let modes: Vec<_> = Fault::Flapping.changes(5 * S).into_iter().collect();
        let at: Vec<_> = modes.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(at, [0, 2, 4, 5]);
        let down: Vec<_> = modes
            .iter()
            .map(|(_, change)| matches!(change, Change::Link(Mode::Refuse)))
            .collect();
        assert_eq!(down, [true, false, true, false]);
    }
}
