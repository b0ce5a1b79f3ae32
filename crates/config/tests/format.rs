//! Formatting changes how a file looks, and nothing else: what it means, its comments, and what it looks
//! like when it is formatted again.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use tidegate_config::{Memory, compile, format};

/// Every YAML file of the repository: examples, and the corpus of good and bad configurations.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directories = ["configs", "examples", "crates/config/tests/cases"];
    let mut found: Vec<PathBuf> = directories
        .iter()
        .flat_map(|directory| below(&root.join(directory)))
        .collect();
    found.sort();
    found
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => below(&path),
            false => vec![path],
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect()
}

/// What stands behind every `#` that starts a comment, found without any parser: texts in this
/// repository that have one in quotes are told apart by hand.
fn comments(text: &str) -> Vec<&str> {
    let starts = |line: &str, at: usize| at == 0 || line[..at].ends_with([' ', '\t']);
    text.lines()
        .filter_map(|line| {
            let mut marks = line.match_indices('#').map(|(at, _)| at);
            let at = marks.find(|at| {
                let before = &line[..*at];
                let open = |quote: char| before.matches(quote).count() % 2 == 1;
                starts(line, *at) && !open('"') && !open('\'')
            })?;
            Some(line[at..].trim_end())
        })
        .collect()
}

/// What must hold for every text: it is refused, or formatted once and for all.
fn check(text: &str) -> Result<bool, TestCaseError> {
    let Ok(formatted) = format("x.yaml", text) else {
        return Ok(false);
    };
    let again = format("x.yaml", &formatted);
    let again = again.map_err(|report| TestCaseError::fail(format!("{report}\n{formatted}")))?;
    prop_assert_eq!(&again, &formatted, "formatted twice");
    prop_assert!(!formatted.contains('\t') || text.contains('\t'));
    prop_assert_eq!(meaning(text), meaning(&formatted));
    Ok(true)
}

/// What the compiler makes of a text: the whole plan, or every problem without its place.
fn meaning(text: &str) -> Result<String, Vec<(&'static str, String, String)>> {
    let compiled = compile("x.yaml", text, &Memory::new(), UNIX_EPOCH);
    compiled.map(|loaded| loaded.resolved).map_err(|report| {
        let problems = report.problems.into_iter();
        let mut told: Vec<_> = problems
            .map(|problem| (problem.code, problem.message, problem.path))
            .collect();
        told.sort();
        told
    })
}

#[test]
fn every_file_of_the_repository_is_formatted_without_a_change_of_meaning() {
    let mut formatted = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_formatted =
            check(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if is_formatted {
            let after = format("x.yaml", &text).unwrap();
            assert_eq!(comments(&text), comments(&after), "{}", path.display());
            formatted += 1;
        }
    }
    assert!(formatted > 100, "{formatted}");
}

#[test]
fn the_examples_are_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for path in ["configs", "examples"]
        .iter()
        .flat_map(|dir| below(&root.join(dir)))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let formatted = format("x.yaml", &text).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(text, formatted, "run `tidegate fmt` on {}", path.display());
    }
}

const SEED: &str = include_str!("../../../configs/reference.yaml");

/// The reference with comments in, lines blank, indented or quoted anew.
fn shaken() -> impl Strategy<Value = String> {
    let count = SEED.lines().count();
    prop::collection::vec((0..count, 0..7u8), 1..12).prop_map(|edits| {
        let mut lines: Vec<String> = SEED.lines().map(str::to_owned).collect();
        for (at, kind) in edits {
            let line = lines[at].clone();
            lines[at] = match kind {
                0 => format!("{line}     # beside {at}"),
                1 => format!("# above {at}\n\n\n{line}"),
                2 => format!("{line}\n        # below {at}"),
                3 => line.replacen("# ", "", 1),
                4 => line.replace("  ", "    "),
                5 => line.replace(": ", ":    "),
                _ => line
                    .replace('[', "[\n                      ")
                    .replace('{', "{   "),
            };
        }
        lines.join("\n")
    })
}

/// Small trees in every style of YAML that configurations are written in.
fn tree() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        "[a-z]{1,6}",
        "\"[a-z :#]{0,8}\"",
        "'[a-z :#/]{0,8}'",
        Just("5s".to_owned()),
        Just("1.20".to_owned()),
        Just("true".to_owned()),
        Just("\"off\"".to_owned()),
        Just("${X:-y}".to_owned()).prop_map(|text| format!("\"{text}\"")),
    ];
    let flow = prop_oneof![
        prop::collection::vec("[a-z]{1,3}|\"[a-z]{1,3}\"", 0..4)
            .prop_map(|items| format!("[{}]", items.join(" , "))),
        prop::collection::vec("[a-z]{1,3}", 0..3).prop_map(|keys| {
            let entries = keys.iter().enumerate();
            let entries: Vec<String> = entries.map(|(n, key)| format!("{key}{n}: {n}")).collect();
            format!("{{{}}}", entries.join(","))
        }),
    ];
    let value = prop_oneof![scalar, flow];
    let line = (value, 0..4u8, "( {0,6}# ?[a-z:\"'{\\[]{0,9})?");
    prop::collection::vec(line, 1..12).prop_map(|lines| {
        let mut text = String::new();
        let mut depth = 0;
        for (number, (value, kind, comment)) in lines.iter().enumerate() {
            let indent = "   ".repeat(depth);
            let comment = match comment.starts_with('#') {
                true => format!(" {comment}"),
                false => comment.clone(),
            };
            match kind {
                0 => {
                    text.push_str(&format!("{indent}k{number}:{comment}\n"));
                    depth += 1;
                    text.push_str(&format!("{}l{number}: {value}\n", "   ".repeat(depth)));
                }
                1 => {
                    depth = 0;
                    text.push_str(&format!("k{number}: {value}{comment}\n"));
                }
                2 => text.push_str(&format!(
                    "{indent}k{number}:\n{indent}- {value}{comment}\n{indent}-   a: {value}\n{indent}    b: 1\n"
                )),
                _ => text.push_str(&format!("{indent}k{number}:  {value}{comment}\n\n\n")),
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_formatted_or_refused(text in "[-\\[\\]{}:,&*#'\"|>!%@~a-c0-9 \n]{0,60}") {
        check(&text)?;
    }

    #[test]
    fn any_tree_is_formatted(text in tree()) {
        prop_assert!(check(&text)?, "{}", text);
    }

    #[test]
    fn a_shaken_reference_is_formatted_or_refused(text in shaken()) {
        check(&text)?;
    }
}
