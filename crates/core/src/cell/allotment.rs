//! What steering found out about a region at its last look, for the decisions until the next.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::standing::Dial;

/// What a look at an upstream's regions leaves for decisions: figures that take more than one moment,
/// or more than a few loads, to find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allotment {
    /// The part of the attempts offered to the region that it takes; it sheds the rest because they
    /// are beyond its capacity.
    pub take: Dial,
    /// Requests a second that it could still take, for regions that share. None: it has no capacity.
    pub spare: Option<f32>,
    /// The latency that steering compares, held steady against noise. None before it is measured.
    pub latency: Option<Duration>,
    /// The part of its endpoints' weight that is usable and not degraded.
    pub healthy: Dial,
    /// The part of its endpoints' weight that is usable, but degraded.
    pub degraded: Dial,
    /// Attempts a second that it was offered lately, taken or shed.
    pub offered: f32,
}

impl Default for Allotment {
    /// That of a region at which nobody has looked: nothing speaks against it.
    fn default() -> Self {
        Self {
            take: Dial::FULL,
            spare: None,
            latency: None,
            healthy: Dial::FULL,
            degraded: Dial::NONE,
            offered: 0.0,
        }
    }
}

/// An [`Allotment`] that threads share. Each figure is whole; a reader may see some of the last look
/// and some of the one before.
#[derive(Debug)]
pub(super) struct AtomicAllotment {
    take: AtomicU32,
    spare: AtomicU32,
    /// Nanoseconds; 0: none.
    latency: AtomicU64,
    healthy: AtomicU32,
    degraded: AtomicU32,
    offered: AtomicU32,
}

impl Default for AtomicAllotment {
    fn default() -> Self {
        let cell = Self {
            take: AtomicU32::default(),
            spare: AtomicU32::default(),
            latency: AtomicU64::default(),
            healthy: AtomicU32::default(),
            degraded: AtomicU32::default(),
            offered: AtomicU32::default(),
        };
        cell.store(Allotment::default());
        cell
    }
}

impl AtomicAllotment {
    pub(super) fn load(&self) -> Allotment {
        let (take, spare) = self.take();
        let (healthy, degraded) = self.usable();
        Allotment {
            take,
            spare,
            latency: self.latency(),
            healthy,
            degraded,
            offered: f32::from_bits(self.offered.load(Ordering::Relaxed)),
        }
    }

    /// What the region takes, and what it could still take.
    pub(super) fn take(&self) -> (Dial, Option<f32>) {
        let spare = f32::from_bits(self.spare.load(Ordering::Relaxed));
        (dial(&self.take), (!spare.is_nan()).then_some(spare))
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        let latency = self.latency.load(Ordering::Relaxed);
        (latency > 0).then(|| Duration::from_nanos(latency))
    }

    /// The healthy part of it and the degraded one.
    pub(super) fn usable(&self) -> (Dial, Dial) {
        (dial(&self.healthy), dial(&self.degraded))
    }

    pub(super) fn store(&self, allotment: Allotment) {
        let put = |cell: &AtomicU32, value| cell.store(value, Ordering::Relaxed);
        put(&self.take, allotment.take.parts());
        put(&self.spare, allotment.spare.unwrap_or(f32::NAN).to_bits());
        let nanos = allotment
            .latency
            .map_or(0, |latency| latency.as_nanos().max(1) as u64);
        self.latency.store(nanos, Ordering::Relaxed);
        put(&self.healthy, allotment.healthy.parts());
        put(&self.degraded, allotment.degraded.parts());
        put(&self.offered, allotment.offered.to_bits());
    }
}

fn dial(cell: &AtomicU32) -> Dial {
    Dial::from_parts(cell.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allotment_survives_its_cell() {
        let cell = AtomicAllotment::default();
        assert_eq!(cell.load(), Allotment::default());
        let allotment = Allotment {
            take: Dial::new(0.25),
            spare: Some(120.5),
            latency: Some(Duration::from_micros(1_700)),
            healthy: Dial::new(0.5),
            degraded: Dial::new(0.125),
            offered: 4_321.5,
        };
        cell.store(allotment);
        assert_eq!(cell.load(), allotment);
    }
}
