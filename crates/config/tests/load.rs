//! Loading from the disk, limits, and what callers rely on.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_config::{Disk, Files, Memory, RenderStyle, Report, Severity, compile, load};
use tidegate_core::plan::AffinityBy;

const GOOD: &str = "\
listeners: [{ bind: '127.0.0.1:0' }]
regions: { eu-west: {}, us-east: {} }
upstreams:
  shop:
    regions:
      eu-west: { endpoints: ['10.1.0.10:8080'] }
      us-east: { endpoints: ['10.2.0.10:8080'] }
routes: [{ upstream: shop }]
";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_782_000_000)
}

fn refused(text: &str) -> Report {
    compile("x.yaml", text, &Memory::new(), now()).unwrap_err()
}

fn codes(report: &Report) -> Vec<&str> {
    report.problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn files_that_cannot_be_read_are_problems_and_not_panics() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &Path, code: &str| assert_eq!(codes(&load(path).unwrap_err()), [code]);
    check(&dir.path().join("missing.yaml"), "unreadable_file");
    check(dir.path(), "unreadable_file");
    let latin = dir.path().join("latin.yaml");
    std::fs::write(&latin, b"pop: { name: caf\xe9 }").unwrap();
    check(&latin, "not_utf8");
}

#[test]
fn paths_are_relative_to_the_file_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    std::fs::create_dir(dir.path().join("certs")).unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(
        file("certs/a.pem"),
        certificate.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    std::fs::write(file("certs/a.key"), key.serialize_pem()).unwrap();
    let tls = "{ bind: '127.0.0.1:0', tls: { certificates: [{ chain: certs/a.pem, key: certs/a.key }] } }";
    std::fs::write(file("t.yaml"), GOOD.replace("{ bind: '127.0.0.1:0' }", tls)).unwrap();
    let loaded = load(&file("t.yaml")).unwrap();
    assert_eq!(
        loaded.watched,
        [file("certs/a.key"), file("certs/a.pem"), file("t.yaml")]
    );
    let tls = loaded.settings.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].chain, file("certs/a.pem"));
    assert!(
        loaded.resolved.contains("chain: \"certs/a.pem\""),
        "{}",
        loaded.resolved
    );
}

#[test]
fn a_directory_for_bodies_is_looked_for_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.yaml");
    std::fs::write(&file, format!("replay: {{ spool_dir: spool }}\n{GOOD}")).unwrap();
    let warnings = || -> Vec<&str> {
        let loaded = load(&file).unwrap();
        assert_eq!(*loaded.plan.replay.spool_dir, dir.path().join("spool"));
        loaded.warnings.iter().map(|warning| warning.code).collect()
    };
    assert_eq!(warnings(), ["missing_directory"]);
    std::fs::write(dir.path().join("spool"), "").unwrap();
    assert_eq!(warnings(), ["missing_directory"]);
    std::fs::remove_file(dir.path().join("spool")).unwrap();
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    assert_eq!(warnings(), [""; 0]);
}

#[test]
fn devices_are_not_read_as_certificates() {
    assert!(Disk.read(Path::new("/dev/zero")).is_err());
}

#[test]
fn the_hash_depends_on_meaning_only() {
    let hash = |text: &str| {
        compile("x.yaml", text, &Memory::new(), now())
            .unwrap()
            .plan
            .content_hash
    };
    let good = hash(GOOD);
    assert_eq!(good.len(), 64);
    assert_eq!(hash(&format!("# a comment\n{GOOD}\n")), good);
    assert_eq!(
        hash(&GOOD.replace("upstream: shop", "upstream: shop, timeout: 0.5m")),
        good
    );
    assert_ne!(
        hash(&GOOD.replace("upstream: shop", "upstream: shop, timeout: 31s")),
        good
    );
    assert_ne!(
        hash(&GOOD.replace(
            "{ eu-west: {}, us-east: {} }",
            "{ us-east: {}, eu-west: {} }"
        )),
        good
    );
}

