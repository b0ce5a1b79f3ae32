//! A scrape: everything recorded comes out, under the catalogue's names and labels, readable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tidegate_core::budget::Purse;
use tidegate_core::ids::{RouteIdx, UpstreamIdx};
use tidegate_core::plan::{Split, SplitTarget};
use tidegate_core::retry::WhyNot;
use tidegate_core::{
    Allotment, Board, Dial, Generation, Health, Live, Part, PlanHandle, RegionIdx, Stage, Standing,
    Termination,
};
use tidegate_telemetry::catalogue::METRICS;
use tidegate_telemetry::labels::{
    AffinityResult, Cause, FaultKind, HandshakeFailure, HedgeCause, HedgeResult, Label, Limit,
    MirrorResult, ProbeResult, RegionTurn, ReloadResult, ReplayLost, ReplayStore, ResumeResult,
    RetryScope, RollbackCause, StartResult, TlsVersion,
};
use tidegate_telemetry::metrics::Totals;
use tidegate_telemetry::{AttemptOutcome, Metrics, PlanSeries};

use crate::parser::{Family, Sample, parse};
use crate::support::{live, plan, upstream};

const OK: Option<StatusCode> = Some(StatusCode::OK);
const MS: Duration = Duration::from_millis(1);

fn scrape(metrics: &Metrics, live: Option<&Live>) -> BTreeMap<String, Family> {
    let stage = live.map(staged);
    let text = metrics.render_staged(live, stage.as_deref());
    parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// The same plan under the next number, for a quarter of the connections, with a request under each.
fn staged(live: &Live) -> Arc<Stage> {
    let (handle, board) = (PlanHandle::after(Generation(2)), Board::new(Instant::now()));
    let serving = Arc::into_inner(plan(&["eu"], &["shop"], 10)).expect("nobody shares it");
    handle.activate(serving, &board);
    let part = Part::Share(Dial::new(0.25));
    let stage = handle.stage_plan(live.plan.clone(), part, &board);
    let stage = stage.expect("a good stage");
    stage.count(Generation(3), false, MS);
    stage.count(Generation(4), true, MS);
    stage
}

/// The value of the sample of `name` with these label values, in the catalogue's order.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = &families.get(name)?.samples;
    let carries = |sample: &&Sample| sample.labels.iter().map(|(_, value)| value).eq(labels);
    samples.iter().find(carries).map(|sample| sample.value)
}

/// Records at least one of everything.
fn populate(metrics: &std::sync::Arc<Metrics>, live: &Live) {
    let series = metrics.route_series(&live.plan);
    series
        .route(RouteIdx(0))
        .get(Some(RegionIdx(1)))
        .record(OK, 7 * MS);
    series
        .route(RouteIdx(0))
        .get(None)
        .record(Some(StatusCode::BAD_GATEWAY), MS);
    series.unrouted().record(None, MS);
    series
        .route(RouteIdx(0))
        .rescued(RegionIdx(0), RegionIdx(1), AttemptOutcome::ConnectTimeout);
    let region = series.upstream(UpstreamIdx(0)).region(1);
    AttemptOutcome::ALL
        .iter()
        .for_each(|outcome| region.attempted(*outcome));
    ProbeResult::ALL
        .iter()
        .for_each(|result| region.probed(*result));
    RetryScope::ALL
        .iter()
        .for_each(|scope| region.retried(*scope));
    region.connected(20 * MS);
    region.idle_began();
    region.opening();
    Limit::ALL.iter().for_each(|limit| region.refused(*limit));
    populate_failover(metrics, &series);
    populate_steering(metrics, &series, live);
    metrics.terminated(Termination::Completed);
    metrics.terminated(Termination::ResidencyBlocked);
    metrics.retry_refused(WhyNot::Budget);
    let (shop, us) = ("shop".into(), "us".into());
    metrics.region_turned(&shop, &us, RegionTurn::Out, Cause::Silent);
    metrics.endpoint_ejected(&shop, &us, Cause::InARow);
    metrics.reloaded(ReloadResult::Applied);
    metrics.rolled_back(RollbackCause::Operator);
    metrics.set_certificates(vec![("shop.example.com".into(), 1_800_000_000)]);
    metrics.state_problem();
    FaultKind::ALL
        .iter()
        .for_each(|kind| metrics.fault_injected(*kind));
    metrics.access_log_dropped(2);
    let listener = metrics.listener("https");
    listener.established(TlsVersion::V1_3);
    listener.handshake_failed(HandshakeFailure::Timeout);
    live.upstreams[0].regions[1]
        .cell
        .observe_rtt(80 * MS, Instant::now());
    live.upstreams[0].regions[1].cell.set_standing(Standing {
        health: Health::Degraded,
        suspected: true,
        probation: true,
        dial: Dial::new(0.25),
    });
    live.upstreams[0].regions[0].endpoints.load().endpoints[0]
        .cell
        .set_ejected(true);
}

