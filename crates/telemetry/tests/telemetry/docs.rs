//! `docs/metrics.md` is the catalogue.

use std::path::Path;

use tidegate_telemetry::catalogue::markdown;

#[test]
fn the_page_of_metrics_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == markdown(),
        "docs/metrics.md is stale: run this test with UPDATE_DOCS=1"
    );
}
