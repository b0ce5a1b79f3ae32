//! How an attempt to reload ended, for whoever asked: data, words and JSON of the same record.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_config::{RenderStyle, Report};

use crate::changes::Changes;
use crate::origin::Origin;

/// How an attempt to reload ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What made it happen, who, and why.
    pub origin: Origin,
    /// What became of the configuration.
    pub verdict: Verdict,
    /// What became of the listeners' certificates. They are read again whatever the verdict is.
    pub certificates: CertificateOutcome,
    /// What somebody should look at in a configuration that serves. May be without problems.
    pub warnings: Option<Report>,
    /// How long it took.
    pub took: Duration,
}

/// What became of a configuration.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It serves from now on.
    Activated {
        /// Its number.
        generation: u64,
        /// Its content hash.
        hash: Arc<str>,
        /// What is new.
        changes: Box<Changes>,
    },
    /// It is what serves already.
    Unchanged {
        /// The number under which it serves.
        generation: u64,
        /// Its content hash.
        hash: Arc<str>,
    },
    /// It has problems; the one before goes on serving.
    Refused {
        /// All of them.
        report: Report,
    },
    /// It is fine, but touches what only a restart can change; the one before goes on serving.
    RestartNeeded {
        /// The fields, in the order of the configuration. Never empty.
        fields: Vec<String>,
    },
}

/// What became of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateOutcome {
    /// They were read again: the names of those that serve. Empty without a TLS listener.
    Read {
        /// The first name of each.
        names: Vec<String>,
        /// Whether a file had changed since the last time.
        changed: bool,
    },
    /// They could not be used; those before go on serving.
    Kept {
        /// Why.
        problem: String,
    },
}

impl Verdict {
    /// The word for documents and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Activated { .. } => "activated",
            Self::Unchanged { .. } => "unchanged",
            Self::Refused { .. } => "refused",
            Self::RestartNeeded { .. } => "restart_needed",
        }
    }

    fn add_to(&self, value: &mut Value) {
        match self {
            Self::Activated {
                generation,
                hash,
                changes,
            } => {
                value["generation"] = json!(generation);
                value["hash"] = json!(&**hash);
                value["changed"] = json!(changes);
            }
            Self::Unchanged { generation, hash } => {
                value["generation"] = json!(generation);
                value["hash"] = json!(&**hash);
            }
            Self::Refused { report } => value["report"] = report.to_json(),
            Self::RestartNeeded { fields } => value["fields"] = json!(fields),
        }
    }
}

impl Outcome {
    /// Whether everything that the files say now serves: configuration and certificates.
    pub fn took_effect(&self) -> bool {
        let serves = matches!(
            self.verdict,
            Verdict::Activated { .. } | Verdict::Unchanged { .. }
        );
        serves && matches!(self.certificates, CertificateOutcome::Read { .. })
    }

    /// `{verdict, cause, who, reason, took_ms, certificates, warnings}` and, by the verdict, `generation`,
    /// `hash` and `changed`, or `report`, or `fields`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "verdict": self.verdict.as_str(),
            "cause": self.origin.cause,
            "who": self.origin.who,
            "reason": self.origin.reason,
            "took_ms": milliseconds(self.took),
            "certificates": self.certificates.to_json(),
            "warnings": self.warnings.as_ref().map_or(json!([]), |report| report.to_json()["problems"].take()),
        });
        self.verdict.add_to(&mut value);
        value
    }
}

impl CertificateOutcome {
    fn to_json(&self) -> Value {
        match self {
            Self::Read { names, changed } => {
                json!({ "read": names, "changed": changed, "problem": null })
            }
            Self::Kept { problem } => json!({ "read": [], "changed": false, "problem": problem }),
        }
    }
}

/// To the microsecond: more is noise.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// What happened in words; several lines when a report is part of it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)?;
        if let CertificateOutcome::Kept { problem } = &self.certificates {
            write!(f, "; the certificates before go on serving: {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activated {
                generation,
                changes,
                ..
            } => write!(f, "generation {generation} serves: {changes}"),
            Self::Unchanged { generation, .. } => {
                write!(
                    f,
                    "nothing changed, generation {generation} goes on serving"
                )
            }
            Self::Refused { report } => {
                write!(
                    f,
                    "refused, nothing changed\n{}",
                    report.render(RenderStyle::PLAIN)
                )
            }
            Self::RestartNeeded { fields } => write!(
                f,
                "refused, nothing changed: a restart is needed to change {}",
                fields.join(", ")
            ),
        }
    }
}
