//! The reference in `docs/` is the one that the types print. `UPDATE_DOCS=1` writes it.

use std::path::Path;

#[test]
fn the_reference_is_printed_from_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let expected = tidegate_config::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap();
    assert!(
        actual == expected,
        "docs/configuration.md is old; UPDATE_DOCS=1 writes it"
    );
}
