//! Tier loads, whatever is usable of tiers of whatever size.

use proptest::prelude::*;
use tidegate_core::priority::{Tier, TierLoads};

fn tier() -> impl Strategy<Value = Tier> {
    let part = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64];
    let capacity = prop_oneof![4 => 1.0..5_000.0f64, 1 => Just(0.0)];
    (part(), part(), capacity).prop_map(|(healthy, degraded, capacity)| Tier {
        healthy,
        degraded: degraded * (1.0 - healthy),
        capacity,
    })
}

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    prop::collection::vec(tier(), 1..8)
}

fn of(tiers: &[Tier]) -> Vec<f64> {
    let loads = TierLoads::of(tiers, 1.4);
    loads.as_slice().iter().map(|load| load.total()).collect()
}

proptest! {
    #[test]
    fn all_of_the_load_is_taken_if_anything_is_usable(tiers in tiers()) {
        let sum: f64 = of(&tiers).iter().sum();
        let usable = tiers.iter().any(|tier| tier.healthy + tier.degraded > 0.0);
        prop_assert!((sum - f64::from(u8::from(usable))).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn nobody_takes_what_is_not_usable(tiers in tiers()) {
        let loads = TierLoads::of(&tiers, 1.4);
        for (tier, load) in tiers.iter().zip(loads.as_slice()) {
            prop_assert!(tier.healthy > 0.0 || load.healthy == 0.0);
            prop_assert!(tier.degraded > 0.0 || load.degraded == 0.0);
        }
    }

    #[test]
    fn worse_health_never_attracts_more(tiers in tiers(), at in 0usize..8, keeps in 0.0..1.0f64) {
        let at = at % tiers.len();
        let mut worse = tiers.clone();
        worse[at].healthy *= keeps;
        let (before, after) = (of(&tiers)[at], of(&worse)[at]);
        prop_assert!(after <= before + 1e-9, "{before} -> {after}");
    }

    #[test]
    fn a_little_less_health_moves_little(tiers in tiers(), at in 0usize..8) {
        // As far as the load is carried at all: where next to nothing is usable, little is much.
        let carried: f64 = tiers.iter().map(|tier| tier.healthy * 1.4).sum();
        prop_assume!(carried > 1.0);
        let mut tiers = tiers;
        tiers.iter_mut().for_each(|tier| tier.capacity = 0.0);
        let at = at % tiers.len();
        let mut worse = tiers.clone();
        worse[at].healthy = (worse[at].healthy - 1e-4).max(0.0);
        for (before, after) in of(&tiers).iter().zip(of(&worse)) {
            prop_assert!((before - after).abs() < 3e-4, "{before} -> {after}");
        }
    }

    #[test]
    fn draws_are_split_as_the_loads_are(tiers in tiers()) {
        let loads = TierLoads::of(&tiers, 1.4);
        let mut drawn = vec![0u32; tiers.len()];
        for at in 0..1_000 {
            if let Some((tier, _)) = loads.pick(f64::from(at) / 1_000.0) {
                drawn[tier] += 1;
            }
        }
        for (drawn, load) in drawn.iter().zip(loads.as_slice()) {
            prop_assert!((f64::from(*drawn) / 1_000.0 - load.total()).abs() < 3e-3);
        }
    }
}
