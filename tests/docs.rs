//! The documents say what is so: links lead somewhere, metrics and words exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegate_core::termination;

use crate::harness::{files, root};

/// The documents for readers.
fn documents() -> Vec<PathBuf> {
    let mut all = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    all.extend(files(&root().join("docs"), "md"));
    all.extend(files(&root().join("examples"), "md"));
    all
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of `[words](target)`, code blocks left out.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let ends = prose.flat_map(|prose| prose.split("](").skip(1));
    ends.filter_map(|rest| rest.split([')', ' ']).next())
        .collect()
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for document in documents() {
        let text = read(&document);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let place = format!("{}: {link}", document.display());
            assert!(target.exists(), "{place} does not exist");
            if !fragment.is_empty() {
                let text = read(&target);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|heading| anchor(heading) == fragment);
                assert!(found, "{place} has no such heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 5, "only {checked} links were found");
}

/// Every word that starts like a metric is one.
#[test]
fn documents_name_no_metric_that_does_not_exist() {
    let catalogue = read(&root().join("docs/metrics.md"));
    let rows = catalogue
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let known: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    for document in documents() {
        let text = read(&document);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_part(c));
        let crates = ["tidegate_config", "tidegate_control", "tidegate_core"];
        let metrics = words.filter(|word| word.starts_with("tidegate_") && !crates.contains(word));
        for word in metrics.filter(|word| *word != "tidegate_") {
            let place = document.display();
            let series = ["_bucket", "_sum", "_count"];
            let histogram = series.iter().find_map(|part| word.strip_suffix(part));
            let is_known =
                known.contains(word) || histogram.is_some_and(|name| known.contains(name));
            assert!(is_known, "{place}: there is no metric {word}");
        }
    }
}

/// The table of termination reasons: exactly those that exist, with their status, and whether the
/// request counts as lost.
#[test]
fn the_lexicon_has_the_termination_reasons() {
    let text = read(&root().join("docs/lexicon.md"));
    let (_, table) = text.split_once("| termination reason |").unwrap();
    let mut told = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, word, _, status, lost, _] = cells[..] else {
            panic!("a row has four cells: {row}")
        };
        let word = word.trim_matches('`');
        let reason = termination::ALL
            .iter()
            .find(|reason| reason.as_str() == word);
        let reason = reason.unwrap_or_else(|| panic!("there is no reason {word}"));
        assert_eq!(lost == "yes", reason.lost(), "{word}: lost");
        if status.starts_with(|c: char| c.is_ascii_digit()) {
            let actual = reason.status().as_u16().to_string();
            assert!(
                status.starts_with(&actual),
                "{word}: {status}, not {actual}"
            );
        }
        assert!(told.insert(word), "{word} is there twice");
    }
    let all = termination::ALL.iter().map(|reason| reason.as_str());
    assert_eq!(told, all.collect());
}

/// What ARCHITECTURE names as a guard is a file, and a module of this binary if it is here.
#[test]
fn the_guards_of_the_invariants_exist() {
    let text = read(&root().join("docs/ARCHITECTURE.md"));
    let modules = read(&root().join("tests/main.rs"));
    let mut guards = 0;
    let words = text.split('`').filter(|word| word.starts_with("tests/"));
    for word in words.filter(|word| word.ends_with(".rs")) {
        assert!(root().join(word).exists(), "there is no {word}");
        let module = word.trim_start_matches("tests/").trim_end_matches(".rs");
        assert!(modules.contains(&format!("mod {module};")), "{module}");
        guards += 1;
    }
    assert!(guards > 5, "only {guards} guards are named");
}
