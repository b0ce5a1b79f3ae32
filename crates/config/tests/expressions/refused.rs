//! What is no expression, and how that is said.

use tidegate_config::Severity;

use super::{load, messages};

/// The first problem of a `when` as YAML writes it: its code, and the bytes that it points at.
fn check(when: &str, code: &str, at: &str) {
    let report = match load(when) {
        Ok(loaded) => loaded.report(),
        Err(report) => report,
    };
    let problem = report
        .problems
        .first()
        .unwrap_or_else(|| panic!("{when} is fine"));
    assert_eq!(problem.code, code, "{when}: {:?}", messages(&report));
    let span = problem.span.unwrap();
    assert_eq!(&report.text[span.start..span.end()], at, "{when}");
}

#[test]
fn problems_point_into_the_expression() {
    check("request.methd == 'GET'", "unknown_variable", "methd");
    check("method == 'GET'", "unknown_variable", "method");
    check(
        "'request.client.adress == \"a\"'",
        "unknown_variable",
        "adress",
    );
    check(
        "request.path.startWith('/a')",
        "unknown_function",
        "startWith",
    );
    check(
        "\"request.path == \\\"/a\\\" && lower(request.host) == 'a'\"",
        "unknown_function",
        "lower",
    );
    check(
        "request.method == 1",
        "expression_type",
        "request.method == 1",
    );
    check("request.path", "expression_type", "request.path");
    check(
        "size(request.path)",
        "expression_type",
        "size(request.path)",
    );
    check("request.method = 'GET'", "invalid_expression", "=");
    check("(request.method == 'GET'", "invalid_expression", "");
    check("request.method == 'GET", "invalid_expression", "'GET");
    check("request.path.matches('a(')", "invalid_pattern", "'a('");
    check(
        "request.path.matches(request.host)",
        "expression_type",
        "request.host",
    );
    check(
        "ip_in(request.client.ip, '10.0.0.0/33')",
        "invalid_network",
        "'10.0.0.0/33'",
    );
    check(
        "request.time.getHours('Europe/Berln') > 1",
        "unknown_zone",
        "'Europe/Berln'",
    );
    check(
        "request.time > timestamp('tomorrow')",
        "invalid_timestamp",
        "'tomorrow'",
    );
    check("request.method in ['GET', 1]", "expression_type", "1");
    check("request.method in []", "expression_type", "[]");
    check(
        "request.path in request.path",
        "expression_type",
        "request.path",
    );
    check(
        "request.headers[request.path] == ''",
        "expression_type",
        "request.path",
    );
    check(
        "request.headers == request.query",
        "expression_type",
        "request.headers",
    );
    check("'1u == 1u'", "unsupported_expression", "1u");
    check(
        "request.query.map(x, x) == 1",
        "unsupported_expression",
        "map",
    );
    check(
        "has(request.headers['a'])",
        "expression_type",
        "request.headers['a']",
    );
    check("has(request.headrs.a)", "unknown_variable", "headrs");
    check(
        "request.path.exists(x, true)",
        "expression_type",
        "request.path",
    );
    check(
        "startsWith(request.path, '/')",
        "expression_type",
        "startsWith",
    );
    check(
        "|\n        request.path == '/a'\n        && request.hots == 'b'",
        "unknown_variable",
        "hots",
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let report = load("request.a == request.b || request.method.c('') || 1 == ''").unwrap_err();
    let codes: Vec<_> = report.problems.iter().map(|one| one.code).collect();
    let expected = [
        "unknown_variable",
        "unknown_variable",
        "unknown_function",
        "expression_type",
    ];
    assert_eq!(codes, expected, "{:?}", messages(&report));
}

#[test]
fn what_can_hardly_be_meant_is_warned_of() {
    let warned = |when: &str, code: &str, at: &str| {
        assert!(
            load(when)
                .unwrap()
                .warnings
                .iter()
                .all(|one| one.severity == Severity::Warning)
        );
        check(when, code, at);
    };
    warned("'true'", "constant_expression", "true");
    warned("1 + 1 == 2", "constant_expression", "1 + 1 == 2");
    warned("1 / 0 == 2", "constant_expression", "1 / 0 == 2");
    warned(
        "request.headers['X-Tier'] == 'a'",
        "header_never_there",
        "'X-Tier'",
    );
    warned(
        "'\"X-Tier\" in request.headers'",
        "header_never_there",
        "\"X-Tier\"",
    );
    warned(
        "request.host == 'Shop.example'",
        "impossible_comparison",
        "request.host == 'Shop.example'",
    );
    warned(
        "request.method == 'get'",
        "impossible_comparison",
        "request.method == 'get'",
    );
    warned(
        "request.scheme == 'h2'",
        "impossible_comparison",
        "request.scheme == 'h2'",
    );
}

#[test]
fn expressions_are_bounded() {
    let too_complex = |text: &str| {
        let short: String = text.chars().take(60).collect();
        let report = load(&serde_json::to_string(text).unwrap()).expect_err(&short);
        assert_eq!(
            report.problems[0].code,
            "expression_too_complex",
            "{:?}",
            messages(&report)
        );
    };
    let many = |count: usize, part: &str, between: &str| vec![part; count].join(between);
    too_complex(&format!("request.path == '{}'", "a".repeat(4096)));
    too_complex(&many(100, "request.path == 'a'", " || "));
    too_complex(&format!(
        "{}request.path == ''{}",
        "(".repeat(40),
        ")".repeat(40)
    ));
    too_complex("request.query.exists(a, request.query.exists(b, a + b == 'x' || a == b))");
    too_complex(&format!("'' {} == ''", "+ ''".repeat(200)));
    // Patterns in loops, texts that loops make longer, and loops that hide in macros and conditions.
    too_complex(
        "request.query.exists(a, request.headers.exists(b, b.matches('(a|b)*c') || (a + b).matches('x{1,500}')))",
    );
    too_complex(
        "request.query.exists(a, (a + request.path + request.path + a + a).matches('^(a+)+$') && request.headers.all(b, (b + a).matches('z')))",
    );
    too_complex(&format!(
        "{}request.path == ''{}",
        "true ? (".repeat(40),
        ") : false".repeat(40)
    ));
    too_complex(&format!("size(request.path) in [{}]", many(1001, "1", ",")));
    let list = many(80, "1", ",");
    too_complex(&format!("[{list}].all(x, [{list}].all(y, x == y))"));
    for brackets in ["(", "[", "{", "a(", "a[", "!(", "-(", "a?", "a.b("] {
        assert!(load(&serde_json::to_string(&brackets.repeat(1300)).unwrap()).is_err());
    }
}

#[test]
fn an_expression_is_kept_as_it_was_written() {
    let loaded = load("\"request.path  == '/a'\"").unwrap();
    assert!(
        loaded.resolved.contains("request.path  == '/a'"),
        "{}",
        loaded.resolved
    );
    let other = load("\"request.path  == '/b'\"").unwrap();
    assert_ne!(loaded.plan.content_hash, other.plan.content_hash);
}
