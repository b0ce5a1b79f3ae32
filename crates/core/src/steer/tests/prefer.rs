//! What a request prefers, whatever the policy.

use super::*;

/// The regions in their order, each with the reason.
fn ordered(policy: &Policy, rows: &[RegionRow], eligibility: &Eligibility) -> Vec<(u8, Because)> {
    let decision = decided(policy, rows, eligibility, 7);
    let candidates = decision.candidates.iter();
    candidates.map(|one| (one.region.0, one.because)).collect()
}

fn preferred(place: u8, row: RegionRow) -> RegionRow {
    RegionRow {
        preferred: Some(place),
        ..row
    }
}

fn down(row: RegionRow) -> RegionRow {
    RegionRow {
        standing: Standing::full(Health::Unhealthy),
        ..row
    }
}

fn all_policies() -> Vec<Policy> {
    vec![
        BAND,
        Policy::priority(),
        Policy::weighted(),
        Policy::Capacity {
            spread: Spread::Waterfall,
        },
        Policy::Capacity {
            spread: Spread::Spray,
        },
        Policy::Geo {
            rules: Box::default(),
        },
        Policy::LeastLoad,
    ]
}

#[test]
fn what_is_preferred_comes_first_in_its_order_under_every_policy() {
    for policy in all_policies() {
        let tiers = |at| RegionRow {
            tier: at,
            ..rtt(10 * u64::from(at) + 10)
        };
        let rows = [tiers(0), preferred(1, tiers(1)), preferred(0, tiers(2))];
        let order = ordered(&policy, &rows, &ANY);
        let expected = [(2, Because::Preferred), (1, Because::Preferred)];
        assert_eq!(order[..2], expected, "{policy:?}");
        assert_eq!(order[2].0, 0, "{policy:?}");
        assert_ne!(order[2].1, Because::Preferred, "{policy:?}");
    }
}

#[test]
fn what_may_not_be_used_is_not_preferred() {
    for policy in all_policies() {
        let drained = RegionRow {
            draining: true,
            ..ROW
        };
        let dialed_out = RegionRow {
            dial: Dial::NONE,
            ..ROW
        };
        for unusable in [drained, dialed_out, down(ROW)] {
            let rows = [ROW, preferred(0, unusable)];
            let order = ordered(&policy, &rows, &ANY);
            assert_eq!(order.len(), 1, "{policy:?} {unusable:?}");
        }
        let resident = Eligibility {
            allowed: set(&[0]),
            ..ANY
        };
        let order = ordered(&policy, &[ROW, preferred(0, ROW)], &resident);
        assert_eq!(order.len(), 1, "{policy:?}");
    }
}

#[test]
fn what_is_worse_stands_behind_all_the_same() {
    let check = |row: RegionRow, because| {
        let order = ordered(&BAND, &[ROW, preferred(0, row)], &ANY);
        assert_eq!(order[1], (1, because), "{row:?}");
    };
    let standing = |standing| RegionRow { standing, ..ROW };
    check(
        standing(Standing::full(Health::Degraded)),
        Because::Degraded,
    );
    check(
        standing(Standing {
            suspected: true,
            ..Standing::full(Health::Healthy)
        }),
        Because::Suspected,
    );
    let full = RegionRow {
        take: Dial::NONE,
        capacity: 10.0,
        ..ROW
    };
    check(full, Because::Shed);
}

#[test]
fn a_preference_makes_up_for_standing_by_and_for_no_weight() {
    let standby = RegionRow {
        standby: true,
        ..ROW
    };
    let order = ordered(&BAND, &[ROW, preferred(0, standby)], &ANY);
    assert_eq!(order[0], (1, Because::Preferred));
    let rows = [weight(5), preferred(0, weight(0)), weight(0)];
    let order = ordered(&Policy::weighted(), &rows, &ANY);
    assert_eq!(
        order,
        [(1, Because::Preferred), (0, Because::Weight)],
        "the other one without weight takes failovers only"
    );
}

#[test]
fn strict_isolation_stays_where_it_is_preferred() {
    let strict = Eligibility {
        isolation: Isolation::Strict,
        ..ANY
    };
    let rows = [rtt(10), preferred(0, rtt(90))];
    assert_eq!(ordered(&BAND, &rows, &strict), [(1, Because::Preferred)]);
    let rows = [rtt(10), preferred(0, down(rtt(90)))];
    assert_eq!(ordered(&BAND, &rows, &strict), []);
}

#[test]
fn a_pin_goes_before_a_preference() {
    let pinned = Eligibility {
        pin: Some(bound(0, WhenGone::Rebind)),
        ..ANY
    };
    let order = ordered(&BAND, &[rtt(90), preferred(0, rtt(10))], &pinned);
    assert_eq!(order, [(0, Because::Affinity), (1, Because::Preferred)]);
}

#[test]
fn an_operators_order_goes_before_what_the_request_prefers() {
    let ordered_at = |place, row| RegionRow {
        ordered: true,
        ..preferred(place, row)
    };
    for policy in all_policies() {
        let rows = [
            ROW,
            preferred(0, ROW),
            ordered_at(1, ROW),
            ordered_at(0, ROW),
        ];
        let order = ordered(&policy, &rows, &ANY);
        let expected = [
            (3, Because::Ordered),
            (2, Because::Ordered),
            (1, Because::Preferred),
        ];
        assert_eq!(order[..3], expected, "{policy:?}");
        assert_eq!(order[3].0, 0, "{policy:?}");
    }
}
