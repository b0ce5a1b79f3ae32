//! The kinds of worlds: what goes wrong in them, and what may be expected then.

use std::time::Duration;

use crate::scenario::Scale;

/// What goes wrong in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Refuse,
    Reset,
    BlackHole,
    Unavailable,
    Errors,
    Slow,
    Gray,
    Flap,
    IdleRefuse,
    IdleBlackHole,
    TwoDie,
    Noise,
    BadRoute,
    BadRouteHere,
    SlowRoute,
    BadClient,
    SlowClient,
    Shared,
    SharedSlow,
    OneEndpoint,
    TwoRegionsDie,
    HedgedSlow,
    DrainNow,
}

/// Kinds in which a region really fails: it is to be found out.
pub(crate) const OUTAGES: [Kind; 11] = [
    Kind::Refuse,
    Kind::Reset,
    Kind::BlackHole,
    Kind::Unavailable,
    Kind::Errors,
    Kind::Slow,
    Kind::Gray,
    Kind::Flap,
    Kind::IdleRefuse,
    Kind::IdleBlackHole,
    Kind::TwoDie,
];

/// Kinds in which no region is at fault: whoever takes one out is wrong.
pub(crate) const DISTURBANCES: [Kind; 9] = [
    Kind::Noise,
    Kind::BadRoute,
    Kind::BadRouteHere,
    Kind::SlowRoute,
    Kind::BadClient,
    Kind::SlowClient,
    Kind::Shared,
    Kind::SharedSlow,
    Kind::OneEndpoint,
];

/// Kinds in which everything is done that moves requests: re-dispatch, resume and hedges, under load
/// and with bounds.
pub(crate) const RESCUES: [Kind; 3] = [Kind::TwoRegionsDie, Kind::HedgedSlow, Kind::DrainNow];

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::BlackHole => "black hole",
            Self::Unavailable => "503",
            Self::Errors => "500",
            Self::Slow => "slow x10",
            Self::Gray => "gray 30 %",
            Self::Flap => "flapping 2 s",
            Self::IdleRefuse => "refuse, idle",
            Self::IdleBlackHole => "black hole, idle",
            Self::TwoDie => "two, 3 s apart",
            Self::Noise => "noise",
            Self::BadRoute => "bad route",
            Self::BadRouteHere => "bad route, here",
            Self::SlowRoute => "slow route",
            Self::BadClient => "bad client",
            Self::SlowClient => "slow client",
            Self::Shared => "shared, 500",
            Self::SharedSlow => "shared, slow",
            Self::OneEndpoint => "one endpoint",
            Self::TwoRegionsDie => "two, loaded",
            Self::HedgedSlow => "slow, hedged",
            Self::DrainNow => "drained at once",
        }
    }

    /// When the first fault begins: by then it is known what is usual in every region that has requests.
    pub(crate) fn onset(self) -> Duration {
        Duration::from_secs(match self {
            // Times are learned for a minute.
            Self::Slow | Self::SharedSlow => 70,
            _ => 10,
        })
    }

    pub(crate) fn is_outage(self) -> bool {
        OUTAGES.contains(&self)
    }

    pub(crate) fn is_rescue(self) -> bool {
        RESCUES.contains(&self)
    }

    /// Whether a second region dies while the first is dead.
    pub(crate) fn is_double(self) -> bool {
        matches!(self, Self::TwoDie | Self::TwoRegionsDie)
    }

    /// Within which time the region that is struck has to be avoided, if it has requests.
    pub(crate) fn avoided_within(self) -> Option<Duration> {
        match self {
            Self::Slow | Self::Gray => Some(Duration::from_secs(4)),
            _ if self.is_idle() || !self.is_outage() => None,
            _ => Some(Duration::from_secs(1)),
        }
    }

    /// Whether the region that is struck serves nobody while it lasts.
    pub(crate) fn is_total(self) -> bool {
        use Kind::{BlackHole, Errors, Refuse, Reset, Unavailable};
        self.is_double() || matches!(self, Refuse | Reset | BlackHole | Unavailable | Errors)
    }

    /// Whether the region that is struck has no requests.
    pub(crate) fn is_idle(self) -> bool {
        matches!(self, Self::IdleRefuse | Self::IdleBlackHole)
    }

    /// How long the fault lasts.
    pub(crate) fn lasts(self, scale: Scale) -> Duration {
        Duration::from_secs(match (self, scale) {
            (Self::Flap, Scale::Small) => 20,
            (Self::Flap, Scale::True) => 60,
            (_, Scale::Small) => 6,
            (_, Scale::True) if self.is_outage() || self.is_rescue() => 20,
            (_, Scale::True) => 580,
        })
    }
}
