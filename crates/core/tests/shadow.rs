//! What another plan would do differently: nothing, when it is the same; exactly what was changed, when it
//! is not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use proptest::prelude::*;
use tidegate_core::decision::PinnedBy;
use tidegate_core::ids::Generation;
use tidegate_core::plan::{
    Abort, Actions, Fault, HashKey, Mirror, Plan, Policy, Reply, Respond, Split, SplitTarget,
    WhenGone,
};
use tidegate_core::route::{PathMatch, RouteMatch};
use tidegate_core::shadow::{Aspect, Case, Pinned, compare};
use tidegate_core::{
    Board, Dial, Health, Live, RegionIdx, RegionSet, Snapshot, Standing, UpstreamIdx,
};

#[path = "support/mod.rs"]
mod support;

use support::{STEERINGS, latency, own, plan, steered};

const HEALTH: [Health; 4] = [
    Health::Unknown,
    Health::Healthy,
    Health::Degraded,
    Health::Unhealthy,
];

fn asked(path: &str, seed: u64) -> Case {
    let mut request = Snapshot::new(Method::GET, "shop.example.com", path);
    request.client = Some(IpAddr::from([192, 0, 2, (seed % 250) as u8]));
    Case {
        request,
        pinned: None,
        seed,
    }
}

proptest! {
    /// Whatever the policy, however the regions stand: the same plan does the same, be it the very one
    /// that serves or the same text bound once more beside it.
    #[test]
    fn a_plan_never_differs_from_itself(
        steering in 0..STEERINGS.len(),
        seed in any::<u64>(),
        standings in prop::collection::vec((0usize..4, any::<bool>(), any::<bool>(), 0u8..5), 8),
        drained in prop::collection::vec(any::<bool>(), 8),
        pinned in prop::option::of(0usize..10),
    ) {
        let name = STEERINGS[steering];
        let world = steered(name, 2, vec![RouteMatch::default()]);
        let regions = &world.live.upstreams[0].regions;
        for ((region, standing), drained) in regions.iter().zip(&standings).zip(&drained) {
            let (health, suspected, probation, dial) = *standing;
            region.cell.set_standing(Standing {
                health: HEALTH[health],
                suspected,
                probation,
                dial: Dial::new(f64::from(dial) / 4.0),
            });
            region.cell.set_draining(*drained);
        }
        let mut case = asked("/", seed);
        case.pinned = pinned.map(|at| Pinned {
            region: format!("r{at}").into(),
            endpoint: None,
            by: PinnedBy::Override,
        });
        let same = compare(&world.live, &world.live, &case, world.now);
        prop_assert_eq!(same.reasons, []);
        let beside = Live::beside(world.live.plan.clone(), &world.board, Generation(2));
        let same = compare(&world.live, &beside, &case, world.now);
        prop_assert_eq!(same.reasons, []);
    }
}

/// Two regions, two routes: `/a`, and everything.
fn wanted() -> Plan {
    let under_a = RouteMatch {
        path: Some(PathMatch::Prefix("/a".into())),
        ..RouteMatch::default()
    };
    let mut plan = plan(
        Policy::priority().into(),
        &[1, 1],
        vec![under_a, RouteMatch::default()],
    );
    let regions = own(&mut plan.regions);
    regions[0].jurisdictions = ["eu".into()].into();
    regions[1].jurisdictions = ["us".into()].into();
    plan
}

/// What a request for `/a` is told of a plan that is changed like this, in these aspects.
fn check(change: impl FnOnce(&mut Plan), expected: &[(Aspect, &str)]) {
    check_case(&asked("/a", 1), |_| {}, change, expected);
}

fn check_case(
    case: &Case,
    prepare: impl FnOnce(&mut Plan),
    change: impl FnOnce(&mut Plan),
    expected: &[(Aspect, &str)],
) {
    let (now, board) = (Instant::now(), Board::new(Instant::now()));
    let (mut old, mut new) = (wanted(), wanted());
    prepare(&mut old);
    change(&mut new);
    let old = Live::bind(Arc::new(old), &board, Generation(1));
    let new = Live::beside(Arc::new(new), &board, Generation(2));
    let compared = compare(&old, &new, case, now);
    let told = compared.reasons.iter();
    let told: Vec<_> = told.map(|(aspect, why)| (*aspect, &**why)).collect();
    assert_eq!(told, expected);
}

