//! What is known of one generation.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_telemetry::access::rfc3339;

use crate::origin::Origin;

/// A generation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// Its content hash.
    pub hash: Arc<str>,
    /// When it first served, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who or what brought it, and why.
    pub origin: Origin,
    /// What it changed, in words like `routes +1`; empty for the first.
    pub changed: String,
    /// The generation whose texts it brought back; none when they were new.
    #[serde(default)]
    pub restores: Option<u64>,
    /// Whether it has served for a while, or until something else took its place in good order.
    #[serde(default)]
    pub proven: bool,
    /// What became of it; none while nothing did but that another took its place.
    #[serde(default)]
    pub fate: Option<Fate>,
    /// Why it was not rolled back from although requests fared worse under it; none: they did not.
    #[serde(default)]
    pub held: Option<String>,
}

/// What became of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fate {
    /// It was rolled back from.
    RolledBack {
        /// Who did, and why.
        by: Origin,
    },
    /// The process did not live through its start with it.
    Crashed,
}

/// Why something else than the file serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody went back, or limits were exceeded.
    RolledBack,
    /// Somebody activated something else.
    Activated,
    /// The file has problems.
    Invalid,
    /// The process did not live through its start with it.
    Crashed,
}

/// What serves instead of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instead {
    /// Why.
    pub why: Why,
    /// The generation that serves.
    pub generation: u64,
    /// What there is to say, for people.
    pub detail: String,
}

impl Entry {
    /// A generation that begins to serve now.
    pub(crate) fn new(number: u64, hash: Arc<str>, origin: Origin) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at_ms = since.unwrap_or_default().as_millis();
        Self {
            number,
            hash,
            at_ms: at_ms.try_into().unwrap_or(u64::MAX),
            origin,
            changed: String::new(),
            restores: None,
            proven: false,
            fate: None,
            held: None,
        }
    }

    /// The generation whose texts it has: its own number, or the one that it brought back.
    pub(crate) fn content(&self) -> u64 {
        self.restores.unwrap_or(self.number)
    }

    /// When it first served.
    pub fn at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.at_ms.min(1 << 52))
    }

    /// `{generation, hash, at, cause, who, reason, changed, restores, proven, fate, held}`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "generation": self.number,
            "hash": self.hash,
            "at": rfc3339(self.at()),
            "cause": self.origin.cause,
            "who": self.origin.who,
            "reason": self.origin.reason,
            "changed": self.changed,
            "restores": self.restores,
            "proven": self.proven,
            "fate": self.fate,
            "held": self.held,
        })
    }
}

impl Why {
    /// Whether somebody wanted it so, in which case the file waits until it changes or is asked for.
    pub(crate) fn is_asked_for(self) -> bool {
        matches!(self, Self::RolledBack | Self::Activated)
    }

    /// The word for events and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled_back",
            Self::Activated => "activated",
            Self::Invalid => "invalid",
            Self::Crashed => "crashed",
        }
    }
}

/// A sentence for the log.
impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "generation {} serves instead of the file: {}",
            self.generation, self.detail
        )
    }
}
