//! How an attempt to reload ended, for whoever asked: data, words and JSON of the same record.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
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
    /// The generation that was to be brought back; none when it was not about one.
    pub restored: Option<Restored>,
    /// Where what serves now is kept; none when nothing changed for lack of a good configuration.
    pub kept: Option<Keeping>,
    /// What became of the listeners' certificates. They are read again whatever the verdict is.
    pub certificates: CertificateOutcome,
    /// What somebody should look at in a configuration that serves. May be without problems.
    pub warnings: Option<Report>,
    /// How long it took.
    pub took: Duration,
}

/// A generation that was to be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Its number.
    pub generation: u64,
    /// Whether its texts mean something else now than when they served: a file that they refer to has
    /// changed, or the environment.
    pub differs: bool,
}

/// Where generations are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In the state directory.
    Disk,
    /// In memory, until the process ends.
    Memory,
    /// In memory, because the state directory did not take it.
    Failed(String),
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
    /// It is what was left for something else, and only its file was touched: that goes on serving.
    Withheld {
        /// The number of what serves.
        generation: u64,
        /// The content hash of what does not.
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
            Self::Withheld { .. } => "withheld",
            Self::Refused { .. } => "refused",
            Self::RestartNeeded { .. } => "restart_needed",
        }
    }

    /// Whether it serves, from now on or already.
    pub fn serves(&self) -> bool {
        matches!(self, Self::Activated { .. } | Self::Unchanged { .. })
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
            Self::Unchanged { generation, hash } | Self::Withheld { generation, hash } => {
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
        self.verdict.serves() && matches!(self.certificates, CertificateOutcome::Read { .. })
    }

    /// `{verdict, cause, who, reason, took_ms, restored, kept, certificates, warnings}` and, by the verdict, `generation`,
    /// `hash` and `changed`, or `report`, or `fields`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "verdict": self.verdict.as_str(),
            "cause": self.origin.cause,
            "who": self.origin.who,
            "reason": self.origin.reason,
            "took_ms": milliseconds(self.took),
            "restored": self.restored,
            "kept": self.kept.as_ref().map(Keeping::to_json),
            "certificates": self.certificates.to_json(),
            "warnings": self.warnings.as_ref().map_or(json!([]), |report| report.to_json()["problems"].take()),
        });
        self.verdict.add_to(&mut value);
        value
    }
}

impl Keeping {
    /// `{on, problem}`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Disk => json!({ "on": "disk", "problem": null }),
            Self::Memory => json!({ "on": "memory", "problem": null }),
            Self::Failed(problem) => json!({ "on": "memory", "problem": problem }),
        }
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
        if let Some(Restored {
            generation,
            differs,
        }) = &self.restored
        {
            write!(f, "; the texts of generation {generation}")?;
            if *differs {
                f.write_str(", which mean something else now: files that they refer to, or the environment, have changed since")?;
            }
        }
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
            Self::Withheld { generation, .. } => write!(
                f,
                "generation {generation} goes on serving: the file is what was left for it, and \
                 has not changed; `tidegate reload` serves it all the same"
            ),
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
