//! The same expressions by the interpreter of the `cel` crate: wherever both give a value, it is the
//! same one.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use cel::objects::Map;
use cel::{Context, ExecutionError, Program, Value};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use tidegate_core::Snapshot;
use tidegate_core::expression::Fault;

use super::generate;

/// The request as a value of CEL, made without a line of what is tested.
fn request_of(request: &Snapshot) -> Value {
    let text = |text: &str| Value::String(Arc::new(text.to_owned()));
    let mut client = HashMap::new();
    client.insert("ip".to_owned(), text(&request.client.unwrap().to_string()));
    if let Some(subject) = &request.client_subject {
        client.insert("subject".to_owned(), text(subject));
    }
    let mut all: HashMap<String, Value> = HashMap::new();
    let mut put = |name: &str, value| all.insert(name.to_owned(), value);
    put("method", text(request.method.as_str()));
    put("host", text(&request.host.to_lowercase()));
    put("path", text(request.target.split('?').next().unwrap()));
    put("scheme", text(request.scheme));
    put("client", Value::Map(Map::from(client)));
    if let Some(name) = &request.server_name {
        put("server_name", text(name));
    }
    let seconds = request.at.duration_since(std::time::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(seconds.as_secs()).unwrap();
    let moment = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    put("time", Value::Timestamp(moment.fixed_offset()));
    put("query", Value::Map(Map::from(query(request))));
    put("headers", Value::Map(Map::from(headers(request))));
    put("cookies", Value::Map(Map::from(cookies(request))));
    Value::Map(Map::from(all))
}

fn headers(request: &Snapshot) -> HashMap<String, Value> {
    let mut map = HashMap::new();
    for (name, value) in &request.fields {
        let value = String::from_utf8(value.to_vec()).unwrap();
        map.entry(name.to_string())
            .or_insert(Value::String(Arc::new(value)));
    }
    map
}

fn query(request: &Snapshot) -> HashMap<String, Value> {
    pairs(request.target.split('?').nth(1).unwrap_or(""), '&')
}

fn cookies(request: &Snapshot) -> HashMap<String, Value> {
    let field = headers(request).remove("cookie");
    match field {
        Some(Value::String(line)) => pairs(&line, ';'),
        _ => HashMap::new(),
    }
}

fn pairs(text: &str, between: char) -> HashMap<String, Value> {
    let mut map = HashMap::new();
    for pair in text
        .split(between)
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let mut parts = pair.splitn(2, '=');
        let name = parts.next().unwrap().to_owned();
        let value = parts.next().unwrap_or("").to_owned();
        map.entry(name).or_insert(Value::String(Arc::new(value)));
    }
    map
}

/// Of `10.0.0.0/8` only, the one network that is generated.
fn ip_in(address: Arc<String>, _network: Arc<String>) -> Result<bool, ExecutionError> {
    match address.parse() {
        Ok(IpAddr::V4(address)) => Ok(address.octets()[0] == 10),
        Ok(IpAddr::V6(_)) => Ok(false),
        Err(_) => Err(ExecutionError::function_error("ip_in", "no address")),
    }
}

fn by_cel(text: &str, request: &Snapshot) -> Option<bool> {
    let program = Program::compile(text).unwrap();
    let mut context = Context::default();
    context.add_function("ip_in", ip_in).unwrap();
    context.add_variable_from_value("request", request_of(request));
    match program.execute(&context) {
        Ok(Value::Bool(truth)) => Some(truth),
        Ok(other) => panic!("{text} is {other:?}"),
        Err(_) => None,
    }
}

/// How often each of the two, or both, gave a value.
#[derive(Default)]
struct Tally {
    both: Cell<u32>,
    ours: Cell<u32>,
}

fn compare(text: &str, request: &Snapshot, tally: &Tally) -> Result<(), TestCaseError> {
    let Ok(loaded) = super::load(&serde_json::to_string(text).unwrap()) else {
        // Only size is a reason: everything that is generated has its types right.
        return Err(TestCaseError::reject("too complex"));
    };
    let when = loaded.plan.routes[0].matches.when.clone().unwrap();
    match (when.decide(request), by_cel(text, request)) {
        (Ok(ours), Some(its)) => {
            tally.both.set(tally.both.get() + 1);
            prop_assert_eq!(ours, its, "{}", text);
        }
        (Ok(_), None) => tally.ours.set(tally.ours.get() + 1),
        (Err(Fault::Budget | Fault::TooLong), Some(_)) | (Err(_), None) => {}
        (Err(fault), Some(its)) => prop_assert!(false, "{}: {}, but {}", text, its, fault),
    }
    Ok(())
}

#[test]
fn wherever_both_give_a_value_it_is_the_same() {
    let cases = std::env::var("PROPTEST_CASES");
    let cases = cases.ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(2_000);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let tally = Tally::default();
    let pairs = (generate::expression(), generate::request());
    let outcome = runner.run(&pairs, |(text, request)| compare(&text, &request, &tally));
    outcome.unwrap();
    let (both, ours) = (tally.both.get(), tally.ours.get());
    assert!(both > cases / 2, "both gave a value only {both} times");
    // The interpreter has no order of what is no number; by CEL's specification nothing is less.
    assert!(ours < cases / 100, "{ours} times only we gave one");
}
