//! A record as it is shown: names instead of indices, numbers with their units in their names.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::chance_told::DrawnTold;
use super::{Answered, Attempt, Early, Inputs, Looked, Made, Record, Then, Way};
use crate::balance::{Seen, Sight};
use crate::decision::{Because, Exclusion, RegionRow};
use crate::retry::{Destination, Phase};
use crate::standing::Standing;
use crate::termination::Termination;

/// One record in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The request's identity.
    pub id: Box<str>,
    /// When it came, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The number of the plan that decided.
    pub generation: u64,
    /// Its method.
    pub method: Option<String>,
    /// Its host and target.
    pub url: Option<String>,
    /// The route that it took.
    pub route: Option<Arc<str>>,
    /// How it ended.
    pub reason: Termination,
    /// The status that its client got.
    pub status: Option<u16>,
    /// How many attempts were made.
    pub attempts: usize,
    /// Whether a later attempt rescued it.
    pub rescued: bool,
    /// Whether it was recorded by chance.
    pub sampled: bool,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// A whole record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// What is listed of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// The hash of that plan's content.
    pub content_hash: Arc<str>,
    /// What is known of the request.
    pub request: Option<RequestTold>,
    /// What its route answered by itself.
    pub answered: Option<AnsweredTold>,
    /// Why it was refused before any region was looked at.
    pub refused: Option<Box<str>>,
    /// What chance gave it.
    pub drawn: DrawnTold,
    /// The upstream that it went to.
    pub upstream: Option<Arc<str>>,
    /// How its regions are ordered.
    pub steering: Option<&'static str>,
    /// How an endpoint is chosen.
    pub balance: Option<&'static str>,
    /// The jurisdictions that its route allows; empty without a rule.
    pub residency: Box<[Arc<str>]>,
    /// Why no other attempt was made.
    pub why_not: Option<&'static str>,
    /// Its decisions.
    pub decisions: Vec<DecisionTold>,
    /// Its attempts.
    pub tries: Vec<AttemptTold>,
    /// Bytes that the record takes.
    pub bytes: usize,
    /// All of it in words.
    pub story: String,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestTold {
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Host without port.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// The client's address.
    pub client: Option<String>,
    /// Name and value of each field; no value where it was not kept.
    pub fields: Vec<(String, Option<String>)>,
}

/// What a route answered by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnsweredTold {
    /// The status that it gives.
    pub status: u16,
    /// Where it sends the client.
    pub location: Option<Box<str>>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionTold {
    /// Whether too little was usable to heed health.
    pub panic: bool,
    /// Regions in their order.
    pub candidates: Vec<RankedTold>,
    /// The others.
    pub excluded: Vec<LeftOutTold>,
    /// Where it led.
    pub chosen: Option<ChosenTold>,
    /// The state of chance before the first draw, in hexadecimal.
    pub seed: String,
    /// What steering saw; none if that was not kept.
    pub saw: Option<Vec<RegionTold>>,
    /// What balancing saw, in its order; none if that was not kept.
    pub looked_at: Option<Vec<SeenTold>>,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedTold {
    /// Its name.
    pub region: String,
    /// Why it has its rank.
    pub because: Because,
}

/// A region that was no candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOutTold {
    /// Its name.
    pub region: String,
    /// Why not.
    pub why: Exclusion,
}

/// Where a decision led.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenTold {
    /// The region's name.
    pub region: String,
    /// The endpoint's address.
    pub endpoint: Arc<str>,
}

/// What steering saw of a region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionTold {
    /// Its name.
    pub region: String,
    /// How it stood.
    pub standing: Standing,
    /// Whether it was being drained.
    pub draining: bool,
    /// Whether an endpoint could take the attempt.
    pub open: bool,
    /// Whether it was full.
    pub full: bool,
    /// Its latency.
    pub latency_us: Option<u64>,
    /// Its distance from this PoP.
    pub distance_km: Option<f64>,
    /// Its weight.
    pub weight: u32,
    /// Its tier.
    pub tier: u16,
    /// The part of its share that an operator or the plan let it take.
    pub dial: f64,
    /// The part of what it was offered that it took.
    pub take: f64,
    /// Requests a second that it could still take.
    pub spare_per_second: Option<f32>,
}

