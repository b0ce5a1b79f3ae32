//! The nineteen kinds of mistakes that other proxies were measured with. Each is told: with the right
//! line, the word that is wrong, and what to do. The table in docs/diagnostics.md is made from them;
//! `UPDATE_DOCS=1` writes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair};
use tidegate_config::{Memory, Problem, RenderStyle, Report, Severity, compile};

/// A mistake, and how it has to be answered.
struct Mistake {
    file: &'static str,
    kind: &'static str,
    severity: Severity,
    code: &'static str,
    line: usize,
    /// What stands at the place that is pointed to.
    pointed: &'static str,
    /// A part of the message that names what is wrong.
    names: &'static str,
    /// A part of the hint.
    hint: &'static str,
}

const fn error(
    file: &'static str,
    kind: &'static str,
    code: &'static str,
    (line, pointed): (usize, &'static str),
    names: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake {
        file,
        kind,
        severity: Severity::Error,
        code,
        line,
        pointed,
        names,
        hint,
    }
}

#[rustfmt::skip]
const MISTAKES: [Mistake; 19] = [
    error("01-misspelled-key", "misspelled key", "unknown_key", (15, "per_tyr"), "per_tyr", "did you mean `per_try`?"),
    error("02-misspelled-word", "misspelled word", "unknown_value", (14, "latancy"), "latancy", "did you mean `latency`?"),
    error("03-misspelled-upstream", "upstream that is not there", "unknown_upstream", (18, "shpo"), "shpo", "did you mean `shop`?"),
    error("04-misspelled-region", "region that is not there", "unknown_region", (13, "us-eats"), "us-eats", "did you mean `us-east`?"),
    error("05-number-without-unit", "number without its unit", "invalid_unit", (15, "2"), "needs a unit", "did you mean `2s` or `2ms`?"),
    error("06-word-for-a-number", "word for a number", "wrong_type", (15, "three"), "three", "write 1 to 19 digits"),
    error("07-number-out-of-range", "number out of range", "invalid_endpoint", (12, "\"10.1.0.10:80800\""), "80800", "from 1 to 65535"),
    error("08-value-of-another-kind", "value of another kind", "wrong_type", (12, "\"10.1.0.10:8080\""), "expected a list", "write it as `["),
    error("09-unclosed-quote", "unclosed quote", "invalid_yaml", (13, "\""), "unclosed quote", "close the quote"),
    error("10-key-twice", "key written twice", "duplicate_key", (20, "timeout"), "timeout", "remove one of the two"),
    error("11-certificate-missing", "missing certificate", "missing_file", (5, "certs/edge.pme"), "certs/edge.pme", "relative to the directory"),
    error("12-key-of-another-certificate", "key of another certificate", "key_mismatch", (5, "certs/other.key"), "not the key", "begin with the key's own certificate"),
    error("13-address-bound-twice", "one address bound twice", "address_in_use", (3, "127.0.0.1:8080"), "127.0.0.1:8080", "its own port"),
    error("14-route-never-reached", "route that never matches", "shadowed_route", (21, "{"), "never takes a request", "more specific"),
    error("15-attempt-longer-than-request", "attempt longer than the request", "impossible_timeout", (19, "1s"), "per_try", "raise `timeout` or lower `per_try`"),
    error("16-weights-without-sum", "weights that are all 0", "all_weights_zero", (12, "0"), "weight 0", "give one a weight"),
    Mistake {
        severity: Severity::Warning,
        ..error("17-retries-stay-in-the-region", "retries that cannot leave", "nowhere_to_retry", (13, "50%"), "no retry can leave", "add a region")
    },
    error("18-residency-nobody-satisfies", "residency that nobody satisfies", "residency_leaves_no_region", (18, "["), "`eu`", "allow a jurisdiction"),
    error("19-half-written", "half a file", "invalid_yaml", (13, "\""), "unclosed quote", "close the quote"),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/mistakes")
}

/// `certs/edge.pem` with its key, and another key.
fn files() -> Memory {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["shop.example.com".to_owned()]).unwrap();
    Memory::new()
        .with("certs/edge.pem", params.self_signed(&key).unwrap().pem())
        .with("certs/edge.key", key.serialize_pem())
        .with(
            "certs/other.key",
            KeyPair::generate().unwrap().serialize_pem(),
        )
}

/// What is told about a file, and its text.
fn told(file: &str) -> (Report, String) {
    let name = format!("{file}.yaml");
    let text = std::fs::read_to_string(directory().join(&name)).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_782_000_000);
    let report = match compile(&name, &text, &files(), now) {
        Ok(loaded) => loaded.report(),
        Err(report) => report,
    };
    (report, text)
}

/// The one problem that a file has.
fn the_problem(report: &Report) -> &Problem {
    match &report.problems[..] {
        [one] => one,
        _ => panic!("not one problem: {report}"),
    }
}

#[test]
fn every_mistake_is_told_at_its_place_with_a_hint() {
    for mistake in &MISTAKES {
        let (report, text) = told(mistake.file);
        let problem = the_problem(&report);
        let shown = report.render(RenderStyle::PLAIN);
        assert_eq!(problem.code, mistake.code, "{shown}");
        assert_eq!(problem.severity, mistake.severity, "{shown}");
        assert!(problem.message.contains(mistake.names), "{shown}");
        let help = problem.help.as_deref().unwrap_or_default();
        assert!(help.contains(mistake.hint), "{shown}");
        let span = problem.span.unwrap();
        assert_eq!(span.position(&text).line, mistake.line, "{shown}");
        assert!(text[span.start..].starts_with(mistake.pointed), "{shown}");
        let line = text.lines().nth(mistake.line - 1).unwrap();
        assert!(shown.contains(line), "no excerpt: {shown}");
    }
}

#[test]
fn every_file_is_one_of_the_mistakes() {
    let entries = std::fs::read_dir(directory()).unwrap();
    let mut found: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let expected: Vec<String> = MISTAKES
        .map(|mistake| format!("{}.yaml", mistake.file))
        .into();
    assert_eq!(found, expected);
}

/// The rows of the table.
fn table() -> String {
    let mut out = String::from(
        "| mistake | verdict | says | place, in excerpt | hint |\n|---|---|---|---|---|\n",
    );
    for mistake in &MISTAKES {
        let (report, text) = told(mistake.file);
        let problem = the_problem(&report);
        let place = problem.span.unwrap().position(&text);
        let verdict = match problem.severity {
            Severity::Error => "refused",
            Severity::Warning => "warning",
        };
        let (kind, code) = (mistake.kind, problem.code);
        let (message, help) = (&problem.message, problem.help.as_deref().unwrap());
        let (line, column) = (place.line, place.column);
        writeln!(
            out,
            "| {kind} | {verdict}: `{code}` | {message} | {line}:{column} | {help} |"
        )
        .unwrap();
    }
    out
}

#[test]
fn the_table_in_the_documents_is_the_one_of_the_mistakes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find("| mistake |").unwrap();
    let end = page[start..]
        .find("\n\n")
        .map_or(page.len(), |end| start + end + 1);
    let expected = format!("{}{}{}", &page[..start], table(), &page[end..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap();
    assert!(
        actual == expected,
        "docs/diagnostics.md is old; UPDATE_DOCS=1 writes it"
    );
}
