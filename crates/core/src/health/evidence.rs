//! Why the judge changed something: the figures, and the words that a person reads.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Health;
use crate::cell::ErrorClass;

/// Why something changed, with the figures that decided it. `Display` gives one sentence without a
/// full stop; `Serialize` the figures under `kind`, times in seconds, shares as 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// How many of the region's endpoints are usable.
    Endpoints {
        /// Usable.
        usable: u32,
        /// In all.
        total: u32,
        /// The share that must be.
        needed: f64,
    },
    /// What was said of the whole region; `Unknown`: that is taken back or over.
    Said {
        /// The word.
        health: Health,
    },
    /// Too many attempts failed (`error_rate`).
    Errors(Failures),
    /// More attempts failed than is usual here and elsewhere, by a sequential test.
    Raised(Failures),
    /// Attempts met nothing but connections refused, broken or ended.
    Unanswered(Failures),
    /// No byte came while requests waited.
    Silent {
        /// For so long.
        #[serde(serialize_with = "seconds")]
        lasted: Duration,
        /// Attempts that were made since the last byte and wait.
        waiting: u64,
        /// The time in which 99 of 100 answers came lately, if known.
        #[serde(serialize_with = "maybe_seconds")]
        usual: Option<Duration>,
    },
    /// A probe failed after the region had fallen silent.
    ProbeFailed {
        /// So long after its last byte.
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// Connections failed after the region had fallen silent.
    ConnectFailed {
        /// So many.
        failed: u64,
        /// So long after its last byte.
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// The silence did not end.
    StillSilent {
        /// For so long.
        #[serde(serialize_with = "seconds")]
        lasted: Duration,
    },
    /// A probe was well, and nobody waits for an answer any more.
    ProbeWell {
        /// So long after its last byte.
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// A byte came: the suspicion was wrong, or is over.
    Heard {
        /// After so long.
        #[serde(serialize_with = "seconds")]
        silent: Duration,
    },
    /// Answers take much longer than is usual here.
    Slow {
        /// The time in which half of the answers came.
        #[serde(serialize_with = "seconds")]
        p50: Duration,
        /// The same as it usually is.
        #[serde(serialize_with = "seconds")]
        usual_p50: Duration,
        /// The time in which 90 of 100 answers came.
        #[serde(serialize_with = "seconds")]
        p90: Duration,
        /// The same as it usually is.
        #[serde(serialize_with = "seconds")]
        usual_p90: Duration,
        /// Answers that were looked at.
        answers: u64,
    },
    /// All regions fare alike: the fault is the service's or this side's, and nobody is taken out.
    Shared {
        /// What one of them shows.
        why: Box<Evidence>,
    },
    /// It was taken out, and what took over fares alike: it is no better without it.
    Pardoned {
        /// Out for so long.
        #[serde(serialize_with = "seconds")]
        out: Duration,
    },
    /// It was held out long enough, and is well as far as probes tell.
    Held {
        /// Out for so long.
        #[serde(serialize_with = "seconds")]
        out: Duration,
        /// How often it had gone out soon after it came back.
        relapses: u32,
        /// Whether probes vouch for it; otherwise only the time does.
        probed: bool,
    },
    /// An operator let it come back.
    Released {
        /// Out for so long.
        #[serde(serialize_with = "seconds")]
        out: Duration,
    },
    /// No other region is usable.
    NoOther,
    /// It stood its trial.
    Tried {
        /// Attempts that were answered meanwhile.
        answered: u64,
        /// It took so long.
        #[serde(serialize_with = "seconds")]
        within: Duration,
    },
    /// Errors while its share grew: the share was halved.
    Reversed {
        /// The share now.
        share: f64,
        /// What was met.
        why: Box<Evidence>,
    },
    /// Its share has grown to the whole.
    Whole {
        /// Since it was let in again.
        #[serde(serialize_with = "seconds")]
        within: Duration,
    },
    /// What spoke against it has not been seen for a while.
    Calm {
        /// For so long.
        #[serde(serialize_with = "seconds")]
        lasted: Duration,
    },
    /// An endpoint failed so often in a row.
    InARow {
        /// What is counted.
        row: Row,
        /// How many.
        count: u32,
    },
    /// An endpoint's success rate stands out from its region's.
    SuccessRate {
        /// Its own.
        own: f64,
        /// The region's mean.
        mean: f64,
        /// Below this it stands out.
        bound: f64,
    },
    /// Too large a part of an endpoint's attempts failed.
    FailurePercentage {
        /// Failed.
        failed: u64,
        /// Of so many.
        of: u64,
    },
    /// An endpoint failed while it was tried again after an ejection.
    FailedTrial,
    /// An endpoint's ejection is over.
    EjectionOver {
        /// It lasted so long.
        #[serde(serialize_with = "seconds")]
        lasted: Duration,
        /// Ejections in a row.
        ejections: u32,
    },
}

/// What is counted in a row of failures (Envoy's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Row {
    /// Any error.
    #[serde(rename = "consecutive_5xx")]
    Any,
    /// 502, 503, 504.
    #[serde(rename = "consecutive_gateway_failure")]
    Gateway,
    /// Errors of local origin.
    #[serde(rename = "consecutive_local_origin_failure")]
    LocalOrigin,
}

/// What a region's attempts met within a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Failures {
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that ended.
    pub of: u64,
    /// The time looked at.
    #[serde(serialize_with = "seconds")]
    pub within: Duration,
    /// Those that failed, by [`ErrorClass`]. Serialised by name, those that did not occur left out.
    #[serde(serialize_with = "named")]
    pub by_class: [u64; ErrorClass::COUNT],
    /// The share that usually fails here.
    pub usual: f64,
    /// The share that failed in the other regions meanwhile; none when nothing was asked of them.
    pub others: Option<f64>,
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, of, within) = (self.failed, self.of, Secs(self.within));
        write!(f, "{failed} of {of} requests in {within} failed")?;
        let met = ErrorClass::ALL.iter().zip(self.by_class);
        let mut lead = " (";
        for (class, count) in met.filter(|(_, count)| *count > 0) {
            write!(f, "{lead}{} {count}", class.as_str())?;
            lead = ", ";
        }
        let close = if lead == ", " { ")" } else { "" };
        write!(f, "{close}; usual {}", Percent(self.usual))?;
        match self.others {
            Some(others) => write!(f, ", others {}", Percent(others)),
            None => f.write_str(", others not asked"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoints { .. } | Self::Said { .. } => self.about_sayings(f),
            Self::Errors(met) | Self::Raised(met) => met.fmt(f),
            Self::Unanswered(met) => write!(f, "{met}; none was answered"),
            Self::Shared { why } => {
                write!(f, "all regions fare alike, so none is taken out: {why}")
            }
            Self::Silent { .. }
            | Self::ProbeFailed { .. }
            | Self::ConnectFailed { .. }
            | Self::StillSilent { .. }
            | Self::Heard { .. }
            | Self::ProbeWell { .. }
            | Self::Slow { .. } => self.about_time(f),
            Self::InARow { .. }
            | Self::SuccessRate { .. }
            | Self::FailurePercentage { .. }
            | Self::FailedTrial
            | Self::EjectionOver { .. } => self.about_endpoints(f),
            _ => self.about_return(f),
        }
    }
}