fn populate_failover(metrics: &Metrics, series: &PlanSeries) {
    let (near, far) = (
        series.upstream(UpstreamIdx(0)).region(0),
        series.upstream(UpstreamIdx(0)).region(1),
    );
    far.rescue_added(300 * MS);
    near.rescue_added(100 * MS);
    near.redispatched();
    near.hedged(HedgeCause::Slow, HedgeResult::Lost);
    far.hedged(HedgeCause::Slow, HedgeResult::Lost);
    far.hedged(HedgeCause::Silent, HedgeResult::Won);
    series
        .route(RouteIdx(0))
        .resumed(RegionIdx(0), RegionIdx(1), ResumeResult::Resumed);
    series
        .route(RouteIdx(0))
        .resumed(RegionIdx(0), RegionIdx(1), ResumeResult::Resumed);
    series
        .route(RouteIdx(0))
        .resumed(RegionIdx(0), RegionIdx(0), ResumeResult::Failed);
    metrics.replay_kept(ReplayStore::Memory, 5_000);
    metrics.replay_kept(ReplayStore::Memory, -1_000);
    metrics.spooled(70_000);
    metrics.spooled(30_000);
    metrics.replay_lost(ReplayLost::TotalLimit);
    metrics.gathered();
}

fn populate_steering(metrics: &Metrics, series: &PlanSeries, live: &Live) {
    let (shop, us) = ("shop".into(), "us".into());
    series.upstream(UpstreamIdx(0)).region(0).shed();
    let service = series.upstream(UpstreamIdx(0)).service();
    service.mirrored(MirrorResult::Sent);
    service.mirrored(MirrorResult::Sent);
    service.mirrored(MirrorResult::SkippedBody);
    service.bound(AffinityResult::Rebound);
    service.misreported();
    metrics.standby_started(&shop, &us, StartResult::Timeout);
    metrics.geo_reloaded(ReloadResult::Refused);
    let near = &live.upstreams[0].regions[0].cell;
    near.set_dial(Some(Dial::new(0.3)));
    near.reported(0.5, Instant::now());
    near.set_allotment(Allotment {
        take: Dial::new(0.75),
        offered: 120.0,
        ..Allotment::default()
    });
}

#[test]
fn how_traffic_was_steered_comes_out() {
    let metrics = Metrics::new();
    let live = live(plan(&["eu", "us"], &["api"], 100));
    populate(&metrics, &live);
    let families = scrape(&metrics, Some(&live));
    let check = |name: &str, labels: &[&str], expected: Option<f64>| {
        let name = format!("tidegate_{name}");
        let found = value(&families, &name, labels);
        assert_eq!(found, expected, "{name}{labels:?}");
    };
    check("spillovers_total", &["shop", "eu"], Some(1.0));
    check("spillovers_total", &["shop", "us"], None);
    check("mirrored_requests_total", &["shop", "sent"], Some(2.0));
    check(
        "mirrored_requests_total",
        &["shop", "skipped_body"],
        Some(1.0),
    );
    check("mirrored_requests_total", &["shop", "failed"], None);
    check("affinity_total", &["shop", "rebound"], Some(1.0));
    check("load_reports_malformed_total", &["shop"], Some(1.0));
    check(
        "standby_starts_total",
        &["shop", "us", "timeout"],
        Some(1.0),
    );
    check("geo_reloads_total", &["refused"], Some(1.0));
    check("region_dial_ratio", &["shop", "eu"], Some(0.3));
    check("region_dial_ratio", &["shop", "us"], Some(1.0));
    check("region_take_ratio", &["shop", "eu"], Some(0.75));
    check("region_take_ratio", &["shop", "us"], Some(1.0));
    check("region_offered_per_second", &["shop", "eu"], Some(120.0));
    check("region_offered_per_second", &["shop", "us"], Some(0.0));
    check("region_utilization_ratio", &["shop", "eu"], Some(0.5));
    check("region_utilization_ratio", &["shop", "us"], None);
    live.upstreams[0].regions[0].cell.set_dial(None);
    let families = scrape(&metrics, Some(&live));
    assert_eq!(
        value(&families, "tidegate_region_dial_ratio", &["shop", "eu"]),
        Some(1.0),
        "what the plan says"
    );
}