#[test]
fn the_hash_depends_on_every_key_of_failover() {
    let hash = |text: &str| {
        let loaded = compile("x.yaml", text, &Memory::new(), now());
        let loaded = loaded.unwrap_or_else(|report| panic!("{text}: {report}"));
        loaded.plan.content_hash
    };
    let upstream = |keys: &str| GOOD.replace("  shop:\n", &format!("  shop:\n    {keys}\n"));
    let route = |keys: &str| GOOD.replace("upstream: shop", &format!("upstream: shop, {keys}"));
    let replay = |keys: &str| format!("replay: {{ {keys} }}\n{GOOD}");
    let texts = [
        GOOD.to_owned(),
        upstream("retry: { on: [grpc-unavailable] }"),
        upstream("retry: { on: [grpc-aborted] }"),
        upstream("retry: { first_byte: 1s }"),
        upstream("retry: { backoff: { base: 20ms } }"),
        upstream("retry: { backoff: { max: 200ms } }"),
        upstream("retry: { on_unknown_outcome: fail }"),
        upstream("body: { replay: 2MiB }"),
        upstream("body: { spool: 2GiB }"),
        upstream("body: { gather: 2MiB }"),
        replay("memory: 1GiB"),
        replay("spool: 1GiB"),
        replay("spool_dir: /srv"),
        route("max_duration: 1h"),
        route("idempotent: true"),
        route("idempotency_key: true"),
        route("replay_scope: region"),
        route("replay_scope: global"),
        route("deadline_header: x-deadline"),
        route("resume: off"),
        route("validators: global"),
        route("hedge: {}"),
        route("hedge: { after: p99 }"),
        route("hedge: { after: 100ms }"),
        route("hedge: { budget: 1% }"),
        route("hedge: { to: region }"),
    ];
    let hashes: HashSet<_> = texts.iter().map(|text| hash(text)).collect();
    assert_eq!(hashes.len(), texts.len());
    let defaults = [
        upstream("retry: { first_byte: off, backoff: { base: 25ms, max: 250ms } }"),
        upstream(
            "retry: { on: [conn-failure, empty-response, response-timeout, junk-response, 502, 503, 504, grpc-unavailable], on_unknown_outcome: wait }",
        ),
        upstream("body: { replay: 1MiB, spool: 1GiB, gather: off }"),
        replay("memory: 256MiB, spool: 4GiB, spool_dir: /var/tmp"),
        route(
            "max_duration: off, idempotent: false, replay_scope: auto, resume: auto, validators: etag, hedge: off",
        ),
    ];
    for text in defaults {
        assert_eq!(hash(&text), hash(GOOD), "{text}");
    }
}

