//! Looks at endpoints for a decision that another plan makes of what was recorded.
//!
//! Its sets may be others, so what was seen is found by region and address, not by its place. Of what
//! was not seen then, it is as if nothing had happened there, and whoever asks is told that it was so.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Inputs, Record};
use crate::balance::{Eyes, Sight};
use crate::handle::LiveUpstream;
use crate::ids::RegionIdx;
use crate::plan::Upstream;

/// What was seen of endpoints, by where they are in the sets of another plan.
pub(super) struct ByName {
    /// By position of the region and of the endpoint.
    seen: HashMap<(u8, usize, Sight), u64>,
    position: Cell<u8>,
    guessed: Cell<bool>,
}

impl ByName {
    /// What `inputs` has seen, for the sets of `upstream`. `old` finds a region of the plan of the record.
    pub(super) fn new(
        record: &Record,
        inputs: &Inputs,
        (wanted, observed): (&Upstream, &LiveUpstream),
        old: impl Fn(RegionIdx) -> Option<RegionIdx>,
    ) -> Self {
        let mut values: HashMap<(RegionIdx, &str, Sight), u64> = HashMap::new();
        let mut position = 0;
        for one in inputs.seen.iter().flat_map(|seen| &**seen) {
            if one.sight == Sight::Set {
                position = one.of as u8;
            }
            let row = inputs.rows.get(usize::from(position));
            let address = inputs.address(position, one.of);
            if let (true, Some(row), Some(address)) = (one.sight.is_of_endpoint(), row, address) {
                values.insert((row.region, address, one.sight), one.value);
            }
        }
        let mut seen = HashMap::new();
        for (position, (spec, region)) in (0..).zip(wanted.regions.iter().zip(&observed.regions)) {
            let Some(old) = old(spec.region).filter(|old| old.get() < record.regions.len()) else {
                continue;
            };
            let set = region.endpoints.load();
            for (at, endpoint) in set.endpoints.iter().enumerate() {
                let address: &Arc<str> = &endpoint.address;
                for sight in OF_ENDPOINTS {
                    if let Some(value) = values.get(&(old, &**address, sight)) {
                        seen.insert((position, at, sight), *value);
                    }
                }
            }
        }
        Self {
            seen,
            position: Cell::new(0),
            guessed: Cell::new(false),
        }
    }

    /// Whether something had to be guessed: the endpoint is not certain.
    pub(super) fn guessed(&self) -> bool {
        self.guessed.get()
    }
}

/// What can be found again by an endpoint's address. Whether there was room is asked of the plan: its
/// bounds may be others.
const OF_ENDPOINTS: [Sight; 4] = [Sight::Part, Sight::InFlight, Sight::Cost, Sight::Expected];

impl Eyes for ByName {
    fn see(&self, sight: Sight, of: usize, live: impl FnOnce() -> u64) -> u64 {
        if sight == Sight::Set {
            self.position.set(of as u8);
        }
        if !OF_ENDPOINTS.contains(&sight) {
            return live();
        }
        match self.seen.get(&(self.position.get(), of, sight)) {
            Some(value) => *value,
            None => {
                self.guessed.set(true);
                live()
            }
        }
    }
}