#[test]
fn which_plan_serves_how_much_comes_out() {
    let metrics = Metrics::new();
    let live = live(plan(&["eu", "us"], &["shop"], 10));
    let families = scrape(&metrics, Some(&live));
    let value = |name, generation| value(&families, name, &[generation]);
    let both = |name| [value(name, "3"), value(name, "4")];
    assert_eq!(both("tidegate_plan_share"), [Some(0.75), Some(0.25)]);
    let ones = [Some(1.0), Some(1.0)];
    assert_eq!(both("tidegate_stage_requests_total"), ones);
    assert_eq!(both("tidegate_stage_errors_total"), [Some(0.0), Some(1.0)]);
}

#[test]
fn what_saved_requests_comes_out() {
    let metrics = Metrics::new();
    let live = live(plan(&["eu", "us"], &["api"], 100));
    let budget = &live.upstreams[0].budget;
    populate(&metrics, &live);
    assert!(budget.withdraw(Purse::InRegion, Instant::now()));
    let families = scrape(&metrics, Some(&live));
    let check = |name: &str, labels: &[&str], expected: Option<f64>| {
        let name = format!("tidegate_{name}");
        assert_eq!(
            value(&families, &name, labels),
            expected,
            "{name}{labels:?}"
        );
    };
    check("redispatches_total", &["shop", "eu"], Some(1.0));
    check("redispatches_total", &["shop", "us"], None);
    check("hedges_total", &["shop", "slow", "lost"], Some(2.0));
    check("hedges_total", &["shop", "silent", "won"], Some(1.0));
    check("hedges_total", &["shop", "silent", "failed"], None);
    check("resumes_total", &["eu", "us", "resumed"], Some(2.0));
    check("resumes_total", &["eu", "eu", "failed"], Some(1.0));
    check("replay_bytes", &["memory"], Some(4_000.0));
    check("replay_bytes", &["spool"], Some(0.0));
    check("replay_spooled_bytes_total", &[], Some(100_000.0));
    check("replay_lost_total", &["total_limit"], Some(1.0));
    check("requests_gathered_total", &[], Some(1.0));
    check(
        "retry_budget_used_ratio",
        &["shop", "in_region"],
        Some(0.01),
    );
    check(
        "retry_budget_used_ratio",
        &["shop", "cross_region"],
        Some(0.0),
    );
    let added = &families["tidegate_rescue_added_seconds"].samples;
    let of = |suffix: &str| {
        let sample = added.iter().find(|sample| sample.name.ends_with(suffix));
        sample.map(|sample| sample.value)
    };
    assert_eq!((of("_count"), of("_sum")), (Some(2.0), Some(0.4)));
}

#[test]
fn what_is_kept_is_told_whoever_frees_it() {
    let metrics = Metrics::new();
    metrics.replay_kept(ReplayStore::Spool, 9_000);
    std::thread::scope(|scope| {
        scope.spawn(|| metrics.replay_kept(ReplayStore::Spool, -8_000));
    });
    let families = scrape(&metrics, None);
    assert_eq!(
        value(&families, "tidegate_replay_bytes", &["spool"]),
        Some(1_000.0)
    );
}

