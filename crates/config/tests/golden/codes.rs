//! The codes of problems: those that the sources declare and those that a report shows.

use std::collections::BTreeSet;
use std::path::Path;

/// What stands before the literal of a code in the sources.
const BEFORE: [&str; 8] = [
    "Problem::error(",
    "Problem::warning(",
    "bad_file(",
    "self.refuse(",
    "code: ",
    "names::unknown(cx, ",
    "=> \"invalid_",
    "=> (",
];

/// Codes that need the disk or a huge file, which other tests make.
const ELSEWHERE: [&str; 9] = [
    "database_kept",
    "not_formatted",
    "not_utf8",
    "too_many_files",
    "too_many_includes",
    "too_many_listeners",
    "too_many_networks",
    "too_many_upstreams",
    "unreadable_file",
];

/// Every code in the sources.
pub(crate) fn declared() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut codes,
    );
    assert!(
        codes.len() > 40,
        "the sources are not read right: {codes:?}"
    );
    codes.retain(|code| !ELSEWHERE.contains(&code.as_str()));
    codes
}

fn collect(dir: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        codes.extend(BEFORE.iter().flat_map(|before| after(code, before)));
    }
}

/// The string literals that follow `before`, as far as they look like codes.
fn after(text: &str, before: &str) -> Vec<String> {
    let literal = |rest: &str| {
        let rest = rest.trim_start();
        let code = if before.ends_with('_') {
            format!("\"invalid_{rest}")
        } else {
            rest.to_owned()
        };
        let code = code.strip_prefix('"')?.split('"').next()?.to_owned();
        let looks_like_one = code.contains('_')
            && code
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c == b'_' || c.is_ascii_digit());
        looks_like_one.then_some(code)
    };
    text.split(before).skip(1).filter_map(literal).collect()
}

/// Every code in a rendered report.
pub(crate) fn shown(report: &str) -> Vec<String> {
    let heads = report.lines().filter_map(|line| {
        let rest = line
            .strip_prefix("error[")
            .or_else(|| line.strip_prefix("warning["))?;
        Some(rest.split(']').next()?.to_owned())
    });
    heads.collect()
}
