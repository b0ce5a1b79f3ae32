//! `tidegate check --connect`: what the endpoints of a configuration answer from here, as a table or as
//! JSON. It binds nothing and changes nothing; what is asked is what the probes of a running proxy ask.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::Plan;
use tidegate_health::Surveyed;
use tokio::runtime::Builder;

use crate::exit::Failure;
use crate::terminal::{self, Paint, Table};

/// Longest that one endpoint is waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// What every endpoint answered, in the order of the file.
pub(super) struct Survey(Vec<Surveyed>);

/// Asks every endpoint of `plan` once.
pub(super) fn survey(plan: &Plan) -> Result<Survey, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::could_not_ask)?;
    let found = runtime.block_on(tidegate_health::survey(plan, LIMIT));
    // A name server that says nothing is not waited for.
    runtime.shutdown_background();
    Ok(Survey(found))
}

impl Survey {
    /// Whether requests get to every endpoint, and every probe is content.
    pub(super) fn is_reached(&self) -> bool {
        self.0.iter().all(Surveyed::is_reached)
    }

    pub(super) fn table(&self) -> String {
        let head = [
            "UPSTREAM", "REGION", "ENDPOINT", "RESOLVED", "CONNECT", "TLS", "PROBE",
        ];
        let mut table = Table::new(head);
        self.0.iter().for_each(|found| table.row(row(found)));
        table.render(terminal::colour(&io::stdout()))
    }

    pub(super) fn to_json(&self) -> Value {
        self.0.iter().map(object).collect()
    }
}

fn row(found: &Surveyed) -> [(String, Paint); 7] {
    let plain = |text: &str| (text.to_owned(), Paint::Plain);
    let resolved = match &found.addresses[..] {
        [] => ("-".to_owned(), Paint::Bad),
        [first] => plain(&first.ip().to_string()),
        [first, more @ ..] => plain(&format!("{} +{}", first.ip(), more.len())),
    };
    let connect = found.connect.as_ref().map(|took| millis(*took));
    let tls = found
        .tls
        .as_ref()
        .map(|tls| tls.as_ref().map(|()| "ok".to_owned()));
    let answered = |took: &Option<Duration>| took.map_or("ok".to_owned(), millis);
    let probe = found
        .probe
        .as_ref()
        .map(|probe| probe.as_ref().map(answered));
    [
        plain(&found.upstream),
        plain(&found.region),
        plain(&found.endpoint),
        resolved,
        cell(Some(connect)),
        cell(tls),
        cell(probe),
    ]
}

fn cell(outcome: Option<Result<String, &String>>) -> (String, Paint) {
    match outcome {
        None => ("-".to_owned(), Paint::Plain),
        Some(Ok(text)) => (text, Paint::Good),
        Some(Err(reason)) => (reason.clone(), Paint::Bad),
    }
}

fn millis(took: Duration) -> String {
    format!("{:.1}ms", took.as_secs_f64() * 1e3)
}

fn object(found: &Surveyed) -> Value {
    let ms = |took: &Duration| took.as_secs_f64() * 1e3;
    let probe = found.probe.as_ref();
    json!({
        "upstream": &*found.upstream,
        "region": &*found.region,
        "endpoint": &*found.endpoint,
        "reached": found.is_reached(),
        "addresses": found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "connect_ms": found.connect.as_ref().ok().map(ms),
        "connect_error": found.connect.as_ref().err(),
        "tls": found.tls.as_ref().map(Result::is_ok),
        "tls_error": found.tls.as_ref().and_then(|tls| tls.as_ref().err()),
        "probe": probe.map(Result::is_ok),
        "probe_ms": probe.and_then(|probe| probe.as_ref().ok()?.as_ref().map(ms)),
        "probe_error": probe.and_then(|probe| probe.as_ref().err()),
    })
}
