//! A record as a story that a person reads from top to bottom: what came, what was decided and why,
//! what came of it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::{Attempt, Early, Inputs, Looked, Record, Then};
use crate::balance::Sight;
use crate::decision::RegionRow;
use crate::health::Health;
use crate::ids::RegionIdx;
use crate::retry::Phase;
use crate::standing::Dial;
use crate::termination::Termination;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell_request(f)?;
        self.tell_plan(f)?;
        self.tell_way(f)?;
        let mut told = 0;
        for attempt in &self.attempts {
            let until = attempt.decision.map_or(told, |at| usize::from(at) + 1);
            for nth in told..until.min(self.decisions.len()) {
                self.tell_decision(nth, f)?;
            }
            told = told.max(until);
            self.tell_attempt(attempt, f)?;
        }
        for nth in told..self.decisions.len() {
            self.tell_decision(nth, f)?;
        }
        self.ending(f)
    }
}

impl Record {
    fn tell_request(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {}", self.id)?;
        let Some(facts) = &self.facts else {
            return writeln!(f, "          {}", self.why_unknown());
        };
        let (scheme, host, target) = (facts.scheme(), facts.host(), facts.target());
        writeln!(f, "          {} {scheme}://{host}{target}", facts.method())?;
        match facts.client() {
            Some(client) => writeln!(f, "client    {client}"),
            None => Ok(()),
        }
    }

    fn why_unknown(&self) -> &'static str {
        match self.early {
            Some(_) => "what came could not be read as a request",
            None => "its head had been let go of when it failed",
        }
    }

    fn tell_plan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(at) = Timestamp::try_from(self.at) {
            writeln!(f, "at        {at:.3}")?;
        }
        let hash = self.content_hash.get(..12).unwrap_or(&self.content_hash);
        match self.generation.0 {
            0 => writeln!(f, "plan      none was loaded")?,
            generation => writeln!(f, "plan      generation {generation}, content {hash}")?,
        }
        let why = match self.sampled {
            true => "by chance (explain.sample)",
            false => "because it failed or needed more than one attempt",
        };
        writeln!(f, "recorded  {why}")
    }

    fn tell_way(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(way) = &self.way else {
            return self.tell_early(f);
        };
        writeln!(f, "route     {}", way.route)?;
        self.tell_chances(f)?;
        if let Some(through) = &way.through {
            let (steering, balance) = (through.steering, through.balance);
            let upstream = &through.upstream;
            writeln!(
                f,
                "upstream  {upstream} (steering {steering}, balance {balance})"
            )?;
        }
        if !way.residency.is_empty() {
            writeln!(f, "residency {}", way.residency.join(", "))?;
        }
        self.tell_early(f)
    }

    fn tell_early(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.early {
            Some(Early::Answered(answered)) => {
                writeln!(f, "answers   {answered} (the route, by itself)")
            }
            Some(Early::Refused(words)) => writeln!(f, "refused   {words}"),
            None if self.end.reason == Termination::NoRoute => {
                writeln!(f, "route     none matches")
            }
            None => Ok(()),
        }
    }

    fn tell_decision(&self, nth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked = &self.decisions[nth];
        writeln!(f, "\ndecision {}", nth + 1)?;
        if looked.decision.panic {
            writeln!(f, "  too little is usable: health leaves nobody out")?;
        }
        let width = self.width(looked);
        let saw = |region| {
            let inputs = looked.inputs.as_ref()?;
            inputs.rows.iter().find(|row| row.region == region).map(Saw)
        };
        let line = |f: &mut fmt::Formatter<'_>, mark: &str, region: RegionIdx, why: &str| {
            write!(f, "  {mark:>3} {:width$}  {why}", self.region(region))?;
            match saw(region) {
                Some(saw) => writeln!(f, " ({saw})"),
                None => writeln!(f),
            }
        };
        for (at, one) in looked.decision.candidates.iter().enumerate() {
            line(f, &format!("{}.", at + 1), one.region, one.because.told())?;
        }
        for one in &looked.decision.excluded {
            line(f, "-", one.region, one.why.told())?;
        }
        self.draw(looked, f)?;
        match &looked.chosen {
            Some(chosen) => writeln!(
                f,
                "  goes to {} at {}",
                self.region(chosen.region),
                chosen.endpoint
            ),
            None => writeln!(f, "  goes nowhere: no region may take it"),
        }
    }

    fn draw(&self, looked: &Looked, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(inputs) = &looked.inputs else {
            return writeln!(
                f,
                "  what the regions looked like was not kept: the request was not of the sample"
            );
        };
        writeln!(f, "  chance at {:016x}", looked.seed)?;
        inputs.contenders(f)
    }

    fn tell_attempt(&self, attempt: &Attempt, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region(attempt.region);
        write!(
            f,
            "\n{:>12}  attempt at {region}, {}",
            at(attempt.began),
            attempt.endpoint
        )?;
        match attempt.made.told() {
            Some(made) => writeln!(f, " ({made})")?,
            None => writeln!(f)?,
        }
        let began = attempt.began;
        match (attempt.connect, attempt.reused) {
            (_, true) => writeln!(f, "{:>12}  on a connection that was there", at(began))?,
            (Some(took), _) => writeln!(f, "{:>12}  connected", at(began + took))?,
            (None, false) => {}
        }
        if let Some(sent) = attempt.sent {
            writeln!(f, "{:>12}  the whole request was sent", at(began + sent))?;
        }
        write!(f, "{:>12}  {}", at(began + attempt.took), attempt.ended())?;
        match &attempt.detail {
            Some(detail) => writeln!(f, ": {detail}")?,
            None => writeln!(f)?,
        }
        match attempt.then {
            Some(then) => writeln!(f, "{:>12}  {}", "", Then::told(then)),
            None => Ok(()),
        }
    }

    fn ending(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = &self.end;
        if let Some(first) = end.first_byte {
            writeln!(f, "\n{:>12}  the answer began", at(first))?;
        }
        write!(f, "{:>12}  ended: {}", at(end.took), end.reason.as_str())?;
        if let Some(status) = end.status {
            write!(f, ", status {status}")?;
        }
        if end.rescued {
            write!(f, ", rescued")?;
        }
        match end.why_not {
            Some(why) => write!(f, "; not tried again: {why}"),
            None => Ok(()),
        }
    }

    fn width(&self, looked: &Looked) -> usize {
        let candidates = looked.decision.candidates.iter().map(|one| one.region);
        let excluded = looked.decision.excluded.iter().map(|one| one.region);
        let names = candidates
            .chain(excluded)
            .map(|region| self.region(region).chars().count());
        names.max().unwrap_or(0)
    }
}

