//! Expressions as users write them: what they mean, and that it is what CEL means.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod differential;
mod docs;
mod generate;
mod meaning;
mod refused;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, Method};
use tidegate_config::{Loaded, Memory, Report, compile};
use tidegate_core::Snapshot;
use tidegate_core::expression::Expression;

/// A configuration whose first route has this `when`, as YAML writes it.
fn load(when: &str) -> Result<Loaded, Report> {
    let text = format!(
        "listeners: [{{ bind: '127.0.0.1:0' }}]
regions: {{ eu: {{}} }}
upstreams: {{ shop: {{ regions: {{ eu: {{ endpoints: ['10.1.0.10:8080'] }} }} }} }}
routes:
  - upstream: shop
    match:
      when: {when}
"
    );
    let now = UNIX_EPOCH + Duration::from_secs(1_782_000_000);
    compile("x.yaml", &text, &Memory::new(), now)
}

/// An expression, which must be one.
fn expression(text: &str) -> Arc<Expression> {
    match load(&serde_json::to_string(text).unwrap()) {
        Ok(loaded) => loaded.plan.routes[0].matches.when.clone().unwrap(),
        Err(report) => panic!("{text}: {:?}", messages(&report)),
    }
}

fn messages(report: &Report) -> Vec<String> {
    let problems = report.problems.iter();
    problems
        .map(|one| format!("{}: {}", one.code, one.message))
        .collect()
}

/// A request of which everything is known.
fn request() -> Snapshot {
    let fields = [
        ("x-tier", "gold"),
        ("cookie", "theme=dark; session=abc"),
        ("x-tier", "silver"),
        ("x-count", "42"),
        ("accept-language", "de-DE,de;q=0.9"),
        ("cookie", "beta=1"),
    ];
    let fields = fields.map(|(name, value)| (HeaderName::from_static(name), value.to_owned()));
    Snapshot {
        scheme: "https",
        client: Some([10, 1, 2, 3].into()),
        server_name: Some("shop.example.com".into()),
        client_subject: Some("CN=billing,O=Example".into()),
        at: at(),
        ..Snapshot::new(
            Method::POST,
            "Shop.Example.COM.",
            "/api/v2/orders?page=3&q=%C3%A4&flag&page=4",
        )
        .with_fields(fields)
    }
}

/// Saturday, 2026-07-04, 22:30:15.250 in UTC.
fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_783_204_215_250)
}
