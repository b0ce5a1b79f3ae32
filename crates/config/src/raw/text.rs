//! Scalars with a grammar of their own. They keep what was written; the compiler parses them, so
//! that a bad one does not hide the next. Their patterns are for editors.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::yaml::{Field, Off, WordOr};

/// Defines a scalar that stays text, with the schema that editors check it by.
macro_rules! text_types {
    ($($(#[$doc:meta])* $name:ident = $format:literal, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) String);

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                schema.insert("format".to_owned(), concat!("tidegate-", $format).into());
                schema
            }
        }
    )*};
}

text_types! {
    /// A duration: `10ms`, `2s`, `1.5m`, `1h`.
    Duration = "duration", { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$" };
    /// A duration or `off`.
    OffOrDuration = "duration-or-off", { "type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?(us|ms|s|m|h))$" };
    /// A size: `512B`, `16KiB`, `10MB`.
    Size = "size", { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(B|kB|KB|KiB|MB|MiB|GB|GiB)$" };
    /// A size or `off`.
    OffOrSize = "size-or-off", { "type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?(B|kB|KB|KiB|MB|MiB|GB|GiB))$" };
    /// A share: `20%`.
    Percent = "percentage", { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$" };
    /// A share or `off`.
    OffOrPercent = "percentage-or-off", { "type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?%)$" };
    /// Points of a per cent above what was before, or `off`.
    OffOrRise = "rise-or-off", { "type": "string", "pattern": r"^(off|\+[0-9]+(\.[0-9]+)?%)$" };
    /// A factor of what was before, or `off`.
    OffOrFactor = "factor-or-off", { "type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?x)$" };
    /// A whole number or `off`.
    OffOrCount = "number-or-off", { "anyOf": [{ "const": "off" }, { "type": "integer", "minimum": 0 }] };
    /// A duration, `auto` or `off`.
    Silence = "duration-or-auto-or-off", { "type": "string", "pattern": r"^(auto|off|[0-9]+(\.[0-9]+)?(us|ms|s|m|h))$" };
    /// A duration or a share.
    Tolerance = "duration-or-percentage", { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h|%)$" };
    /// A name: letters, digits, `.`, `_`, `-`.
    Name = "name", { "type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    /// An IP address and a port.
    Address = "address", { "type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$" };
    /// An IP network.
    Network = "network", { "type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" };
    /// An expression (CEL).
    Expression = "expression", { "type": "string", "minLength": 1, "maxLength": 4096 };
    /// A host name, or `*.` and a host name.
    Host = "host", { "type": "string", "pattern": r"^(\*\.)?[A-Za-z0-9_.:\[\]-]+$" };
    /// A path, a path and `/**`, a template, or `~` and a regular expression.
    PathPattern = "path", { "type": "string", "pattern": r"^(~.*|/[^?#*]*(\*\*\}?)?)$" };
    /// A day of the week, or from one to another.
    DayRange = "days", { "type": "string", "pattern": r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$" };
    /// A time of the day.
    ClockTime = "time-of-day", { "type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$" };
    /// A version of TLS.
    Version = "version", { "enum": ["1.2", "1.3", 1.2, 1.3] };
    /// A number of threads or `auto`.
    Threads = "threads", { "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] };
    /// A duration or a percentile.
    HedgeAfter = "duration-or-percentile", { "type": "string", "pattern": r"^(p[0-9]+(\.[0-9]+)?|[0-9]+(\.[0-9]+)?(us|ms|s|m|h))$" };
    /// A failure, a status or a code of gRPC.
    RetryOn = "failure-or-status-or-code", { "anyOf": [
        { "enum": [
            "connect", "reset", "timeout", "bad_response",
            "conn-failure", "empty-response", "response-timeout", "junk-response", "all-retryable-errors", "none",
        ] },
        { "enum": (crate::grpc::retryable()) },
        { "type": "integer", "minimum": 100, "maximum": 599 },
    ] };
    /// A status or a range of statuses.
    StatusRange = "status-or-range", { "anyOf": [
        { "type": "integer", "minimum": 100, "maximum": 599 },
        { "type": "string", "pattern": r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" },
    ] };
}

/// Latitude and longitude in degrees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Coordinates(pub(crate) Vec<Field<f64>>);

impl JsonSchema for Coordinates {
    fn schema_name() -> Cow<'static, str> {
        "Coordinates".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "format": "tidegate-coordinates",
            "prefixItems": [
                { "type": "number", "minimum": -90, "maximum": 90 },
                { "type": "number", "minimum": -180, "maximum": 180 },
            ],
            "minItems": 2,
            "maxItems": 2,
        })
    }
}

/// `off` or a mapping.
pub(crate) type OffOrMap<T> = WordOr<Off, T>;