#[test]
fn the_hash_depends_on_every_key_of_steering() {
    let files = Memory::new()
        .with("one", "0123456789abcdef0123456789abcdef")
        .with("two", "fedcba9876543210fedcba9876543210");
    let hash = |text: &str| {
        let loaded = compile("x.yaml", text, &files, now());
        let loaded = loaded.unwrap_or_else(|report| panic!("{text}: {report}"));
        loaded.plan.content_hash
    };
    let other = "  other: { regions: { eu-west: { endpoints: ['10.1.0.20:8080'] }, us-east: { endpoints: ['10.2.0.20:8080'] } } }\nroutes:";
    let base = GOOD.replace("routes:", other);
    let region =
        |keys: &str| base.replace("8080'] }\n  other", &format!("8080'], {keys} }}\n  other"));
    let steering = |keys: &str| {
        base.replace(
            "  shop:\n",
            &format!("  shop:\n    steering: {{ {keys} }}\n"),
        )
    };
    let full = |keys: &str| {
        let text = steering(keys);
        text.replace("8080'] }", "8080'], capacity_rps: 100 }")
    };
    let cookie = |keys: &str| {
        steering(&format!(
            "affinity: {{ by: cookie, cookie: {{ secret_files: [one], {keys} }} }}"
        ))
    };
    let route = |keys: &str| base.replace("upstream: shop", keys);
    let split = "split: [{ upstream: shop }, { upstream: other }]";
    let texts = [
        base.clone(),
        region("capacity_rps: 100"),
        region("capacity_rps: 100, pop_share: 50%"),
        region("standby: warm"),
        region("standby: { cold: { start: [a] } }"),
        region("standby: { cold: { start: [a, b] } }"),
        region("standby: { cold: { webhook: 'http://a/' } }"),
        region("standby: { cold: { start: [a], below: 10% } }"),
        region("standby: { cold: { start: [a], timeout: 10s } }"),
        region("dial: 50%"),
        region("dial: 0%"),
        steering("tolerance: 5ms"),
        steering("hysteresis: 10%"),
        steering("hysteresis: 1ms"),
        steering("policy: priority"),
        steering("policy: priority, overprovisioning: 1.5"),
        steering("policy: weighted"),
        steering("policy: weighted, hash_on: [path]"),
        steering("policy: least_load"),
        full("policy: capacity"),
        full("policy: capacity, spread: spray"),
        full("policy: capacity, spill_at: 80%"),
        full("policy: capacity, return_at: 80%"),
        full("policy: capacity, smoothing: 1s"),
        steering("panic: fail_open"),
        steering("panic: { fail_open: 10% }"),
        steering("panic: { fallback: {} }"),
        steering("panic: { fallback: { status: 500 } }"),
        steering("panic: { fallback: { body: a } }"),
        steering("panic: { fallback: { body: a, content_type: text/html } }"),
        steering("panic: { fallback: { redirect: 'https://a.example/' } }"),
        steering("affinity: { by: client_address }"),
        steering("affinity: { by: { header: a } }"),
        cookie(""),
        cookie("name: a"),
        cookie("ttl: 1h"),
        cookie("path: /a"),
        cookie("secure: true"),
        cookie("same_site: strict"),
        steering("affinity: { by: cookie, cookie: { secret_files: [two] } }"),
        steering("affinity: { by: cookie, cookie: { secret_files: [one, two] } }"),
        steering("affinity: { by: cookie, scope: endpoint, cookie: { secret_files: [one] } }"),
        steering("affinity: { by: cookie, when_gone: strict, cookie: { secret_files: [one] } }"),
        route("upstream: other"),
        route(split),
        route("split: [{ upstream: other }, { upstream: shop }]"),
        route("split: [{ upstream: shop, weight: 2 }, { upstream: other }]"),
        route(&format!("{split}, split_on: [path]")),
        route("upstream: shop, mirror: { upstream: other }"),
        route("upstream: shop, mirror: { upstream: other, share: 10% }"),
        route("upstream: shop, mirror: { upstream: other, max_body: 1KiB }"),
        route("upstream: shop, isolation: nearest"),
        route("upstream: shop, isolation: strict"),
    ];
    let hashes: HashSet<_> = texts.iter().map(|text| hash(text)).collect();
    assert_eq!(hashes.len(), texts.len());
    let defaults = [
        region("standby: hot, dial: 100%, zones: []"),
        steering("policy: latency, hysteresis: 5%, panic: {}, affinity: off"),
        route("upstream: shop, isolation: off"),
    ];
    for text in defaults {
        assert_eq!(hash(&text), hash(&base), "{text}");
    }
}