impl Evidence {
    fn about_sayings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoints { total: 0, .. } => f.write_str("it has no endpoints"),
            Self::Endpoints {
                usable: 0, total, ..
            } => write!(f, "all {total} endpoints unusable"),
            Self::Endpoints {
                usable,
                total,
                needed,
            } => write!(
                f,
                "{usable} of {total} endpoints usable, {} needed",
                Percent(*needed)
            ),
            Self::Said {
                health: Health::Unknown,
            } => f.write_str("what was said of it is over"),
            Self::Said { health } => write!(f, "it was said to be {health}"),
            _ => Ok(()),
        }
    }

    fn about_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent {
                lasted,
                waiting,
                usual,
            } => {
                let lasted = Secs(*lasted);
                write!(f, "silent for {lasted} with {waiting} requests waiting")?;
                match usual {
                    Some(usual) => write!(f, "; usual p99 {}", Secs(*usual)),
                    None => f.write_str("; what is usual is not known yet"),
                }
            }
            Self::ProbeFailed { after } => {
                write!(f, "a probe failed {} after it fell silent", Secs(*after))
            }
            Self::ConnectFailed { failed, after } => write!(
                f,
                "{failed} connections failed within {} after it fell silent",
                Secs(*after)
            ),
            Self::StillSilent { lasted } => write!(f, "still silent after {}", Secs(*lasted)),
            Self::ProbeWell { after } => {
                write!(f, "a probe was well {} after it fell silent", Secs(*after))
            }
            Self::Heard { silent } => write!(f, "heard from again after {}", Secs(*silent)),
            Self::Slow {
                p50,
                usual_p50,
                p90,
                usual_p90,
                answers,
            } => write!(
                f,
                "p50 {} (usual {}), p90 {} (usual {}) of {answers} answers",
                Secs(*p50),
                Secs(*usual_p50),
                Secs(*p90),
                Secs(*usual_p90)
            ),
            _ => Ok(()),
        }
    }

    fn about_return(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pardoned { out } => write!(
                f,
                "out for {}, and what took over fares alike: taken back",
                Secs(*out)
            ),
            Self::Held {
                out,
                relapses,
                probed,
            } => {
                write!(f, "held out for {}", Secs(*out))?;
                if *relapses > 0 {
                    write!(f, " (relapse {relapses})")?;
                }
                f.write_str(if *probed { ", probes well" } else { "" })
            }
            Self::Released { out } => write!(f, "let in by an operator after {}", Secs(*out)),
            Self::NoOther => f.write_str("no other region is usable"),
            Self::Tried { answered, within } => {
                write!(f, "{answered} requests answered in {}", Secs(*within))
            }
            Self::Reversed { share, why } => {
                write!(f, "back to {} of its share: {why}", Percent(*share))
            }
            Self::Whole { within } => write!(f, "whole share again after {}", Secs(*within)),
            Self::Calm { lasted } => write!(f, "nothing against it for {}", Secs(*lasted)),
            _ => Ok(()),
        }
    }

    fn about_endpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow { row, count } => write!(f, "{count} {} in a row", row.what()),
            Self::SuccessRate { own, mean, bound } => write!(
                f,
                "success rate {}, below {}; its region's mean {}",
                Percent(*own),
                Percent(*bound),
                Percent(*mean)
            ),
            Self::FailurePercentage { failed, of } => {
                write!(f, "{failed} of {of} requests failed")
            }
            Self::FailedTrial => f.write_str("failed again when it was tried"),
            Self::EjectionOver { lasted, ejections } => write!(
                f,
                "ejected for {} (ejection {ejections}), tried again",
                Secs(*lasted)
            ),
            _ => Ok(()),
        }
    }
}