fn responding(status: u16) -> Actions {
    Actions {
        reply: Some(Reply::Respond(Respond {
            status: StatusCode::from_u16(status).expect("a status"),
            content_type: "text/plain".into(),
            body: [].into(),
            fields: Box::default(),
        })),
        ..Actions::default()
    }
}

fn faulty(share: f64) -> Actions {
    let abort = Abort {
        status: StatusCode::SERVICE_UNAVAILABLE,
        share: Dial::new(share),
    };
    Actions {
        fault: Fault {
            delay: None,
            abort: Some(abort),
        },
        ..Actions::default()
    }
}

#[test]
fn actions_that_are_called_alike_and_are_not_are_told() {
    let act = |actions: Actions| {
        move |plan: &mut Plan| own(&mut plan.routes[0]).actions = Some(Arc::new(actions))
    };
    check(
        act(faulty(0.1)),
        &[(Aspect::Action, "forward -> forward, injects faults")],
    );
    check_case(
        &asked("/a", 1),
        act(faulty(0.1)),
        act(faulty(0.2)),
        &[(
            Aspect::Action,
            "forward, injects faults, otherwise than before",
        )],
    );
    let copied = |plan: &mut Plan| {
        own(&mut plan.routes[0]).mirror = Some(Mirror {
            upstream: UpstreamIdx(0),
            share: Dial::new(0.125),
            max_body: 0,
        });
    };
    check(
        copied,
        &[(Aspect::Action, "forward -> forward, copies 12.5% to shop")],
    );
}

fn allow(plan: &mut Plan, word: &str, regions: &[u8]) {
    let route = own(&mut plan.routes[0]);
    route.residency = [word.into()].into();
    route.allowed = RegionSet::from_iter(regions.iter().map(|at| RegionIdx(*at)));
}

#[test]
fn what_was_changed_is_what_is_told() {
    check(|_| {}, &[]);
    check(
        |plan| {
            let regions = &mut own(&mut plan.upstreams[0]).regions;
            (regions[0].tier, regions[1].tier) = (1, 0);
        },
        &[
            (Aspect::Region, "r0 -> r1 (by its tier)"),
            (Aspect::Order, "r0, r1 -> r1, r0"),
        ],
    );
    check(
        |plan| own(&mut plan.routes[0]).timeout = Duration::from_secs(3),
        &[(Aspect::Timeout, "timeout 10s -> 3s")],
    );
    check(
        |plan| own(&mut plan.upstreams[0]).retry.per_try = Some(Duration::from_millis(250)),
        &[(Aspect::Timeout, "retry.per_try none -> 250ms")],
    );
    check(
        |plan| own(&mut plan.routes[0]).name = "shop".into(),
        &[(Aspect::Route, "route-0 -> shop")],
    );
    check(
        |plan| own(&mut plan.upstreams[0]).name = "store".into(),
        &[(Aspect::Upstream, "shop -> store")],
    );
    check(
        |plan| {
            let route = own(&mut plan.routes[0]);
            route.upstream = None;
            route.actions = Some(Arc::new(responding(204)));
        },
        &[
            (Aspect::Action, "forward -> respond 204"),
            (Aspect::Region, "r0 -> none"),
            (Aspect::Order, "r0, r1 -> none"),
        ],
    );
}

#[test]
fn residency_is_told_apart_from_where_requests_go() {
    check(
        |plan| allow(plan, "eu", &[0]),
        &[
            (Aspect::Residency, "everywhere -> [eu]: r0"),
            (Aspect::Order, "r0, r1 -> r0"),
        ],
    );
    check(
        |plan| allow(plan, "us", &[1]),
        &[
            (Aspect::Residency, "everywhere -> [us]: r1"),
            (
                Aspect::Region,
                "r0 -> r1 (by its tier); r0: residency does not allow its jurisdictions",
            ),
            (Aspect::Order, "r0, r1 -> r1"),
        ],
    );
    check(
        |plan| allow(plan, "jp", &[]),
        &[
            (Aspect::Residency, "everywhere -> [jp]: nowhere, blocked"),
            (
                Aspect::Region,
                "r0 -> none; r0: residency does not allow its jurisdictions",
            ),
            (Aspect::Order, "r0, r1 -> none"),
            (Aspect::End, "served -> residency_blocked"),
        ],
    );
    // The same words, and a region that has moved into them.
    check_case(
        &asked("/a", 1),
        |plan| allow(plan, "eu", &[0]),
        |plan| allow(plan, "eu", &[0, 1]),
        &[
            (Aspect::Residency, "[eu]: r0 -> [eu]: r0, r1"),
            (Aspect::Order, "r0 -> r0, r1"),
        ],
    );
}

