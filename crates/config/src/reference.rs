//! The reference of the configuration as Markdown, printed from the schema: every key, its type,
//! its default and its meaning. The order is that of the raw types.

use std::fmt::Write;

use serde_json::Value;

use crate::raw;
use crate::schema::{keys, of_values as schema};

/// The keys of a raw type in the order of its declaration.
type Keys = fn() -> &'static [&'static str];

/// Every mapping of the file: where it stands, its name in the schema, its keys.
const SECTIONS: &[(&str, &str, Keys)] = &[
    ("", "Config", keys::<raw::Config>),
    ("pop", "Pop", keys::<raw::Pop>),
    ("listeners[]", "Listener", keys::<raw::Listener>),
    ("listeners[].tls", "ListenerTls", keys::<raw::ListenerTls>),
    (
        "listeners[].tls.certificates[]",
        "Certificate",
        keys::<raw::Certificate>,
    ),
    ("listeners[].limits", "Limits", keys::<raw::Limits>),
    ("admin", "Admin", keys::<raw::Admin>),
    ("access_log", "LogFile", keys::<raw::LogFile>),
    ("state", "State", keys::<raw::State>),
    ("rollback", "Rollback", keys::<raw::Rollback>),
    ("replay", "Replay", keys::<raw::Replay>),
    ("metrics", "Metrics", keys::<raw::Metrics>),
    ("explain", "Explain", keys::<raw::Explain>),
    ("geo", "Geo", keys::<raw::Geo>),
    ("geo.networks.NAME", "Place", keys::<raw::Place>),
    ("regions.NAME", "Region", keys::<raw::Region>),
    ("upstreams.NAME", "Upstream", keys::<raw::Upstream>),
    (
        "upstreams.NAME.regions.NAME",
        "UpstreamRegion",
        keys::<raw::UpstreamRegion>,
    ),
    (
        "upstreams.NAME.regions.NAME.endpoints[]",
        "WeightedEndpoint",
        keys::<raw::WeightedEndpoint>,
    ),
    (
        "upstreams.NAME.regions.NAME.standby",
        "Standby",
        keys::<raw::Standby>,
    ),
    (
        "upstreams.NAME.regions.NAME.standby.cold",
        "ColdStart",
        keys::<raw::ColdStart>,
    ),
    ("upstreams.NAME.steering", "Steering", keys::<raw::Steering>),
    (
        "upstreams.NAME.steering.rules[]",
        "GeoRule",
        keys::<raw::GeoRule>,
    ),
    (
        "upstreams.NAME.steering.prefer[]",
        "Preference",
        keys::<raw::Preference>,
    ),
    ("upstreams.NAME.steering.panic", "Panic", keys::<raw::Panic>),
    (
        "upstreams.NAME.steering.panic.fallback",
        "Fallback",
        keys::<raw::Fallback>,
    ),
    (
        "upstreams.NAME.steering.affinity",
        "Affinity",
        keys::<raw::Affinity>,
    ),
    (
        "upstreams.NAME.steering.affinity.cookie",
        "AffinityCookie",
        keys::<raw::AffinityCookie>,
    ),
    ("upstreams.NAME.balance", "Balance", keys::<raw::Balance>),
    (
        "upstreams.NAME.balance.hash_on[]",
        "HashKey",
        keys::<raw::HashKey>,
    ),
    (
        "upstreams.NAME.balance.probe",
        "BalanceProbe",
        keys::<raw::BalanceProbe>,
    ),
    ("upstreams.NAME.health", "Health", keys::<raw::Health>),
    ("upstreams.NAME.health.probe", "Probe", keys::<raw::Probe>),
    (
        "upstreams.NAME.health.probe.steps[]",
        "ProbeStep",
        keys::<raw::ProbeStep>,
    ),
    (
        "upstreams.NAME.health.probe.steps[].extract.NAME",
        "Extract",
        keys::<raw::Extract>,
    ),
    (
        "upstreams.NAME.health.region",
        "RegionHealth",
        keys::<raw::RegionHealth>,
    ),
    (
        "upstreams.NAME.health.failback",
        "Failback",
        keys::<raw::Failback>,
    ),
    (
        "upstreams.NAME.circuit_breaker",
        "CircuitBreaker",
        keys::<raw::CircuitBreaker>,
    ),
    (
        "upstreams.NAME.circuit_breaker.{endpoint,region}",
        "BreakerLimits",
        keys::<raw::BreakerLimits>,
    ),
    (
        "upstreams.NAME.circuit_breaker.ejection",
        "Ejection",
        keys::<raw::Ejection>,
    ),
    (
        "upstreams.NAME.circuit_breaker.ejection.success_rate",
        "SuccessRate",
        keys::<raw::SuccessRate>,
    ),
    (
        "upstreams.NAME.circuit_breaker.ejection.failure_percentage",
        "FailurePercentage",
        keys::<raw::FailurePercentage>,
    ),
    (
        "upstreams.NAME.slow_start",
        "SlowStart",
        keys::<raw::SlowStart>,
    ),
    ("upstreams.NAME.retry", "Retry", keys::<raw::Retry>),
    (
        "upstreams.NAME.retry.backoff",
        "Backoff",
        keys::<raw::Backoff>,
    ),
    (
        "upstreams.NAME.tls",
        "UpstreamTls",
        keys::<raw::UpstreamTls>,
    ),
    (
        "upstreams.NAME.connection",
        "Connection",
        keys::<raw::Connection>,
    ),
    ("upstreams.NAME.body", "Body", keys::<raw::Body>),
    ("routes[]", "Route", keys::<raw::Route>),
    ("routes[].match", "Match", keys::<raw::Match>),
    (
        "routes[].match.{headers,query,cookies}.NAME",
        "Value",
        keys::<raw::Value>,
    ),
    (
        "routes[].match.client_certificate",
        "ClientCertificate",
        keys::<raw::ClientCertificate>,
    ),
    ("routes[].match.time", "TimeWindow", keys::<raw::TimeWindow>),
    ("routes[].split[]", "SplitTarget", keys::<raw::SplitTarget>),
    ("routes[].mirror", "Mirror", keys::<raw::Mirror>),
    ("routes[].residency", "Residency", keys::<raw::Residency>),
    ("routes[].hedge", "Hedge", keys::<raw::Hedge>),
    ("routes[].redirect", "Redirect", keys::<raw::Redirect>),
    ("routes[].respond", "Respond", keys::<raw::Respond>),
    ("routes[].rewrite", "Rewrite", keys::<raw::Rewrite>),
    ("routes[].rewrite.path", "PathEdit", keys::<raw::PathEdit>),
    ("routes[].headers", "Headers", keys::<raw::Headers>),
    (
        "routes[].headers.{request,response}",
        "HeaderEdits",
        keys::<raw::HeaderEdits>,
    ),
    ("routes[].fault", "Fault", keys::<raw::Fault>),
    ("routes[].fault.delay", "Delay", keys::<raw::Delay>),
    ("routes[].fault.abort", "Abort", keys::<raw::Abort>),
    ("routes[].reveal", "Reveal", keys::<raw::Reveal>),
];

