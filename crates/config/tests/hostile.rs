//! Nothing that is read can make the compiler panic, and whatever it accepts, it can print and
//! accept again.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[path = "hostile/checks.rs"]
mod checks;

const SEEDS: [&str; 4] = [
    include_str!("../../../configs/reference.yaml"),
    include_str!("cases/ok/probe-steps.yaml"),
    include_str!("cases/ok/failover.yaml"),
    include_str!("cases/ok/matchers.yaml"),
];

/// Changes of each seed of a fuzz target that are tried besides the seed itself.
const MUTATIONS: u32 = 12;

/// Texts that look like configurations: lines of one, changed.
fn mutated(seed: &str) -> impl Strategy<Value = String> + use<> {
    let lines: Vec<String> = seed.lines().map(str::to_owned).collect();
    let count = lines.len().max(1);
    let edit = (0..count, 0..6u8, "[ -~é\u{202e}]{0,12}");
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text = lines.clone();
        for (at, kind, words) in edits {
            apply(&mut text, at, kind, &words);
        }
        text.join("\n")
    })
}

fn apply(text: &mut Vec<String>, at: usize, kind: u8, words: &str) {
    // Nothing is left to change once the first line is gone.
    let Some(at) = at.checked_rem(text.len()) else {
        return;
    };
    match kind {
        0 => drop(text.remove(at)),
        1 => text.insert(at, words.to_owned()),
        2 => text[at] = text[at].replacen("# ", "", 1),
        3 => text[at].push_str(words),
        4 => text.truncate(at + 1),
        _ => {
            let key = text[at].split(':').next().unwrap_or_default().to_owned();
            text[at] = format!("{key}: {words}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_compiled_or_refused(text in any::<String>()) {
        checks::compile(text.as_bytes());
    }

    #[test]
    fn any_yaml_like_text_is_compiled_or_refused(text in "[-\\[\\]{}:,&*#'\"|>!%@~a-c0-9 \n\t]{0,80}") {
        checks::compile(text.as_bytes());
    }

    #[test]
    fn any_change_of_a_good_file_is_compiled_or_refused(
        text in prop_oneof![mutated(SEEDS[0]), mutated(SEEDS[1]), mutated(SEEDS[2]), mutated(SEEDS[3])],
    ) {
        checks::compile(text.as_bytes());
    }
}

/// The seeds of a fuzz target and changes of each, through the function that the target calls.
fn over_corpus(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = std::fs::read_dir(corpus.join(target)).expect("the corpus is there");
    let seeds: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    assert!(seeds.len() >= 4, "{target}: {seeds:?}");
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("readable");
        check(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let config = ProptestConfig {
            cases: MUTATIONS,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let changed = TestRunner::new(config).run(&mutated(&text), |text| {
            check(text.as_bytes());
            Ok(())
        });
        changed.unwrap_or_else(|error| panic!("{}: {error}", seed.display()));
    }
}

#[test]
fn the_seeds_of_compile_hold() {
    over_corpus("compile", checks::compile);
}

#[test]
fn the_seeds_of_bundle_hold() {
    over_corpus("bundle", checks::bundle);
}

#[test]
fn the_seeds_of_format_hold() {
    over_corpus("format", checks::format);
}

#[test]
fn the_seeds_of_expression_hold() {
    over_corpus("expression", checks::expression);
}
