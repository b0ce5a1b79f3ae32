//! One broken value is one problem. Every value of every good case is broken in turn: nothing but that
//! value is complained of, because whoever corrects it has a good file again.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_config::{Bundle, Report, Severity, Variables};

use crate::{cases, load_bundle};

/// What no key takes.
const BROKEN: &str = "[[[]]]";

fn tree(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

/// The places that may be a value: from the start of a word to its end.
fn words(text: &str) -> Vec<(usize, usize)> {
    let starts = text.char_indices().filter(|(at, c)| {
        let before = text[..*at].chars().next_back();
        !c.is_whitespace() && before.is_some_and(|before| " [\n".contains(before))
    });
    let end = |start: usize| {
        let rest = &text[start..];
        match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map(|end| start + end + 2),
            _ => rest.find([',', ' ', '}', ']', '\n']).map(|end| start + end),
        }
    };
    starts
        .filter_map(|(start, _)| Some((start, end(start)?)))
        .collect()
}

/// How many values differ; broken ones must stand in place of scalars.
fn differences(a: &Value, b: &Value) -> usize {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).map(|(a, b)| differences(a, b)).sum()
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .values()
            .zip(b.values())
            .map(|(a, b)| differences(a, b))
            .sum(),
        (a, b) if a == b => 0,
        (a, b) if a.is_array() || a.is_object() || !b.is_array() => 2,
        _ => 1,
    }
}

fn report(name: &str, text: &str) -> Report {
    match load_bundle(&Bundle::of(name, text), &Variables::default()) {
        Ok(loaded) => loaded.report(),
        Err(report) => report,
    }
}

/// What is wrong with the report of a file in which one value was broken.
fn complain(broken: &Report, known: &BTreeSet<String>) -> Option<String> {
    let (errors, warnings): (Vec<_>, Vec<_>) = broken
        .problems
        .iter()
        .partition(|problem| problem.severity == Severity::Error);
    let new =
        |one: &&tidegate_config::Problem| !known.contains(&format!("{} {}", one.code, one.path));
    let follows = errors.len() != 1 || warnings.into_iter().any(|one| new(&one));
    follows.then(|| format!("{broken}"))
}

#[test]
fn a_broken_value_is_one_problem() {
    let mut tried = 0;
    let mut failures = Vec::new();
    for case in cases("ok").into_iter().filter(|case| case.is_file()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&case).unwrap();
        let good = report(name, &text);
        let known = good
            .problems
            .iter()
            .map(|one| format!("{} {}", one.code, one.path));
        let known: BTreeSet<String> = known.collect();
        let Some(whole) = tree(&text) else { continue };
        for (start, end) in words(&text) {
            let broken = format!("{}{BROKEN}{}", &text[..start], &text[end..]);
            if tree(&broken).is_none_or(|tree| differences(&whole, &tree) != 1) {
                continue;
            }
            tried += 1;
            failures.extend(complain(&report(name, &broken), &known));
        }
    }
    assert!(tried > 1500, "{tried} values");
    assert!(
        failures.is_empty(),
        "{} of {tried}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