const HEAD: &str = "\
# Configuration reference

A configuration is one YAML file. This page lists every key; it is printed from the types that read
the file, and a test keeps it so. `tidegate schema` prints the same as JSON Schema, for editors;
`tidegate check --resolved FILE` prints a file with every default written out.

* Unknown and duplicate keys, values of the wrong type and values without a unit are errors. All
  problems of a file are reported at once.
* Durations are written with a unit: `10ms`, `2s`, `1.5m`, `1h` (`us`, `ms`, `s`, `m`, `h`), at most
  `720h`.
* Sizes are written with a unit: `512B`, `16KiB`, `10MB` (`B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`).
* Shares are percentages: `20%`.
* Names are letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first.
* Paths of certificates and keys are relative to the directory of the configuration.
* Keys marked *required* must be given where their mapping is given; every other key may be left out.
* Listeners, `admin`, `threads`, `shutdown_timeout` and `access_log` are read at start. Everything
  else, certificates and secrets too, may change while the process runs.
";

/// What a reader in a hurry asks of failover, with the keys that answer it.
const FAILOVER: &str = include_str!("reference/failover.md");

/// The reference as Markdown.
pub fn reference() -> String {
    let schema = schema();
    let mut out = [HEAD, FAILOVER].concat();
    for (path, name, keys) in SECTIONS.iter().copied() {
        let body = if name == "Config" {
            &schema
        } else {
            &schema["$defs"][name]
        };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\n",
            title(path),
            text(&body["description"])
        );
        out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        keys().iter().for_each(|key| row(&mut out, key, body));
    }
    out
}

