//! What a reload does, and what it must not do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_control::{Cause, CertificateOutcome, DrainOrder, Verdict};
use tidegate_core::Health;

use crate::support::{Counting, Site, config};

fn word(verdict: &Verdict) -> &'static str {
    verdict.as_str()
}

#[tokio::test]
async fn a_good_file_serves_and_says_what_changed() {
    let site = Site::new(&config("5s"));
    assert_eq!(
        (site.generation(), site.timeout()),
        (1, Duration::from_secs(5))
    );
    site.write(&config("6s"));
    let outcome = site.reloader.reload(Cause::Api).await;
    let Verdict::Activated {
        generation,
        hash,
        changes,
    } = &outcome.verdict
    else {
        panic!("{outcome}")
    };
    assert_eq!((*generation, site.timeout()), (2, Duration::from_secs(6)));
    assert_eq!(changes.routes.changed.first, ["all".into()]);
    assert_eq!(changes.to_string(), "routes ~1");
    assert_eq!(*site.reloader.document().hash, **hash);
    assert!(outcome.took_effect() && site.reloader.document().resolved.contains("6s"));
    assert_eq!(site.events(), ["plan_activated", "plan_activated"]);
    assert!(site.has_metric("tidegate_reloads_total{result=\"applied\"} 1"));
    assert!(site.has_metric("tidegate_plan_generation 2"));
}

/// Reloads with `from` replaced by `to` in a configuration that has a bit of everything.
async fn check(from: &str, to: &str, expected: &str) {
    let text = format!(
        "pop: {{ name: fra1 }}\n{}  - {{ upstream: shop, residency: {{ allow: [eu] }} }}\n",
        config("5s")
    );
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "{from} is not in the configuration");
    let site = Site::new(&text);
    site.write(&changed);
    let outcome = site.reloader.reload(Cause::Api).await;
    let Verdict::Activated { changes, .. } = &outcome.verdict else {
        panic!("{from} -> {to}: {outcome}")
    };
    assert_eq!(changes.to_string(), expected, "{from} -> {to}");
}

#[tokio::test]
async fn changes_are_told_by_kind_and_number() {
    check("fra1", "fra2", "pop, replay, metrics or geo").await;
    check(
        "pop:",
        "replay: { spool: 1GiB }\npop:",
        "pop, replay, metrics or geo",
    )
    .await;
    check("7002", "7003", "upstreams ~1").await;
    check(
        "allow: [eu] }",
        "allow: [eu] }, idempotent: true",
        "routes ~1",
    )
    .await;
    check(
        "shop:\n",
        "shop:\n    body: { gather: 1MiB }\n",
        "upstreams ~1",
    )
    .await;
    check("name: all", "name: new", "routes +1 -1").await;
    check("/shop/**", "/shop", "routes ~1").await;
    check("allow: [eu]", "allow: [us]", "routes ~1").await;
    check("[us]", "[us, ca]", "regions ~1").await;
    check("[us]", "[us, eu]", "regions ~1, routes ~1").await;
    check("us-east", "us-west", "regions +1 -1, upstreams ~1").await;
    check("shop", "cart", "upstreams +1 -1, routes ~2").await;
    check(
        "eu-west: { endpoints",
        "eu-west: { weight: 2, endpoints",
        "upstreams ~1",
    )
    .await;
}

