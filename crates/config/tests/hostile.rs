//! Nothing that is read can make the compiler panic, and whatever it accepts, it can print and
//! accept again.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use tidegate_config::{Loaded, Memory, RenderStyle, Report, compile};

const SEEDS: [&str; 4] = [
    include_str!("../../../configs/reference.yaml"),
    include_str!("cases/ok/probe-steps.yaml"),
    include_str!("cases/ok/failover.yaml"),
    include_str!("cases/ok/matchers.yaml"),
];

fn load(text: &str) -> Result<Loaded, Report> {
    let now = UNIX_EPOCH + Duration::from_secs(1_782_000_000);
    compile("x.yaml", text, &Memory::new(), now)
}

/// Compiles and shows; checks what must hold for every text.
fn check(text: &str) -> Result<(), TestCaseError> {
    match load(text) {
        Ok(loaded) => {
            let again = load(&loaded.resolved);
            let again = again.map_err(|report| TestCaseError::fail(report.to_string()))?;
            prop_assert_eq!(&again.resolved, &loaded.resolved);
            prop_assert_eq!(again.plan.content_hash, loaded.plan.content_hash);
        }
        Err(report) => {
            prop_assert!(report.errors() > 0);
            for problem in &report.problems {
                prop_assert!(problem.span.is_none_or(|span| span.start <= text.len()));
            }
            report.to_json();
            let shown = report.render(RenderStyle::PLAIN);
            prop_assert!(
                shown.chars().all(|c| c == '\n' || !c.is_control()),
                "{:?}",
                shown
            );
        }
    }
    Ok(())
}

/// Texts that look like configurations: lines of one, changed.
fn mutated(seed: &'static str) -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = seed.lines().collect();
    let count = lines.len();
    let edit = (0..count, 0..6u8, "[ -~é\u{202e}]{0,12}");
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
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
        check(&text)?;
    }

    #[test]
    fn any_yaml_like_text_is_compiled_or_refused(text in "[-\\[\\]{}:,&*#'\"|>!%@~a-c0-9 \n\t]{0,80}") {
        check(&text)?;
    }

    #[test]
    fn any_change_of_a_good_file_is_compiled_or_refused(
        text in prop_oneof![mutated(SEEDS[0]), mutated(SEEDS[1]), mutated(SEEDS[2]), mutated(SEEDS[3])],
    ) {
        check(&text)?;
    }
}
