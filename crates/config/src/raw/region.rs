//! The regions of an upstream: endpoints, share, capacity, and what a region is while others serve.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, Name, Percent};
use crate::yaml::{Field, WordOr};

/// One region of an upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoints"]))]
pub(crate) struct UpstreamRegion {
    /// Its endpoints: `host:port`, or a mapping with a weight or a zone. Names are resolved when connecting.
    pub(crate) endpoints: Field<Vec<Field<EndpointEntry>>>,
    /// Its share under `weighted` steering, and among regions that are equally good under the others. 0 takes no first attempts.
    #[schemars(extend("default" = defaults::WEIGHT))]
    pub(crate) weight: Field<u64>,
    /// Its tier under `priority` steering; lower is preferred, and several regions may share one. By default its position, from 0.
    pub(crate) tier: Field<u64>,
    /// Requests a second that it can serve, from everywhere. Needed under `capacity` steering. Under `latency`, `geo` and `weighted` a region that has it sheds what is beyond; under `priority` and `least_load` it is the region's size.
    pub(crate) capacity_rps: Field<f64>,
    /// The part of `capacity_rps` that is this PoP's.
    #[schemars(extend("default" = defaults::POP_SHARE))]
    pub(crate) pop_share: Field<Percent>,
    /// What it is while others serve: `hot` (it serves like any), `warm` (probed, with connections kept, it serves when the others do not suffice), or `{ cold: ... }` (the same, but it has to be started first).
    #[schemars(extend("default" = defaults::STANDBY))]
    pub(crate) standby: Field<StandbyEntry>,
    /// The part of its share that it takes at most; an operator may dial it while the process runs. At `0%` it takes nothing, whatever becomes of the others.
    #[schemars(extend("default" = defaults::DIAL))]
    pub(crate) dial: Field<Percent>,
    /// Zones of its endpoints, best first; those not named come last. Empty: zones make no difference.
    #[schemars(extend("default" = []))]
    pub(crate) zones: Field<Vec<Field<Name>>>,
}

/// An endpoint: an address, or an address with a weight.
pub(crate) type EndpointEntry = WordOr<String, WeightedEndpoint>;

/// An endpoint with a weight or a zone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub(crate) struct WeightedEndpoint {
    /// `host:port`, IPv6 in brackets.
    pub(crate) address: Field<String>,
    /// Its share within its region, 1 to 1000.
    #[schemars(extend("default" = defaults::WEIGHT))]
    pub(crate) weight: Field<u64>,
    /// The zone of the region that it is in, for the region's `zones`.
    pub(crate) zone: Field<Name>,
}

/// What a region is while others serve: a word, or how a cold one is started.
pub(crate) type StandbyEntry = WordOr<StandbyWord, Standby>;

/// What a region is while others serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StandbyWord {
    Hot,
    Warm,
    // Refused with a hint, as it needs to be started by something.
    #[schemars(skip)]
    Cold,
}

/// A region that has to be started.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cold"]))]
pub(crate) struct Standby {
    /// How it is started.
    pub(crate) cold: Field<ColdStart>,
}

/// How a cold region is started, by one of `start` and `webhook`. It takes traffic only once its probe finds it healthy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ColdStart {
    /// A program with its arguments, run without a shell, with `TIDEGATE_UPSTREAM` and `TIDEGATE_REGION` set.
    pub(crate) start: Field<Vec<Field<String>>>,
    /// An `http` or `https` address that is sent a POST with a JSON object of the names of the upstream and the region. It is shown wherever the configuration is: no secrets.
    pub(crate) webhook: Field<String>,
    /// It is started when less than this part of what serves before it is usable.
    #[schemars(extend("default" = defaults::COLD_BELOW))]
    pub(crate) below: Field<Percent>,
    /// What starts it is given up after this, and tried again; 1s to 1h.
    #[schemars(extend("default" = defaults::COLD_TIMEOUT))]
    pub(crate) timeout: Field<Duration>,
}