#[tokio::test]
async fn the_same_content_is_no_new_generation() {
    let site = Site::new(&config("5s"));
    site.write(&format!("# a comment\n{}\n", config("5s")));
    let outcome = site.reloader.reload(Cause::File).await;
    assert_eq!(
        (word(&outcome.verdict), site.generation()),
        ("unchanged", 1)
    );
    assert!(outcome.took_effect());
    assert_eq!(site.events(), ["plan_activated"]);
    assert!(site.has_metric("tidegate_reloads_total{result=\"unchanged\"} 1"));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_problem_is_named() {
    let site = Site::new(&config("5s"));
    site.write(&config("5").replace("upstream: shop", "upstream: shopp"));
    let outcome = site.reloader.reload(Cause::File).await;
    let Verdict::Refused { report } = &outcome.verdict else {
        panic!("{outcome}")
    };
    assert_eq!(report.errors(), 2, "{report}");
    assert!(report.to_string().contains("shopp"), "{report}");
    assert_eq!(
        (site.generation(), site.timeout()),
        (1, Duration::from_secs(5))
    );
    assert!(!outcome.took_effect());
    assert_eq!(site.events(), ["plan_activated", "reload_refused"]);
    assert!(site.has_metric("tidegate_reloads_total{result=\"refused\"} 1"));
}

#[tokio::test]
async fn what_is_not_a_configuration_changes_nothing() {
    let site = Site::new(&config("5s"));
    let half = &config("5s")[..60];
    for text in ["", "\n", "# later\n", half, "\0\0\0"] {
        site.write(text);
        let outcome = site.reloader.reload(Cause::File).await;
        assert_eq!(word(&outcome.verdict), "refused", "{text:?}");
    }
    std::fs::remove_file(site.path()).unwrap();
    let outcome = site.reloader.reload(Cause::File).await;
    assert_eq!((word(&outcome.verdict), site.generation()), ("refused", 1));
}

#[tokio::test]
async fn settings_need_a_restart_and_take_nothing_else_with_them() {
    let site = Site::new(&config("5s"));
    let changed = config("6s").replace("127.0.0.1:0", "127.0.0.1:1");
    site.write(&format!("shutdown_timeout: 7s\n{changed}"));
    let outcome = site.reloader.reload(Cause::Signal).await;
    let Verdict::RestartNeeded { fields } = &outcome.verdict else {
        panic!("{outcome}")
    };
    assert_eq!(fields, &["listeners.http.bind", "shutdown_timeout"]);
    assert_eq!(
        (site.generation(), site.timeout()),
        (1, Duration::from_secs(5))
    );
    assert_eq!(site.events(), ["plan_activated", "reload_refused"]);
}

#[tokio::test]
async fn concurrent_reloads_swap_once() {
    let site = Site::new(&config("5s"));
    site.write(&config("6s"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let reloader = site.reloader.clone();
        tasks.spawn(async move { word(&reloader.reload(Cause::Api).await.verdict) });
    }
    let mut verdicts = tasks.join_all().await;
    verdicts.sort();
    assert_eq!(verdicts[..2], ["activated", "unchanged"]);
    assert_eq!(
        (verdicts.len(), verdicts[7], site.generation()),
        (8, "unchanged", 2)
    );
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_reload() {
    let site = Site::new(&config("5s"));
    site.write(&config("6s"));
    let mut asked = Box::pin(site.reloader.reload(Cause::Api));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    drop(asked);
    crate::support::until("the plan serves", || site.generation() == 2).await;
}

#[tokio::test]
async fn what_was_observed_survives_by_identity() {
    let site = Site::new(&config("5s"));
    let cell = site.shared.board.region("shop", "eu-west");
    cell.set_health(Health::Degraded);
    let gone = site
        .shared
        .board
        .endpoint("shop", "us-east", "127.0.0.1:7002");
    gone.set_health(Health::Unhealthy);
    drop(gone);
    site.write(&config("5s").replace("7002", "7003"));
    assert_eq!(
        word(&site.reloader.reload(Cause::Api).await.verdict),
        "activated"
    );
    let live = site.shared.plan.newest().unwrap();
    assert!(Arc::ptr_eq(&live.upstreams[0].regions[0].cell, &cell));
    assert_eq!(cell.health(), Health::Degraded);
    let known = site.shared.board.endpoints();
    assert!(
        !known
            .iter()
            .any(|((_, _, address), _)| address.ends_with("7002")),
        "forgotten"
    );
}

#[tokio::test]
async fn a_drained_region_stays_drained_for_upstreams_that_come_later() {
    let site = Site::new(&config("5s"));
    let drained = site.drain("eu-west", DrainOrder::default()).unwrap();
    assert!(drained.changed && *drained.upstreams == ["shop".into()]);
    let again = site.drain("eu-west", DrainOrder::default()).unwrap();
    assert!(!again.changed);
    site.write(
        &config("5s")
            .replace("shop:", "cart:")
            .replace("upstream: shop", "upstream: cart"),
    );
    assert_eq!(
        word(&site.reloader.reload(Cause::Api).await.verdict),
        "activated"
    );
    let live = site.shared.plan.newest().unwrap();
    let draining = |at: usize| live.upstreams[0].regions[at].cell.draining();
    assert_eq!((draining(0), draining(1)), (true, false));
    site.undrain("eu-west").unwrap();
    assert!(!draining(0));
    let mut events = site.events();
    events.retain(|kind| kind != "order");
    assert_eq!(
        events,
        ["plan_activated", "drain", "plan_activated", "drain"]
    );
}

#[tokio::test]
async fn certificates_are_read_at_every_reload_and_kept_when_bad() {
    let site = Site::new(&config("5s"));
    let certificates = Arc::new(Counting::default());
    site.reloader.set_certificates(certificates.clone());
    let expiry = "tidegate_certificate_not_after_seconds{name=\"shop.example.com\"} 4000000000";
    assert!(site.has_metric(expiry));
    site.write("not a configuration");
    let outcome = site.reloader.reload(Cause::File).await;
    assert_eq!(word(&outcome.verdict), "refused");
    assert!(matches!(
        outcome.certificates,
        CertificateOutcome::Read { .. }
    ));
    assert_eq!(certificates.read.load(Ordering::SeqCst), 1);

    *certificates.problem.lock().unwrap() = Some("edge.pem holds no certificate".to_owned());
    site.write(&config("6s"));
    let outcome = site.reloader.reload(Cause::File).await;
    assert_eq!(
        (word(&outcome.verdict), site.generation()),
        ("activated", 2)
    );
    assert!(
        !outcome.took_effect() && outcome.to_string().contains("edge.pem"),
        "{outcome}"
    );
    assert!(site.has_metric(expiry), "those before are still told");
    let events = [
        "plan_activated",
        "reload_refused",
        "plan_activated",
        "certificates_refused",
    ];
    assert_eq!(site.events(), events);
}