impl Row {
    fn what(self) -> &'static str {
        match self {
            Self::Any => "errors",
            Self::Gateway => "gateway failures",
            Self::LocalOrigin => "failures of local origin",
        }
    }
}

/// A time as people write it: `45 ms`, `0.45 s`, `12 s`.
struct Secs(Duration);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs_f64();
        match secs {
            0.0..0.1 => write!(f, "{:.0} ms", secs * 1e3),
            0.1..10.0 => write!(f, "{secs:.2} s"),
            _ => write!(f, "{secs:.0} s"),
        }
    }
}

/// A share as people write it: `0.1 %`, `30 %`.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent == 0.0 || percent >= 10.0 {
            write!(f, "{percent:.0} %")
        } else {
            write!(f, "{percent:.1} %")
        }
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn named<S: Serializer>(
    counts: &[u64; ErrorClass::COUNT],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let met = ErrorClass::ALL.iter().zip(counts);
    serializer.collect_map(met.filter(|(_, count)| **count > 0))
}

fn maybe_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn met() -> Failures {
        let mut by_class = [0; ErrorClass::COUNT];
        by_class[ErrorClass::Reset as usize] = 12;
        by_class[ErrorClass::Connect as usize] = 2;
        Failures {
            failed: 14,
            of: 20,
            within: ms(600),
            by_class,
            usual: 0.001,
            others: Some(0.0),
        }
    }

    #[test]
    fn evidence_reads_as_a_sentence() {
        let check = |evidence: Evidence, expected: &str| {
            assert_eq!(evidence.to_string(), expected);
        };
        let endpoints = |usable, total| Evidence::Endpoints {
            usable,
            total,
            needed: 0.3,
        };
        check(endpoints(0, 2), "all 2 endpoints unusable");
        check(endpoints(1, 4), "1 of 4 endpoints usable, 30 % needed");
        check(endpoints(0, 0), "it has no endpoints");
        let failed =
            "14 of 20 requests in 0.60 s failed (connect 2, reset 12); usual 0.1 %, others 0 %";
        check(Evidence::Errors(met()), failed);
        check(
            Evidence::Unanswered(met()),
            &format!("{failed}; none was answered"),
        );
        let why = Box::new(Evidence::Errors(met()));
        check(
            Evidence::Reversed { share: 0.05, why },
            &format!("back to 5.0 % of its share: {failed}"),
        );
        let silent = |usual| Evidence::Silent {
            lasted: ms(450),
            waiting: 37,
            usual,
        };
        check(
            silent(Some(ms(90))),
            "silent for 0.45 s with 37 requests waiting; usual p99 90 ms",
        );
        check(
            silent(None),
            "silent for 0.45 s with 37 requests waiting; what is usual is not known yet",
        );
        check(
            Evidence::ProbeFailed { after: ms(200) },
            "a probe failed 0.20 s after it fell silent",
        );
        let held = |relapses, probed| Evidence::Held {
            out: ms(10_000),
            relapses,
            probed,
        };
        check(held(1, true), "held out for 10 s (relapse 1), probes well");
        check(held(0, false), "held out for 10 s");
        check(
            Evidence::Slow {
                p50: ms(130),
                usual_p50: ms(16),
                p90: ms(200),
                usual_p90: ms(20),
                answers: 60,
            },
            "p50 0.13 s (usual 16 ms), p90 0.20 s (usual 20 ms) of 60 answers",
        );
        check(
            Evidence::SuccessRate {
                own: 0.5,
                mean: 0.99,
                bound: 0.9,
            },
            "success rate 50 %, below 90 %; its region's mean 99 %",
        );
    }

    #[test]
    fn evidence_is_written_with_its_kind_and_figures() {
        let why = Box::new(Evidence::Errors(met()));
        let shared = serde_json::to_value(Evidence::Shared { why }).expect("serializes");
        assert_eq!(
            (&shared["kind"], &shared["why"]["kind"]),
            (&"shared".into(), &"errors".into())
        );
        assert_eq!(
            (&shared["why"]["failed"], &shared["why"]["within"]),
            (&14.into(), &0.6.into())
        );
        let by_class = serde_json::json!({ "connect": 2, "reset": 12 });
        assert_eq!(shared["why"]["by_class"], by_class);
        let row = Evidence::InARow {
            row: Row::Gateway,
            count: 5,
        };
        let row = serde_json::to_value(row).expect("serializes");
        assert_eq!(row["row"], "consecutive_gateway_failure");
    }
}