/// Something that balancing saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenTold {
    /// What.
    pub what: &'static str,
    /// Of which endpoint.
    pub endpoint: Option<Arc<str>>,
    /// What it saw.
    pub value: f64,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttemptTold {
    /// The number of its decision, from 0.
    pub decision: Option<u8>,
    /// The region's name.
    pub region: String,
    /// The endpoint's address.
    pub endpoint: Arc<str>,
    /// Why there.
    pub because: Because,
    /// What it was made for, if not to be the only one.
    pub made: Option<String>,
    /// When it began, from the request's arrival.
    pub began_us: u64,
    /// How long it took to connect.
    pub connect_us: Option<u64>,
    /// Whether its connection had been used before.
    pub reused: bool,
    /// When it had sent the request, from its beginning.
    pub sent_us: Option<u64>,
    /// How long it took until its head arrived or it failed.
    pub took_us: u64,
    /// How far it got.
    pub phase: Phase,
    /// How it ended.
    pub outcome: &'static str,
    /// The status that it answered with.
    pub status: Option<u16>,
    /// The code of gRPC that it failed with.
    pub grpc: Option<u8>,
    /// What went wrong.
    pub detail: Option<Box<str>>,
    /// What followed.
    pub then: Option<String>,
}

impl Record {
    /// It as an entry of a list.
    pub fn summary(&self) -> Summary {
        let facts = self.facts.as_ref();
        Summary {
            id: self.id.clone(),
            at_ms: millis(self.at),
            generation: self.generation.0,
            method: facts.map(|facts| facts.method().to_string()),
            url: facts.map(|facts| format!("{}{}", facts.host(), facts.target())),
            route: self.way.as_ref().map(|way| way.route.clone()),
            reason: self.end.reason,
            status: self.end.status,
            attempts: self.attempts.len(),
            rescued: self.end.rescued,
            sampled: self.sampled,
            took_us: micros(self.end.took),
        }
    }

    /// All of it.
    pub fn told(&self) -> Told {
        let (way, through) = (self.way.as_ref(), self.through());
        let decisions = self.decisions.iter();
        let attempts = self.attempts.iter();
        Told {
            summary: self.summary(),
            content_hash: self.content_hash.clone(),
            request: self.facts.as_ref().map(|facts| RequestTold {
                scheme: facts.scheme(),
                host: facts.host().to_owned(),
                target: facts.target().to_owned(),
                client: facts.client().map(|client| client.to_string()),
                fields: facts.fields().collect(),
            }),
            answered: self.answered(),
            refused: match &self.early {
                Some(Early::Refused(words)) => Some(words.clone()),
                _ => None,
            },
            drawn: self.drawn_told(),
            upstream: through.map(|to| to.upstream.clone()),
            steering: through.map(|to| to.steering),
            balance: through.map(|to| to.balance),
            residency: way.map_or_else(Box::default, |way: &Way| way.residency.clone()),
            why_not: self.end.why_not,
            decisions: decisions.map(|looked| self.decision(looked)).collect(),
            tries: attempts.map(|attempt| self.attempt(attempt)).collect(),
            bytes: self.bytes(),
            story: self.to_string(),
        }
    }

    fn answered(&self) -> Option<AnsweredTold> {
        let Some(Early::Answered(Answered { status, location })) = &self.early else {
            return None;
        };
        let location = location.clone();
        Some(AnsweredTold {
            status: *status,
            location,
        })
    }

    fn decision(&self, looked: &Looked) -> DecisionTold {
        let decision = &looked.decision;
        let inputs = looked.inputs.as_deref();
        let rows = inputs.map(|inputs| inputs.rows.iter());
        DecisionTold {
            panic: decision.panic,
            candidates: decision
                .candidates
                .iter()
                .map(|one| RankedTold {
                    region: self.region(one.region).to_owned(),
                    because: one.because,
                })
                .collect(),
            excluded: decision
                .excluded
                .iter()
                .map(|one| LeftOutTold {
                    region: self.region(one.region).to_owned(),
                    why: one.why,
                })
                .collect(),
            chosen: looked.chosen.as_ref().map(|chosen| ChosenTold {
                region: self.region(chosen.region).to_owned(),
                endpoint: chosen.endpoint.clone(),
            }),
            seed: format!("{:016x}", looked.seed),
            saw: rows.map(|rows| rows.map(|row| self.row(row)).collect()),
            looked_at: inputs.and_then(Inputs::told),
        }
    }