#[test]
fn a_region_that_only_one_plan_knows_is_no_matter_of_residency() {
    let (now, board) = (Instant::now(), Board::new(Instant::now()));
    let old = Live::bind(
        Arc::new(plan(latency(1), &[1], vec![RouteMatch::default()])),
        &board,
        Generation(1),
    );
    let more = plan(latency(1), &[1, 1], vec![RouteMatch::default()]);
    let new = Live::beside(Arc::new(more), &board, Generation(2));
    let compared = compare(&old, &new, &asked("/", 1), now);
    let aspects: Vec<_> = compared.reasons.iter().map(|(aspect, _)| *aspect).collect();
    assert_eq!(aspects, [Aspect::Order]);
}

#[test]
fn a_request_that_no_route_takes_any_more_is_told() {
    let (now, board) = (Instant::now(), Board::new(Instant::now()));
    let bind = |plan| Live::beside(Arc::new(plan), &board, Generation(1));
    let elsewhere = RouteMatch {
        host: Some("other.example.com".into()),
        ..RouteMatch::default()
    };
    let old = bind(plan(latency(1), &[1], vec![RouteMatch::default()]));
    let new = bind(plan(latency(1), &[1], vec![elsewhere]));
    let compared = compare(&old, &new, &asked("/", 1), now);
    assert!(compared.differs_in(Aspect::Route) && compared.differs_in(Aspect::End));
    assert_eq!(compared.after.route, None);
    assert!(!compare(&new, &new, &asked("/", 1), now).differs());
}

/// Shares move as many as they are changed by, and nobody else: both plans draw alike.
#[test]
fn a_split_moves_its_share() {
    let split = |first: u32, second: u32| {
        move |plan: &mut Plan| {
            let mut other = wanted();
            own(&mut other.upstreams[0]).name = "next".into();
            let both = [plan.upstreams[0].clone(), other.upstreams[0].clone()];
            plan.upstreams = both.into();
            let target = |upstream, weight| SplitTarget {
                upstream: UpstreamIdx(upstream),
                weight,
            };
            let targets = [target(0, first), target(1, second)].into();
            let hash_on: Box<[HashKey]> = Box::default();
            own(&mut plan.routes[0]).split = Some(Box::new(Split { targets, hash_on }));
        }
    };
    let (now, board) = (Instant::now(), Board::new(Instant::now()));
    let (mut old, mut new) = (wanted(), wanted());
    split(90, 10)(&mut old);
    split(80, 20)(&mut new);
    let old = Live::bind(Arc::new(old), &board, Generation(1));
    let new = Live::beside(Arc::new(new), &board, Generation(2));
    let moved = (0..4_000)
        .filter(|seed| compare(&old, &new, &asked("/a", *seed), now).differs_in(Aspect::Upstream));
    let moved = moved.count();
    assert!((300..500).contains(&moved), "{moved} of 4,000");
}

#[test]
fn who_is_bound_stays_where_he_is_bound_by_both() {
    let mut case = asked("/a", 1);
    case.pinned = Some(Pinned {
        region: "r1".into(),
        endpoint: None,
        by: PinnedBy::Override,
    });
    let swap = |plan: &mut Plan| {
        let regions = &mut own(&mut plan.upstreams[0]).regions;
        (regions[0].tier, regions[1].tier) = (1, 0);
    };
    check_case(&case, |_| {}, swap, &[]);
    // A cookie means nothing to an upstream that binds nobody by one.
    case.pinned = Some(Pinned {
        region: "r1".into(),
        endpoint: None,
        by: PinnedBy::Affinity(WhenGone::Rebind),
    });
    check_case(
        &case,
        |_| {},
        swap,
        &[
            (Aspect::Region, "r0 -> r1 (by its tier)"),
            (Aspect::Order, "r0, r1 -> r1, r0"),
        ],
    );
}
