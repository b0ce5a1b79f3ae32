//! What expressions say of one request, and of one of which nothing is known.

use http::{HeaderName, Method};
use tidegate_core::Snapshot;
use tidegate_core::expression::{Fault, MAX_STEPS};

use super::{expression, request};

fn check(text: &str, expected: Result<bool, Fault>) {
    assert_eq!(expression(text).decide(&request()), expected, "{text}");
}

fn holds(text: &str) {
    check(text, Ok(true));
}

fn fails(text: &str, fault: Fault) {
    check(text, Err(fault));
    assert!(!expression(text).holds(&request()), "{text}");
}

#[test]
fn facts_are_those_of_the_request() {
    holds("request.method == 'POST'");
    holds("request.host == 'shop.example.com'");
    holds("request.path == '/api/v2/orders'");
    holds("request.scheme == 'https'");
    holds("request.client.ip == '10.1.2.3'");
    holds("request.client.subject.contains('O=Example')");
    holds("request.server_name.endsWith('.example.com')");
    holds("request.time > timestamp('2026-07-04T22:30:15Z')");
    holds("request.time < timestamp('2026-07-05T00:30:16+02:00')");
}

#[test]
fn maps_give_the_first_of_a_name() {
    holds("request.headers['x-tier'] == 'gold'");
    holds("request.headers.cookie.startsWith('theme')");
    holds("request.cookies['session'] == 'abc' && request.cookies.beta == '1'");
    holds("request.query['page'] == '3' && request.query.flag == ''");
    holds("request.query.q == '%C3%A4'");
    holds("'x-tier' in request.headers && !('x-none' in request.headers)");
    holds("'flag' in request.query && !('fla' in request.query)");
    holds("has(request.cookies.theme) && !has(request.cookies.them)");
    fails("request.headers['x-none'] == ''", Fault::Missing);
    fails("request.query.none == ''", Fault::Missing);
    holds("request.headers.exists(name, name.startsWith('x-c'))");
    holds("request.query.all(name, name in ['page', 'q', 'flag'])");
    check("request.cookies.exists(name, name == 'gamma')", Ok(false));
    holds("request.cookies.exists(name, name == 'beta')");
}

#[test]
fn what_is_not_known_is_missing_and_can_be_asked_for() {
    let nothing = Snapshot::new(Method::GET, "a", "/");
    let check = |text: &str, expected| {
        assert_eq!(expression(text).decide(&nothing), expected, "{text}");
    };
    check("has(request.server_name)", Ok(false));
    check("has(request.client.subject)", Ok(false));
    check("has(request.client.ip)", Ok(false));
    check("request.client.ip == ''", Err(Fault::Missing));
    check("request.server_name == ''", Err(Fault::Missing));
    check("request.client.subject == ''", Err(Fault::Missing));
    check("ip_in(request.client.ip, '0.0.0.0/0')", Err(Fault::Missing));
    check("request.query.exists(x, true)", Ok(false));
    check("request.headers.all(x, false)", Ok(true));
}

#[test]
fn an_error_is_absorbed_where_it_makes_no_difference() {
    let missing = "request.headers['x-none'] == 'a'";
    holds(&format!("{missing} || request.method == 'POST'"));
    holds(&format!("request.method == 'POST' || {missing}"));
    check(&format!("{missing} && request.method == 'GET'"), Ok(false));
    check(&format!("request.method == 'GET' && {missing}"), Ok(false));
    fails(
        &format!("{missing} && request.method == 'POST'"),
        Fault::Missing,
    );
    fails(
        &format!("{missing} || request.method == 'GET'"),
        Fault::Missing,
    );
    fails(&format!("!({missing})"), Fault::Missing);
    holds("[0, 1].exists(x, 4 / x == 4)");
    check("[0, 1].all(x, 4 / x == 3)", Ok(false));
    fails("[0, 1].exists(x, 4 / x == 3)", Fault::DivisionByZero);
    fails("[0, 1].all(x, 4 / x == 4)", Fault::DivisionByZero);
}