    fn row(&self, row: &RegionRow) -> RegionTold {
        RegionTold {
            region: self.region(row.region).to_owned(),
            standing: row.standing,
            draining: row.draining,
            open: row.endpoints > 0,
            full: row.full,
            latency_us: row.latency.map(micros),
            distance_km: row.distance_km,
            weight: row.weight,
            tier: row.tier,
            dial: row.dial.share(),
            take: row.take.share(),
            spare_per_second: row.spare,
        }
    }

    fn attempt(&self, attempt: &Attempt) -> AttemptTold {
        AttemptTold {
            decision: attempt.decision,
            region: self.region(attempt.region).to_owned(),
            endpoint: attempt.endpoint.clone(),
            because: attempt.because,
            made: attempt.made.told(),
            began_us: micros(attempt.began),
            connect_us: attempt.connect.map(micros),
            reused: attempt.reused,
            sent_us: attempt.sent.map(micros),
            took_us: micros(attempt.took),
            phase: attempt.phase,
            outcome: attempt.outcome,
            status: attempt.status,
            grpc: attempt.grpc,
            detail: attempt.detail.clone(),
            then: attempt.then.map(Then::told),
        }
    }
}

impl Inputs {
    /// What balancing saw of endpoints, and whose turn it was; none if that was too much to keep.
    fn told(&self) -> Option<Vec<SeenTold>> {
        let mut position = 0;
        let mut told = Vec::new();
        for one in &**self.seen.as_ref()? {
            if one.sight == Sight::Set {
                position = one.of as u8;
            }
            let Some(what) = one.sight.told() else {
                continue;
            };
            let endpoint = one.sight.is_of_endpoint();
            let endpoint = endpoint.then(|| self.address(position, one.of).cloned());
            told.push(SeenTold {
                what,
                endpoint: endpoint.flatten(),
                value: one.number(),
            });
        }
        Some(told)
    }
}

impl Seen {
    /// The number as such.
    pub fn number(&self) -> f64 {
        match self.sight.is_float() {
            true => f64::from_bits(self.value),
            false => self.value as f64,
        }
    }
}

impl Sight {
    /// What is looked at, in words; none of what says nothing to people.
    pub fn told(self) -> Option<&'static str> {
        Some(match self {
            Self::Room => "has room",
            Self::Full => "is full",
            Self::Part => "takes of its weight",
            Self::InFlight => "attempts under way",
            Self::Cost => "expected cost, microseconds",
            Self::Expected => "expected latency, microseconds",
            Self::RegionInFlight => "attempts under way in the region",
            Self::Turn => "turn",
            _ => return None,
        })
    }
}

impl Made {
    /// What an attempt was made for, if not to be the only one.
    pub fn told(self) -> Option<String> {
        match self {
            Self::Alone => None,
            Self::Beside(why) => Some(format!("hedge: {why}")),
            Self::ToResume => Some("to continue the answer".to_owned()),
        }
    }
}

impl Then {
    /// What followed, in words.
    pub fn told(self) -> String {
        match self {
            Self::Stop(why) => format!("not tried again: {}", why.told()),
            Self::Next(next) => {
                let to = match next.to {
                    Destination::OtherRegion => "tried again in another region",
                    Destination::OtherEndpoint => "tried again at another endpoint of the region",
                    Destination::SameEndpoint => "the same endpoint is asked again",
                };
                let most = next.at_least + next.backoff;
                match most.is_zero() {
                    true => format!("{to}, at once"),
                    false => format!("{to}, after at most {most:.1?}"),
                }
            }
        }
    }
}

impl crate::retry::WhyNot {
    /// Why there is no other attempt, in words.
    pub fn told(self) -> &'static str {
        match self {
            Self::NotListed => "retry.on does not list the failure",
            Self::NotIdempotent => "it may have been done, and must not be done twice",
            Self::BodyLost => "its body is no longer there to be sent again",
            Self::Committed => "its client has the answer's head already",
            Self::Attempts => "its attempts are used up",
            Self::Deadline => "too little time is left",
            Self::Budget => "the retry budget is empty",
            Self::NoCandidate => "no region or endpoint is left",
            Self::RetriesFull => "as many retries are under way as the circuit_breaker allows",
        }
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