#[test]
fn a_scrape_is_the_catalogue_and_nothing_else() {
    let metrics = Metrics::new();
    let live = live(plan(&["eu", "us"], &["api"], 100));
    populate(&metrics, &live);
    let families = scrape(&metrics, Some(&live));
    let missing = METRICS.iter().map(|metric| metric.name);
    let missing: Vec<_> = missing
        .filter(|name| !families.contains_key(*name))
        .collect();
    assert_eq!(
        missing, [""; 0],
        "every metric of the catalogue is exported"
    );
    assert_eq!(families.len(), METRICS.len());
    for metric in METRICS {
        let family = &families[metric.name];
        assert_eq!(
            (family.kind.as_str(), family.help.as_str()),
            (metric.kind.as_str(), metric.help)
        );
        for sample in &family.samples {
            let labels = sample.own_labels();
            let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, metric.labels, "{}", metric.name);
        }
    }
}

#[test]
fn the_catalogue_follows_the_naming_rules() {
    for metric in METRICS {
        let name = metric.name;
        let counter = matches!(metric.kind, tidegate_telemetry::catalogue::Kind::Counter);
        assert!(name.starts_with("tidegate_"), "{name}");
        assert_eq!(name.ends_with("_total"), counter, "{name}");
        assert_eq!(
            name.ends_with("_seconds"),
            metric.unit == "seconds",
            "{name}"
        );
        assert!(
            metric.help.ends_with('.') && !metric.labels.contains(&"le"),
            "{name}"
        );
        assert_eq!(
            METRICS.iter().filter(|other| other.name == name).count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn what_was_recorded_comes_out() {
    let metrics = Metrics::new();
    let live = live(plan(&["eu", "us"], &["api"], 100));
    populate(&metrics, &live);
    let open = metrics.listener("https").open();
    let families = scrape(&metrics, Some(&live));
    let check = |name: &str, labels: &[&str], expected: f64| {
        let name = format!("tidegate_{name}");
        assert_eq!(
            value(&families, &name, labels),
            Some(expected),
            "{name}{labels:?}"
        );
    };
    check("requests_total", &["api", "us", "2xx"], 1.0);
    check("requests_total", &["api", "none", "5xx"], 1.0);
    check("requests_total", &["none", "none", "none"], 1.0);
    check(
        "requests_rescued_total",
        &["eu", "us", "connect_timeout"],
        1.0,
    );
    check("requests_lost_total", &["residency_blocked"], 1.0);
    check("requests_lost_total", &["connect_failed"], 0.0);
    check("request_terminations_total", &["completed"], 1.0);
    check("attempts_total", &["shop", "us", "answered"], 1.0);
    check("retries_total", &["shop", "cross_region"], 1.0);
    check("retry_refused_total", &["budget"], 1.0);
    check("upstream_connections_opened_total", &["shop", "us"], 1.0);
    check("upstream_idle_connections", &["shop", "us"], 1.0);
    check("region_health", &["shop", "us"], 2.0);
    check("region_dial", &["shop", "eu"], 1.0);
    check("region_dial", &["shop", "us"], 0.25);
    check("region_suspected", &["shop", "us"], 1.0);
    check("region_probation", &["shop", "us"], 1.0);
    check(
        "region_transitions_total",
        &["shop", "us", "out", "silent"],
        1.0,
    );
    check("endpoint_ejected", &["shop", "eu", "192.0.2.0:80"], 1.0);
    check("endpoint_ejections_total", &["shop", "us", "in_a_row"], 1.0);
    check("region_rtt_seconds", &["shop", "us"], 0.08);
    check("endpoint_health", &["shop", "eu", "192.0.2.0:80"], 3.0);
    check("probes_total", &["shop", "us", "timeout"], 1.0);
    check("downstream_connections", &["https"], 1.0);
    check("downstream_connections_total", &["https", "1.3"], 1.0);
    check("tls_handshake_failures_total", &["https", "timeout"], 1.0);
    check("plan_generation", &[], 3.0);
    check("plan_info", &["c0ffee"], 1.0);
    check("reloads_total", &["applied"], 1.0);
    check(
        "certificate_not_after_seconds",
        &["shop.example.com"],
        1_800_000_000.0,
    );
    check("access_log_dropped_total", &[], 2.0);
    drop(open);
    let families = scrape(&metrics, Some(&live));
    assert_eq!(
        value(&families, "tidegate_downstream_connections", &["https"]),
        Some(0.0)
    );
}

#[test]
fn losses_are_the_terminations_that_count_as_lost() {
    let metrics = Metrics::new();
    for (times, reason) in Termination::ALL.iter().enumerate() {
        (0..times).for_each(|_| metrics.terminated(*reason));
    }
    let families = scrape(&metrics, None);
    for (times, reason) in Termination::ALL.iter().enumerate() {
        let labels = [reason.word()];
        let of = |name| value(&families, name, &labels);
        assert_eq!(
            of("tidegate_request_terminations_total"),
            Some(times as f64)
        );
        assert_eq!(
            of("tidegate_requests_lost_total"),
            reason.lost().then_some(times as f64)
        );
    }
}

#[test]
fn without_a_plan_there_is_still_a_scrape() {
    let families = scrape(&Metrics::new(), None);
    assert!(!families.contains_key("tidegate_plan_generation"));
    assert!(families.contains_key("tidegate_build_info"));
}

#[test]
fn counters_carry_over_to_the_next_plan_by_name() {
    let metrics = Metrics::new();
    let before = metrics.route_series(&plan(&["eu", "us"], &["api", "web"], 100));
    before
        .route(RouteIdx(0))
        .get(Some(RegionIdx(1)))
        .record(OK, MS);
    // The same names under other indices.
    let after = metrics.route_series(&plan(&["us", "eu"], &["web", "api"], 100));
    after
        .route(RouteIdx(1))
        .get(Some(RegionIdx(0)))
        .record(OK, MS);
    before
        .route(RouteIdx(0))
        .get(Some(RegionIdx(1)))
        .record(OK, MS);
    let families = scrape(&metrics, None);
    assert_eq!(
        value(&families, "tidegate_requests_total", &["api", "us", "2xx"]),
        Some(3.0)
    );
    assert_eq!(families["tidegate_requests_total"].samples.len(), 1);
}

#[test]
fn a_split_route_counts_the_regions_of_all_its_upstreams() {
    let shape = plan(&["eu", "us", "ap"], &["api"], 100);
    let mut shape = Arc::into_inner(shape).unwrap();
    // `shop` lives in eu and us, `canary` in us and ap.
    let mut canary = upstream(3);
    canary.name = "canary".into();
    canary.regions = canary.regions.into_iter().skip(1).collect();
    let mut shop = upstream(2);
    shop.name = "shop".into();
    shape.upstreams = [shop, canary].map(Arc::new).into();
    let target = |at, weight| SplitTarget {
        upstream: UpstreamIdx(at),
        weight,
    };
    let route = Arc::get_mut(&mut shape.routes[0]).unwrap();
    route.split = Some(Box::new(Split {
        targets: Box::new([target(0, 95), target(1, 5)]),
        hash_on: Box::default(),
    }));
    let metrics = Metrics::new();
    let series = metrics.route_series(&Arc::new(shape));
    for region in [0, 1, 1, 2, 2, 2].map(RegionIdx) {
        series.route(RouteIdx(0)).get(Some(region)).record(OK, MS);
    }
    series.route(RouteIdx(0)).get(None).record(OK, MS);
    let families = scrape(&metrics, None);
    for (region, count) in [("eu", 1.0), ("us", 2.0), ("ap", 3.0), ("none", 1.0)] {
        let labels = ["api", region, "2xx"];
        let found = value(&families, "tidegate_requests_total", &labels);
        assert_eq!(found, Some(count), "{region}");
    }
}

#[test]
fn series_are_bounded_and_the_rest_is_counted() {
    let metrics = Metrics::new();
    let names: Vec<String> = (0..50).map(|at| format!("route-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let series = metrics.route_series(&plan(&["eu", "us"], &names, 10));
    for route in 0..50 {
        series
            .route(RouteIdx(route))
            .get(Some(RegionIdx(0)))
            .record(OK, MS);
    }
    let families = scrape(&metrics, None);
    assert_eq!(
        families["tidegate_requests_total"].samples.len(),
        11,
        "10 and the rest"
    );
    assert_eq!(
        value(
            &families,
            "tidegate_requests_total",
            &["other", "other", "2xx"]
        ),
        Some(40.0)
    );
    assert_eq!(
        value(&families, "tidegate_metrics_series_overflow_total", &[]),
        Some(40.0)
    );
}

#[test]
fn a_new_plan_makes_room_for_its_routes() {
    let metrics = Metrics::new();
    let old = metrics.route_series(&plan(&["eu"], &["a", "b"], 2));
    (0..2).for_each(|route| {
        old.route(RouteIdx(route))
            .get(Some(RegionIdx(0)))
            .record(OK, MS)
    });
    let new = metrics.route_series(&plan(&["eu"], &["b", "c"], 2));
    (0..2).for_each(|route| {
        new.route(RouteIdx(route))
            .get(Some(RegionIdx(0)))
            .record(OK, MS)
    });
    let families = scrape(&metrics, None);
    assert_eq!(
        value(&families, "tidegate_requests_total", &["a", "eu", "2xx"]),
        None
    );
    assert_eq!(
        value(&families, "tidegate_requests_total", &["b", "eu", "2xx"]),
        Some(2.0)
    );
    assert_eq!(
        value(&families, "tidegate_requests_total", &["c", "eu", "2xx"]),
        Some(1.0)
    );
}

/// It may be refused after all: what serves goes on being counted until the plan really serves.
#[test]
fn a_plan_that_is_ready_makes_room_when_it_serves() {
    let metrics = Metrics::new();
    let first = plan(&["eu"], &["a", "b"], 2);
    let old = metrics.route_series(&first);
    let record = |series: &PlanSeries, route| {
        series
            .route(RouteIdx(route))
            .get(Some(RegionIdx(0)))
            .record(OK, MS);
    };
    (0..2).for_each(|route| record(&old, route));
    let requests = |route| {
        let labels = [route, "eu", "2xx"];
        value(&scrape(&metrics, None), "tidegate_requests_total", &labels)
    };
    let second = plan(&["eu"], &["b", "c"], 2);
    drop(metrics.arriving(&second));
    let arriving = metrics.arriving(&second);
    record(&old, 0);
    assert_eq!(requests("a"), Some(2.0));
    let held = metrics.arrive(arriving);
    assert_eq!(requests("a"), None);
    let new = metrics.route_series(&second);
    assert!(held.is_shared(), "the table that was made ready serves");
    drop(held);
    (0..2).for_each(|route| record(&new, route));
    assert_eq!((requests("b"), requests("c")), (Some(2.0), Some(1.0)));
    assert_eq!(metrics.totals().requests, 5);
}

/// What is compared over time must not shrink because routes went.
#[test]
fn what_is_forgotten_stays_in_the_totals() {
    let metrics = Metrics::new();
    let bad = Some(StatusCode::BAD_GATEWAY);
    let old = metrics.route_series(&plan(&["eu"], &["a", "b"], 2));
    (0..2).for_each(|route| {
        old.route(RouteIdx(route))
            .get(Some(RegionIdx(0)))
            .record(bad, MS)
    });
    let before = metrics.totals();
    assert_eq!((before.requests, before.failed), (2, 2));
    let new = metrics.route_series(&plan(&["eu"], &["b", "c"], 2));
    assert_eq!(metrics.totals().since(&before), Totals::default());
    new.route(RouteIdx(1))
        .get(Some(RegionIdx(0)))
        .record(bad, MS);
    let since = metrics.totals().since(&before);
    assert_eq!((since.requests, since.failed), (1, 1));
    assert_eq!(since.failed_but(|route| route == "c"), 0);
    assert_eq!(metrics.totals().mean(), MS);
}

#[test]
fn hostile_names_stay_inside_their_labels() {
    let metrics = Metrics::new();
    let name = "a\"} 1\nevil{x=\"\\";
    let series = metrics.route_series(&plan(&["eu"], &[name], 10));
    series
        .route(RouteIdx(0))
        .get(Some(RegionIdx(0)))
        .record(OK, MS);
    let families = scrape(&metrics, None);
    assert_eq!(
        value(&families, "tidegate_requests_total", &[name, "eu", "2xx"]),
        Some(1.0)
    );
}