impl Attempt {
    fn ended(&self) -> String {
        let phase = match self.phase {
            Phase::Connecting => "without a connection",
            Phase::NothingSent => "before anything was sent",
            Phase::Sent => "after it was sent, or a part of it",
            Phase::HeadReceived => "after the answer's head",
            Phase::BodyUnderWay => "answering",
        };
        match (self.status, self.outcome) {
            (Some(status), "answered") => format!("answered {status}"),
            (Some(status), outcome) => format!("{outcome} with {status}"),
            (None, outcome) => format!("{outcome}, {phase}"),
        }
    }
}

impl Inputs {
    /// The endpoints that were compared, with what speaks for each.
    fn contenders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seen) = &self.seen else {
            return writeln!(f, "  what balancing looked at was too much to keep");
        };
        let mut position = 0;
        for one in &**seen {
            if one.sight == Sight::Set {
                position = one.of as u8;
            }
            let words = match one.sight {
                Sight::Cost => format!("costs {:.0} us", one.number()),
                Sight::InFlight => format!("has {} under way", one.value),
                Sight::Part if one.number() < 1.0 => {
                    format!("takes {:.1}% of its weight", 100.0 * one.number())
                }
                Sight::Full if one.value != 0 => "is full".to_owned(),
                Sight::Room if one.value == 0 => "may not take it".to_owned(),
                _ => continue,
            };
            if let Some(address) = self.address(position, one.of) {
                writeln!(f, "  looked at {address}: {words}")?;
            }
        }
        Ok(())
    }
}

/// A region as steering saw it, as far as there is something to say.
struct Saw<'a>(&'a RegionRow);

impl fmt::Display for Saw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.0;
        f.write_str(health(row.standing.health))?;
        if let Some(latency) = row.latency {
            write!(f, ", {:.1} ms", latency.as_secs_f64() * 1e3)?;
        }
        let mut part = |what: &str, dial: Dial| match dial == Dial::FULL {
            true => Ok(()),
            false => write!(f, ", {what} {:.1}%", 100.0 * dial.share()),
        };
        part("back to", row.standing.dial)?;
        part("dialed to", row.dial)?;
        part("takes", row.take)?;
        if row.standing.suspected {
            f.write_str(", silent")?;
        }
        if let Some(spare) = row.spare {
            write!(f, ", {spare:.0}/s spare")?;
        }
        if row.load.0 > 0 {
            write!(f, ", {} under way", row.load.0)?;
        }
        Ok(())
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Unhealthy => "unhealthy",
        Health::Draining => "draining",
        Health::Unknown => "health unknown",
    }
}

/// A moment of a request, from its arrival.
fn at(since: Duration) -> String {
    let micros = since.as_micros();
    let (thousands, rest) = (micros / 1000, micros % 1000);
    match thousands {
        0 => format!("+{rest} us"),
        thousands => format!("+{thousands},{rest:03} us"),
    }
}

impl super::Replayed {
    /// What came of it, in words, for `record`.
    pub fn story(&self, record: &Record, generation: u64) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut line = |words: String| {
            let _infallible = writeln!(text, "{words}");
        };
        line(format!("request   {}", record.id));
        line(format!(
            "replayed  with generation {generation}{}",
            if self.same_plan {
                ", the plan that decided"
            } else {
                ", another plan"
            }
        ));
        if let Some(outcome) = &self.outcome {
            line(format!("outcome   {outcome}"));
        }
        self.differences
            .iter()
            .for_each(|one| line(format!("differs   {one}")));
        self.uncertain
            .iter()
            .for_each(|one| line(format!("unknown   {one}")));
        for (nth, decision) in (1..).zip(&self.decisions) {
            match (decision.missing, decision.same) {
                (Some(why), _) => line(format!("decision {nth}: cannot be made again, {why}")),
                (None, true) if self.same_plan => {
                    line(format!("decision {nth}: the same, bit for bit"))
                }
                (None, true) => line(format!("decision {nth}: the same")),
                (None, false) => {
                    line(format!("decision {nth}: differs"));
                    decision
                        .differences
                        .iter()
                        .for_each(|one| line(format!("  {one}")));
                }
            }
            let told = decision.decision.iter().filter(|_| !decision.same);
            told.for_each(|told| {
                told.to_string()
                    .lines()
                    .for_each(|told| line(format!("    {told}")));
            });
        }
        line(match self.same {
            true => "nothing differs".to_owned(),
            false => "it would go another way".to_owned(),
        });
        text
    }
}