#[test]
fn numbers_are_those_of_cel() {
    holds("int(request.headers['x-count']) + 1 == 43");
    holds("int(request.headers['x-count']) % 5 == 2 && -7 / 2 == -3 && -7 % 2 == -1");
    holds("double(request.query.page) / 2.0 == 1.5 && int(2.9) == 2 && int(-2.9) == -2");
    holds("string(int(request.query.page) * 2) == '6' && string(true) == 'true'");
    holds("1.0 / 0.0 > 9.0 && !(0.0 / 0.0 == 0.0 / 0.0)");
    let max = "int('9223372036854775807')";
    fails(&format!("{max} + 1 > 0"), Fault::Overflow);
    fails(&format!("{max} * 2 > 0"), Fault::Overflow);
    fails(&format!("-{max} - 2 < 0"), Fault::Overflow);
    fails("-int('-9223372036854775808') > 0", Fault::Overflow);
    fails("int('-9223372036854775808') / -1 > 0", Fault::Overflow);
    fails("int(1e19) > 0", Fault::Overflow);
    fails("int(0.0 / 0.0) > 0", Fault::Overflow);
    fails("1 / int('0') > 0", Fault::DivisionByZero);
    fails("1 % int('0') > 0", Fault::DivisionByZero);
    fails("int(request.method) > 0", Fault::NotNumber);
    fails("double(request.method) > 0.0", Fault::NotNumber);
}

#[test]
fn texts_are_those_of_cel() {
    holds("size('ä€😀') == 3 && request.path.size() == 14");
    holds("'a' + request.method + 'b' == 'aPOSTb'");
    holds("request.method < 'PUT' && 'Z' < 'a' && 'z' < 'ä'");
    holds(r"request.path.matches('^/api/v[0-9]+/') && matches(request.path, 'v\\d')");
    holds(r"'Ä'.matches('(?i)^ä$') && !request.path.matches(r'^v\d')");
    holds("request.method in ['GET', 'POST'] && !(request.method in ['PUT'])");
    holds("(request.method == 'POST' ? 'a' : 'b') == 'a'");
    holds(
        "ip_in(request.client.ip, '10.0.0.0/8') && !ip_in(request.client.ip, ['11.0.0.0/8', '::/0'])",
    );
    holds("ip_in('2001:db8::1', '2001:db8::/32')");
    fails("ip_in(request.method, '10.0.0.0/8')", Fault::NotAddress);
}

#[test]
fn moments_are_told_by_a_clock_somewhere() {
    holds("request.time.getHours() == 22 && request.time.getHours('Europe/Berlin') == 0");
    holds("request.time.getDayOfWeek() == 6 && request.time.getDayOfWeek('Europe/Berlin') == 0");
    holds("request.time.getDate() == 4 && request.time.getDayOfMonth() == 3");
    holds("request.time.getMonth() == 6 && request.time.getFullYear() == 2026");
    holds("request.time.getDayOfYear() == 184 && request.time.getMinutes('+05:30') == 0");
    holds("request.time.getSeconds() == 15 && request.time.getMilliseconds() == 250");
    holds("int(request.time) == 1783204215");
}

#[test]
fn what_is_no_text_is_an_error_but_it_is_there() {
    let mut request = request();
    request.fields = Box::new([(HeaderName::from_static("x-raw"), Box::from(&b"\xff"[..]))]);
    let check = |text: &str, expected| {
        assert_eq!(expression(text).decide(&request), expected, "{text}");
    };
    check("request.headers['x-raw'] != ''", Err(Fault::NotText));
    check("'x-raw' in request.headers", Ok(true));
}

#[test]
fn no_request_makes_an_expression_slow() {
    let long = "a".repeat(60_000);
    let mut request = request();
    let field = |name, value: &str| (HeaderName::from_static(name), value.as_bytes().into());
    request.fields = Box::new([field("x-long", &long)]);
    let contains = "request.headers['x-long'].contains('b')";
    assert_eq!(expression(contains).decide(&request), Ok(false));
    let often = vec![contains; 40].join(" || ");
    assert_eq!(expression(&often).decide(&request), Err(Fault::Budget));
    assert_eq!(
        expression(&format!("{often} || true")).decide(&request),
        Err(Fault::Budget),
        "no part that comes after the last step counts"
    );
    let each =
        format!("[1, 2, 3, 4, 5, 6, 7, 8, 9].exists(x, {contains} || {contains} || {contains})");
    assert_eq!(expression(&each).decide(&request), Err(Fault::Budget));
    assert!(long.len() as u32 / 64 * 40 > MAX_STEPS);
    let doubled = "request.headers['x-long'] + 'b' == ''";
    assert_eq!(expression(doubled).decide(&request), Err(Fault::TooLong));
    let many: String = (0..400).map(|at| format!("&name-{at}=1")).collect();
    request.target = format!("/?{many}").into();
    let names = "request.query.exists(name, name + name == '')";
    assert_eq!(
        expression(names).decide(&request),
        Ok(false),
        "each turn has room of its own"
    );
}