fn title(path: &str) -> String {
    match path {
        "" => "The file".to_owned(),
        path => format!("`{path}`"),
    }
}

fn row(out: &mut String, key: &str, section: &Value) {
    let property = &section["properties"][key];
    let required = section["required"]
        .as_array()
        .is_some_and(|keys| keys.iter().any(|k| k == key));
    let default = match &property["default"] {
        Value::Null if required => "*required*".to_owned(),
        Value::Null => String::new(),
        value => code(value),
    };
    let (kind, meaning) = (kind(property), text(&property["description"]));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "| `{key}` | {} | {default} | {} |",
        cell(&kind),
        cell(meaning)
    );
}

/// The type of a value in words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return referred(reference.rsplit('/').next().unwrap_or_default());
    }
    if let Some(format) = schema["format"]
        .as_str()
        .and_then(|f| f.strip_prefix("tidegate-"))
    {
        return format.replace('-', " ");
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list: {}", kind(&schema["items"])),
        Some("object") => format!("by name: {}", kind(&schema["additionalProperties"])),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("string") => "text".to_owned(),
        _ => "value".to_owned(),
    }
}

/// A type with a name: a section of its own, or a few words.
fn referred(name: &str) -> String {
    if let Some((path, ..)) = SECTIONS
        .iter()
        .copied()
        .find(|(_, section, _)| *section == name)
    {
        return format!("[mapping](#{})", anchor(path));
    }
    let schema = &schema()["$defs"][name];
    let words = schema["enum"].as_array().into_iter().flatten();
    let consts = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|word| &word["const"]);
    words.chain(consts).map(code).collect::<Vec<_>>().join(", ")
}

/// The anchor that Markdown viewers make of a heading.
fn anchor(path: &str) -> String {
    path.to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .collect()
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|item| item.as_str().map_or(item.to_string(), str::to_owned));
            format!("`[{}]`", items.collect::<Vec<_>>().join(", "))
        }
        other => format!("`{other}`"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text that does not end its cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mapping_of_the_schema_has_a_section_with_all_its_keys() {
        let schema = schema();
        let defs = schema["$defs"].as_object().unwrap();
        let mappings: BTreeSet<&str> = defs
            .iter()
            .filter(|(_, def)| def["properties"].is_object())
            .map(|(n, _)| n.as_str())
            .collect();
        let listed: BTreeSet<&str> = SECTIONS
            .iter()
            .copied()
            .map(|(_, n, _)| n)
            .filter(|n| *n != "Config")
            .collect();
        assert_eq!(listed, mappings);
        for (path, name, keys) in SECTIONS
            .iter()
            .copied()
            .filter(|(_, name, _)| *name != "Config")
        {
            let properties: BTreeSet<&str> = defs[name]["properties"]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(
                keys().iter().copied().collect::<BTreeSet<_>>(),
                properties,
                "{path}"
            );
        }
    }

    #[test]
    fn the_keys_of_failover_lead_to_sections_that_are_there() {
        let anchors: BTreeSet<String> = SECTIONS
            .iter()
            .copied()
            .map(|(path, ..)| anchor(path))
            .collect();
        let links: Vec<&str> = FAILOVER
            .split("](#")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .collect();
        assert!(links.len() > 9, "{links:?}");
        for link in links {
            assert!(anchors.contains(link), "{link}");
        }
        for word in crate::grpc::retryable() {
            assert!(FAILOVER.contains(&format!("`{word}`")), "{word}");
        }
    }

    #[test]
    fn every_key_has_a_meaning() {
        assert!(
            !reference().contains("|  |\n"),
            "a key without a doc comment"
        );
    }
}
