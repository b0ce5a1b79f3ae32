//! The examples of `docs/expressions.md` are expressions, and each tells requests apart.

use std::path::Path;

use http::{HeaderName, Method};
use tidegate_core::Snapshot;

use super::{at, load, messages};

/// Requests of which each example takes at least one, and leaves at least one.
fn requests() -> Vec<Snapshot> {
    let asked = |method, target: &str, fields: &[(&'static str, &str)]| {
        let fields = fields.iter();
        let fields =
            fields.map(|(name, value)| (HeaderName::from_static(name), (*value).to_owned()));
        Snapshot::new(method, "shop.example.com", target).with_fields(fields)
    };
    let all = [
        ("x-tier", "platinum"),
        ("cookie", "a=b; beta=1"),
        ("x-level", "7"),
        ("x-debug-trace", "1"),
    ];
    let mut known = asked(Method::POST, "/admin/x", &all);
    // A Tuesday of 2026.
    known.at = at() - std::time::Duration::from_secs(4 * 86_400 + 12 * 3600);
    known.client = Some([192, 168, 3, 4].into());
    known.client_subject = Some("CN=billing,O=Example".into());
    let keyed = asked(
        Method::POST,
        "/v2/orders/0a1b2c3d",
        &[("idempotency-key", "k")],
    );
    let mut late = asked(Method::GET, "/", &[]);
    late.at = at() + std::time::Duration::from_secs(365 * 86_400);
    vec![known, keyed, late]
}

#[test]
fn every_example_tells_requests_apart() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/expressions.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```cel\n").skip(1);
    let examples: Vec<&str> = blocks
        .map(|block| block.split("\n```").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 10);
    for example in examples {
        let loaded = load(&serde_json::to_string(example).unwrap());
        let loaded = loaded.unwrap_or_else(|report| panic!("{example}: {:?}", messages(&report)));
        assert!(
            loaded.warnings.is_empty(),
            "{example}: {:?}",
            loaded.warnings
        );
        let when = loaded.plan.routes[0].matches.when.clone().unwrap();
        let held = requests().iter().filter(|one| when.holds(*one)).count();
        assert!((1..3).contains(&held), "{example} holds for {held}");
    }
}
