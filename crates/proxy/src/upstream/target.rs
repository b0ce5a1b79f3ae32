//! What a request wants: a connection to which endpoint, and how fresh.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::{Endpoint, RegionCell};
use tidegate_telemetry::metrics::UpstreamHandle;

use super::key::Key;
use crate::clock::now;
use crate::tls::client::Profile;

/// A request that must not be sent twice takes no HTTP/1.1 connection that idled for longer.
const RECENT: Duration = Duration::from_millis(500);

/// Where a connection is wanted to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The endpoint.
    pub(crate) endpoint: &'a Endpoint,
    /// The endpoint's region, which learns the round-trip times.
    pub(crate) region: &'a Arc<RegionCell>,
    /// How to connect.
    pub(crate) profile: &'a Arc<Profile>,
    /// Where connections are counted.
    pub(crate) series: &'a UpstreamHandle,
}

/// A [`Target`] that a background connect owns.
pub(super) struct Destination {
    endpoint: Endpoint,
    region: Arc<RegionCell>,
    profile: Arc<Profile>,
    series: UpstreamHandle,
}

/// Which connections a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Any that looks alive.
    Any,
    /// For requests that must not be sent twice: HTTP/2, an HTTP/1.1 connection that was used
    /// within the last half second and that the system says is open and silent, or a new one.
    Recent,
    /// After an old connection broke: HTTP/2, or an HTTP/1.1 connection that nobody used before.
    New,
    /// For requests that switch protocols: a new HTTP/1.1 connection; a stream where the profile
    /// allows nothing but HTTP/2.
    Upgrade,
}

/// A [`Freshness`] at the moment of the checkout.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// HTTP/1.1 connections must have been put down at this moment or later.
    pub(super) since: Option<Instant>,
    /// The system is asked whether they are still as they must be.
    pub(super) ask_system: bool,
}

impl Target<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new(&self.endpoint.cell, self.profile.id)
    }

    pub(super) fn to_destination(self) -> Destination {
        Destination {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            series: self.series.clone(),
        }
    }
}

impl Destination {
    pub(super) fn target(&self) -> Target<'_> {
        Target {
            endpoint: &self.endpoint,
            region: &self.region,
            profile: &self.profile,
            series: &self.series,
        }
    }
}

impl Wish {
    pub(super) fn of(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Any => Self {
                since: None,
                ask_system: false,
            },
            Freshness::Recent => Self {
                since: now().checked_sub(RECENT),
                ask_system: true,
            },
            Freshness::New | Freshness::Upgrade => Self {
                since: Some(now()),
                ask_system: true,
            },
        }
    }
}
