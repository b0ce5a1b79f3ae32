//! The seeds of the fuzz targets, through the same checks.

use std::path::Path;

use tidegate_http1::Limits;

use super::{differential, transcript};

/// Returns the sum of what `check` returns.
fn for_each_seed(target: &str, check: impl Fn(&[u8]) -> usize) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is checked in") {
        let path = entry.expect("a readable folder").path();
        sum += check(&std::fs::read(&path).expect("a readable seed"));
    }
    sum
}

#[test]
fn request_seeds_mean_the_same_to_everyone() {
    let compared = for_each_seed("request", differential::request);
    assert!(compared >= 12, "only {compared} messages were compared");
}

#[test]
fn response_seeds_mean_the_same_to_everyone() {
    let compared = for_each_seed("response", differential::response);
    assert!(compared >= 6, "only {compared} messages were compared");
}

#[test]
fn request_seeds_mean_the_same_in_any_split() {
    let read = for_each_seed("request", |bytes| {
        let whole = transcript::requests([bytes], &Limits::default());
        let split = transcript::requests(bytes.chunks(1), &Limits::default());
        assert_eq!(whole, split);
        whole.messages.len()
    });
    assert!(read >= 12, "only {read} messages were read");
}
