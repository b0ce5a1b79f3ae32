//! Diagnostics of the process itself, on standard error.
//!
//! For people who operate Tidegate: what it did and why. Requests are the access log's. The filter
//! comes from `TIDEGATE_LOG`, else `RUST_LOG`, else it is `info`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variables that may hold the filter; the first that is set counts.
pub const VARIABLES: [&str; 2] = ["TIDEGATE_LOG", "RUST_LOG"];

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: compact, in colour on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Why diagnostics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLog {
    /// The filter is not one.
    #[error(
        "{variable}={value:?} is not a log filter ({problem}); write for example {variable}=info,tidegate_health=debug"
    )]
    Filter {
        /// The environment variable that holds it.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something else in this process has set up diagnostics already.
    #[error("diagnostics are set up already: {0}")]
    Twice(String),
}

/// Sends the diagnostics of the process to standard error. Once per process.
///
/// # Errors
/// [`InvalidLog::Filter`] for a filter that cannot be parsed, [`InvalidLog::Twice`] at a second call.
pub fn init(format: LogFormat) -> Result<(), InvalidLog> {
    let filter = filter(|variable| std::env::var(variable).ok())?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => builder.compact().with_ansi(colour).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| InvalidLog::Twice(error.to_string()))
}

fn filter(variable: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, InvalidLog> {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(|value| (name, value))
    };
    let Some((name, value)) = VARIABLES.into_iter().find_map(set) else {
        return Ok(EnvFilter::new("info"));
    };
    EnvFilter::try_new(&value).map_err(|error| InvalidLog::Filter {
        variable: name,
        value,
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_the_first_that_is_set() {
        let check = |ours: &str, theirs: &str, expected: &str| {
            let read =
                |name: &str| Some(if name == "TIDEGATE_LOG" { ours } else { theirs }.to_owned());
            let found =
                filter(read).map_or_else(|error| error.to_string(), |filter| filter.to_string());
            assert!(found.starts_with(expected), "{ours:?} {theirs:?}: {found}");
        };
        check("debug", "warn", "debug");
        check("", "warn", "warn");
        check("", "", "info");
        check(
            "x=y=z",
            "warn",
            "TIDEGATE_LOG=\"x=y=z\" is not a log filter",
        );
        check(
            "",
            "tidegate=loud",
            "RUST_LOG=\"tidegate=loud\" is not a log filter",
        );
    }
}