#[test]
fn secrets_are_shown_nowhere_and_their_files_are_watched() {
    let text = GOOD.replace(
        "  shop:\n",
        "  shop:\n    steering: { affinity: { by: cookie, cookie: { secret_files: [secret] } } }\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("t.yaml"), dir.path().join("secret"));
    std::fs::write(&file, text).unwrap();
    let written = "qdwoifjqwpoeifjwqpoeifjqpwoeifjpqwoeifj";
    std::fs::write(&secret, format!("{written}\n")).unwrap();
    let loaded = load(&file).unwrap();
    assert!(loaded.watched.contains(&secret));
    let steering = &loaded.plan.upstreams[0].steering;
    let Some(AffinityBy::Cookie(cookie)) = steering.affinity.as_ref().map(|a| &a.by) else {
        panic!("{steering:?}")
    };
    assert_eq!(*cookie.secrets[0], *written.as_bytes());
    let shown = format!("{}{:?}{}", loaded.resolved, loaded, loaded.report());
    let as_numbers = format!("{:?}", &written.as_bytes()[..4]);
    assert!(!shown.contains(&written[..8]), "{shown}");
    assert!(!shown.contains(as_numbers.trim_end_matches(']')), "{shown}");
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let text = GOOD.replace(
        "  shop:\n",
        "  shop:\n    steering: { affinity: { by: cookie, cookie: { secret_files: [secret] } } }\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("t.yaml"), dir.path().join("secret"));
    std::fs::write(&file, text).unwrap();
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let warnings = |mode: u32| -> Vec<&str> {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(&file).unwrap();
        loaded.warnings.iter().map(|warning| warning.code).collect()
    };
    assert_eq!(warnings(0o600), [""; 0]);
    assert_eq!(warnings(0o640), [""; 0]);
    assert_eq!(warnings(0o644), ["exposed_secret"]);
}

#[test]
fn the_hash_covers_files_that_become_part_of_the_plan() {
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(["a.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem()
    };
    let text = GOOD.replace("  shop:\n", "  shop:\n    tls: { ca: ca.pem }\n");
    let hash = |pem: String| {
        let files = Memory::new().with("ca.pem", pem);
        compile("x.yaml", &text, &files, now())
            .unwrap()
            .plan
            .content_hash
    };
    let same = authority();
    assert_eq!(hash(same.clone()), hash(same.clone()));
    assert_ne!(hash(same), hash(authority()));
}

#[test]
fn what_is_counted_by_small_integers_is_limited() {
    let upstream = "{ regions: { eu-west: { endpoints: ['a:1'] } } }";
    let upstreams: String = (0..65_600)
        .map(|n| format!("  u{n}: {upstream}\n"))
        .collect();
    let text = GOOD.replace("upstreams:\n", &format!("upstreams:\n{upstreams}"));
    // That no route leads to them is told as well.
    let mut report = refused(&text);
    report
        .problems
        .retain(|one| one.severity == Severity::Error);
    assert!(codes(&report) == ["too_many_upstreams"]);
    let listeners: String = (0..300).map(|_| "{ bind: '127.0.0.1:0' }, ").collect();
    let text = GOOD.replace("[{ bind: '127.0.0.1:0' }]", &format!("[{listeners}]"));
    assert_eq!(codes(&refused(&text)), ["too_many_listeners"]);
    let regions: String = (0..70_000).map(|n| format!("r{n}: {{}}, ")).collect();
    let text = GOOD.replace(
        "eu-west: {}",
        &format!("{regions} eu-west: {{ jurisdictions: [eu] }}"),
    );
    let text = text.replace(
        "upstream: shop",
        "upstream: shop, residency: { allow: [eu] }",
    );
    assert!(codes(&refused(&text)).contains(&"too_many_regions"));
    let lines = regions.replace(", ", "\n      ");
    let text = GOOD.replace("      eu-west", &format!("      {lines}eu-west"));
    assert!(codes(&refused(&text)).contains(&"unknown_region"));
}

#[test]
fn a_hundred_thousand_routes_load() {
    let route = |n: u32| {
        format!("  - {{ match: {{ host: h{n}.example.com, path: /api/** }}, upstream: shop }}\n")
    };
    let routes: String = (0..100_000).map(route).collect();
    let text = GOOD.replace(
        "routes: [{ upstream: shop }]\n",
        &format!("routes:\n{routes}"),
    );
    let loaded = compile("x.yaml", &text, &Memory::new(), now()).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(loaded.plan.routes.len(), 100_000);
}

#[test]
fn a_report_stays_readable_whatever_the_file() {
    let check = |text: &str| {
        let rendered = refused(text).render(RenderStyle::PLAIN);
        assert!(rendered.len() < 60_000, "{} bytes", rendered.len());
        assert!(
            rendered.chars().all(|c| c == '\n' || !c.is_control()),
            "control characters"
        );
    };
    let many: String = (0..5_000).map(|n| format!("key{n}: 1\n")).collect();
    check(&many);
    check(&format!("{{ {} }}", many.replace('\n', ", ")));
    check(&GOOD.replace(
        "upstream: shop",
        &format!("upstream: {}", "x".repeat(1_000_000)),
    ));
    check(&GOOD.replace(
        "upstream: shop",
        "upstream: \"\\x1b[2Jx\", match: { path: \"\\x1b[2J\" }",
    ));
    check(&GOOD.replace("'10.1.0.10:8080'", &format!("'{}'", "9".repeat(100_000))));
}

#[test]
fn the_number_of_problems_not_shown_is_told() {
    let text: String = (0..60).map(|n| format!("key{n}: 1\n")).collect();
    let rendered = refused(&text).render(RenderStyle::PLAIN);
    assert!(
        rendered.ends_with("x.yaml: 64 errors (14 not shown)\n"),
        "{rendered}"
    );
}

#[test]
fn reports_are_the_same_every_time() {
    let text = GOOD
        .replace("shop:", "shop: { retry: 5 }\n  shop:")
        .replace("us-east", "us-eats");
    let (first, second) = (refused(&text), refused(&text));
    assert_eq!(
        first.render(RenderStyle::TERMINAL),
        second.render(RenderStyle::TERMINAL)
    );
    assert_eq!(first.to_json(), second.to_json());
}

#[test]
fn machines_get_places_and_codes() {
    let report = refused(&GOOD.replace("upstream: shop", "upstream: shpo"));
    let json = report.to_json();
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &0.into()));
    let expected = serde_json::json!({
        "code": "unknown_upstream",
        "severity": "error",
        "message": "there is no upstream `shpo`",
        "path": "routes[0].upstream",
        "help": "did you mean `shop`?",
        "related": [],
        "line": 8,
        "column": 22,
        "offset": 226,
        "length": 4,
        "excerpt": "routes: [{ upstream: shpo }]",
    });
    assert_eq!(json["problems"], serde_json::json!([expected]));
}

#[test]
fn excerpts_for_machines_are_short() {
    let text = GOOD.replace(
        "upstream: shop",
        &format!("é{}: 1, upstream: shpo", "é".repeat(500)),
    );
    let json = refused(&text).to_json();
    for problem in json["problems"].as_array().unwrap() {
        let excerpt = problem["excerpt"].as_str().unwrap();
        assert!(excerpt.len() <= 200 && !excerpt.is_empty(), "{excerpt}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    let text = format!("admin: {{ bind: '0.0.0.0:9901' }}\n{GOOD}");
    let loaded = compile("x.yaml", &text, &Memory::new(), now()).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].severity, Severity::Warning);
    assert!(
        loaded
            .report()
            .render(RenderStyle::PLAIN)
            .ends_with("x.yaml: 1 warning\n")
    );
}

#[test]
fn what_an_alias_repeats_is_told_once() {
    let text = "\
listeners: [{ bind: '127.0.0.1:0' }]
regions: { eu-west: {}, us-east: {} }
upstreams:
  a: &a { regions: { eu-west: { endpoints: ['a:1'] } }, retry: { per_try: 5 } }
  b: *a
routes: [{ upstream: a }, { upstream: b, match: { path: /b } }]
";
    let report = refused(text);
    assert_eq!(codes(&report), ["unused_region", "invalid_unit"]);
    assert_eq!(report.problems[1].path, "upstreams.a.retry.per_try");
}
