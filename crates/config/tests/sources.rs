//! Configurations of several files, on a disk, and the environment: bounds, order, and what is never shown.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_config::{
    Bundle, Loaded, Memory, RenderStyle, Report, Surroundings, Variables, compile_bundle, load,
    matching,
};

const MAIN: &str = r#"
include: [policies/*.yaml]
listeners: [{ bind: 127.0.0.1:8080 }]
regions: { eu-west: {} }
upstreams: { shop: { regions: { eu-west: { endpoints: ["10.0.0.1:80"] } } } }
"#;

/// Files on the disk.
struct Stage(TempDir);

impl Stage {
    fn new(main: &str) -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        stage.put("tidegate.yaml", main);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Loaded, Report> {
        load(&self.path("tidegate.yaml"))
    }

    fn codes(&self) -> Vec<&'static str> {
        let report = self.load().unwrap_err();
        report.problems.iter().map(|problem| problem.code).collect()
    }
}

fn route(path: &str) -> String {
    format!("routes: [{{ match: {{ path: {path} }}, upstream: shop }}]\n")
}

fn compiled(bundle: &Bundle, environment: &Variables) -> Result<Loaded, Report> {
    let surroundings = Surroundings {
        files: &Memory::new(),
        environment,
        now: UNIX_EPOCH + Duration::from_secs(1_782_000_000),
        serving: None,
    };
    compile_bundle(bundle, &surroundings)
}

#[test]
fn files_are_put_together_in_the_order_of_their_names() {
    let stage = Stage::new(MAIN);
    for name in ["c", "a", "b"] {
        stage.put(&format!("policies/{name}.yaml"), route(&format!("/{name}")));
    }
    let loaded = stage.load().unwrap();
    let names = loaded.bundle.files.iter().map(|(path, _)| path.clone());
    let expected = [
        "tidegate.yaml",
        "policies/a.yaml",
        "policies/b.yaml",
        "policies/c.yaml",
    ];
    assert_eq!(
        names.collect::<Vec<_>>(),
        expected.map(|name| stage.path(name))
    );
    let routes = loaded
        .plan
        .routes
        .iter()
        .map(|route| route.name.to_string());
    assert_eq!(routes.collect::<Vec<_>>(), ["/a", "/b", "/c"]);
    let watched: BTreeSet<PathBuf> = loaded.watched.iter().cloned().collect();
    let pattern = stage.path("policies/*.yaml");
    assert!(watched.is_superset(&expected.map(|name| stage.path(name)).into()));
    assert!(watched.contains(&pattern), "{watched:?}");
    assert_eq!(
        matching(&pattern),
        ["a", "b", "c"].map(|n| stage.path(&format!("policies/{n}.yaml")))
    );
    assert_eq!(matching(&stage.path("tidegate.yaml")), [] as [PathBuf; 0]);
}

#[test]
fn a_bundle_makes_the_same_plan_without_its_files() {
    let stage = Stage::new(MAIN);
    stage.put("policies/a.yaml", route("/a"));
    let first = stage.load().unwrap();
    let kept = serde_json::to_string(&first.bundle).unwrap();
    drop(stage);
    let bundle: Bundle = serde_json::from_str(&kept).unwrap();
    assert!(bundle.is_same(&first.bundle));
    let again = compiled(&bundle, &Variables::default()).unwrap();
    assert_eq!(again.plan.content_hash, first.plan.content_hash);
    let other = bundle.with("x.yaml", "a: 1");
    assert!(!other.is_same(&first.bundle));
}

#[test]
fn what_cannot_be_read_is_told_at_the_entry_that_names_it() {
    let stage = Stage::new("include: [a.yaml, b.yaml, c, d.yaml]\nlisteners: [1]\n");
    stage.put("a.yaml", [b'a', b':', 0xff]);
    stage.put("c/x.yaml", "");
    let report = stage.load().unwrap_err();
    let told: Vec<_> = report
        .problems
        .iter()
        .map(|p| (p.code, p.span.unwrap().start))
        .collect();
    let expected = [
        ("not_utf8", 10),
        ("missing_file", 18),
        ("unreadable_file", 26),
        ("missing_file", 29),
    ];
    assert_eq!(told[..4], expected);
    assert_eq!(
        told[4].0, "wrong_type",
        "the rest of the file is judged as well"
    );
}

#[test]
fn files_of_another_kind_are_not_read() {
    let stage = Stage::new(MAIN);
    stage.put("policies/a.yaml", route("/a"));
    std::fs::create_dir(stage.path("policies/directory.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", stage.path("policies/z.yaml")).unwrap();
    assert_eq!(stage.codes(), ["unreadable_file"]);
    std::fs::remove_file(stage.path("policies/z.yaml")).unwrap();
    std::os::unix::fs::symlink("gone", stage.path("policies/z.yaml")).unwrap();
    assert_eq!(stage.codes(), ["missing_file"]);
}

#[test]
fn the_number_of_files_is_bounded() {
    let files = |count: usize| {
        (0..count).fold(Bundle::of("m.yaml", MAIN), |bundle, n| {
            bundle.with(format!("policies/{n}.yaml"), route(&format!("/{n}")))
        })
    };
    let most = compiled(&files(999), &Variables::default()).unwrap();
    assert_eq!(most.plan.routes.len(), 999);
    let report = compiled(&files(1001), &Variables::default()).unwrap_err();
    assert_eq!(report.problems[0].code, "too_many_files");
    let names: Vec<String> = (0..101).map(|n| format!("{n}.yaml")).collect();
    let text = format!("include: [{}]\n", names.join(", "));
    let report = compiled(&Bundle::of("m.yaml", text), &Variables::default()).unwrap_err();
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.code == "too_many_includes")
    );
}

#[test]
fn values_are_bounded() {
    let text = format!("{MAIN}pop: {{ name: \"{}\" }}\n", "${A}".repeat(100));
    let environment = Variables::from_iter([("A", "x".repeat(60_000))]);
    let report = compiled(&Bundle::of("m.yaml", text), &environment).unwrap_err();
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.code == "too_large"),
        "{report}"
    );
}

/// A value is a value, whatever it looks like: never a key, a list or another line.
#[test]
fn values_are_never_structure() {
    let text = "listeners: [{ bind: 127.0.0.1:8080 }]\nregions: { eu-west: {} }\npop: { name: \"${A}\" }\n";
    for value in [
        "a: b",
        "[a, b]",
        "x\nthreads: 4",
        "*a",
        "&a b",
        "${A}",
        "# a",
        "{}",
    ] {
        let environment = Variables::from_iter([("A", value)]);
        let report = compiled(&Bundle::of("m.yaml", text), &environment).unwrap_err();
        let at_name = report
            .problems
            .iter()
            .filter(|problem| problem.path == "pop.name");
        assert_eq!(at_name.count(), 1, "{value}: {report}");
    }
}

#[test]
fn the_hash_counts_values_and_not_their_names() {
    let hash = |name: &str, value: &str| {
        let text = format!(
            "{}{}pop: {{ name: \"${{{name}}}\" }}\n",
            &MAIN[28..],
            route("/")
        );
        let environment = Variables::from_iter([(name, value)]);
        let loaded = compiled(&Bundle::of("m.yaml", text), &environment).unwrap();
        assert!(!loaded.resolved.contains(value), "{}", loaded.resolved);
        loaded.plan.content_hash
    };
    assert_eq!(hash("A", "fra1"), hash("B", "fra1"));
    assert_ne!(hash("A", "fra1"), hash("A", "fra2"));
}

/// Whether any six characters of a value are shown.
fn shows(text: &str, value: &str) -> bool {
    let value: Vec<char> = value.chars().collect();
    value
        .windows(6)
        .any(|part| text.contains(&part.iter().collect::<String>()))
}

/// Scalars of a file: where each starts and ends, as far as a line shows it.
fn scalars(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let value = line
            .find(": ")
            .map(|at| at + 2)
            .filter(|_| !line.trim_start().starts_with('#'));
        let end = line.find(" #").unwrap_or(line.trim_end().len());
        if let Some(start) = value.filter(|start| *start < end) {
            let written = line[start..end].trim_end();
            if !written.is_empty() && !written.contains(['{', '[', '&', '*', '|', '#']) {
                found.push((line_start + start, line_start + start + written.len()));
            }
        }
        line_start += line.len();
    }
    found
}

const REFERENCE: &str = include_str!("../../../configs/reference.yaml");

#[test]
fn every_value_of_the_reference_may_come_from_the_environment() {
    let places = scalars(REFERENCE);
    assert!(places.len() > 60, "{}", places.len());
    let plain = compiled(&Bundle::of("m.yaml", REFERENCE), &Variables::default()).unwrap();
    for (start, end) in places {
        let value = REFERENCE[start..end].trim_matches(['"', '\'']);
        let text = format!("{}${{VALUE}}{}", &REFERENCE[..start], &REFERENCE[end..]);
        let environment = Variables::from_iter([("VALUE", value)]);
        let loaded = compiled(&Bundle::of("m.yaml", text), &environment);
        let loaded = loaded.unwrap_or_else(|report| panic!("{value}: {report}"));
        assert_eq!(loaded.plan.content_hash, plain.plan.content_hash, "{value}");
        assert!(loaded.resolved.contains("${VALUE}"), "{value} at {start}");
        let again = compiled(&Bundle::of("r.yaml", &*loaded.resolved), &environment);
        let again = again.unwrap_or_else(|report| panic!("{value}: {report}"));
        assert_eq!(again.plan.content_hash, plain.plan.content_hash, "{value}");
        assert_eq!(again.resolved, loaded.resolved, "{value}");
    }
}

/// The variables of this file hold what elsewhere stands by itself: as a text, a default, another key's
/// value, in another order. Only where a variable was written is one printed.
const COINCIDENCES: &str = r#"
pop: { name: "${POP}" }
listeners: [{ bind: "${NET}:8080", trusted: ["127.0.0.1/32"] }]
admin: { bind: "127.0.0.1:9901" }
explain: { keep: "${KEEP}" }
regions: { eu-west: { jurisdictions: [fra1] }, fra1: {} }
upstreams:
  shop:
    regions:
      eu-west: { endpoints: ["${NET}:80", "127.0.0.1:81", { address: "127.0.0.1:82" }] }
      fra1: { endpoints: ["127.0.0.1:83"] }
    connection: { connect_timeout: "${SHORT}" }
  fra1: { regions: { fra1: { endpoints: ["127.0.0.1:84"] } }, retry: { backoff: { base: 250ms } } }
routes:
  - { match: { path: "/fra1/**", headers: { X-Pop: fra1 } }, upstream: fra1 }
  - { match: { path: /z, methods: [POST, "${METHOD}"] }, upstream: fra1 }
  - { match: { host: fra1.example, methods: [PATCH] }, upstream: shop, timeout: 10000ms }
  - { match: { path: "/${POP}/x" }, respond: { body: "fra1 at 127.0.0.1" } }
  - { match: { path: /y }, respond: { body: "true", headers: { x-pop: "fra1", X-Net: "${NET}" } } }
"#;

#[test]
fn a_printed_variable_stands_where_one_was_written() {
    let environment = |pop, net, keep, short, method| {
        let pairs = [("POP", pop), ("NET", net), ("KEEP", keep), ("SHORT", short)];
        Variables::from_iter(pairs.into_iter().chain([("METHOD", method)]))
    };
    let here = environment("fra1", "127.0.0.1", "10000", "250ms", "PATCH");
    let there = environment("ams2", "127.0.0.9", "777", "333ms", "GET");
    let loaded =
        |text: &str, environment| compiled(&Bundle::of("m.yaml", text), environment).unwrap();
    let printed = loaded(COINCIDENCES, &here).resolved;
    for environment in [&here, &there] {
        let meant = loaded(COINCIDENCES, environment);
        let again = loaded(&printed, environment);
        assert_eq!(
            again.plan.content_hash, meant.plan.content_hash,
            "{printed}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is wrong with a value, and wherever it is put: no report shows it.
    #[test]
    fn no_report_shows_a_value(
        at in 0..scalars(REFERENCE).len(),
        value in "[A-Z0-9]{7,9}([ :/@.%-][a-z0-9]{7,9}){0,3}",
    ) {
        let (start, end) = scalars(REFERENCE)[at];
        let text = format!("{}${{VALUE}}{}", &REFERENCE[..start], &REFERENCE[end..]);
        let environment = Variables::from_iter([("VALUE", value.clone())]);
        let shown = match compiled(&Bundle::of("m.yaml", text), &environment) {
            Ok(loaded) => format!("{}{}", loaded.resolved, loaded.report().to_json()),
            Err(report) => format!("{}{}", report.render(RenderStyle::PLAIN), report.to_json()),
        };
        prop_assert!(!shows(&shown, &value), "{} is shown:\n{}", value, shown);
        prop_assert!(!shows(&shown, &value.to_lowercase()), "{} is shown:\n{}", value, shown);
    }

    /// However texts are cut into files, and in whatever order they are listed: the same bytes.
    #[test]
    fn any_files_are_compiled_or_refused_alike(
        texts in prop::collection::vec("(include: ['\"]?[a-d./*?]{1,6}['\"]?\n)?[a-c:{}\\[\\]&*# \n]{0,30}", 1..5),
    ) {
        let bundle = |order: Vec<usize>| {
            order.into_iter().fold(Bundle::of("a", &*texts[0]), |bundle, n| {
                bundle.with(["a", "b", "c", "d/a"][n], &*texts[n])
            })
        };
        let shown = |bundle: &Bundle| match compiled(bundle, &Variables::default()) {
            Ok(loaded) => loaded.resolved,
            Err(report) => format!("{}{}", report.render(RenderStyle::PLAIN), report.to_json()),
        };
        let count = texts.len().min(4);
        let one = shown(&bundle((1..count).collect()));
        prop_assert_eq!(&one, &shown(&bundle((1..count).rev().collect())));
        prop_assert!(one.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
