//! What chance gave a request, in words and as it is shown.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Chances, Record, Share};
use crate::standing::Dial;

/// What chance gave a request before any region was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrawnTold {
    /// Its lot, of which all draws are reckoned, in hexadecimal.
    pub lot: String,
    /// How its split chose its upstream; none if there is none, or what it hashed was not kept.
    pub split: Option<SplitTold>,
    /// Whether it was made to wait; none where the route never does so.
    pub delay: Option<DrawTold>,
    /// Whether it was answered with an injected error.
    pub abort: Option<DrawTold>,
    /// Whether a copy of it was due; none where there is never one.
    pub mirror: Option<DrawTold>,
}

/// How a split chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitTold {
    /// `by chance`, or by the hash of which part of the request.
    pub by: String,
    /// The number that it went by, in hexadecimal.
    pub number: String,
    /// Its upstreams: the one with the lowest score wins.
    pub shares: Vec<ShareTold>,
}

/// One upstream of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareTold {
    /// Its name.
    pub upstream: Arc<str>,
    /// Its part of all weights, 0 to 1.
    pub share: f64,
    /// What it drew; none for a weight of 0.
    pub score: Option<f64>,
}

/// One draw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DrawTold {
    /// What was drawn, from 0 up to 1, 1 excluded.
    pub drawn: f64,
    /// Below which it is done: the share of requests.
    pub below: f64,
    /// Whether it was.
    pub done: bool,
}

impl Record {
    /// What was left to chance, with the numbers by which it went.
    pub(super) fn tell_chances(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(chances) = &self.chances else {
            return Ok(());
        };
        self.tell_split(chances, f)?;
        let (lot, injected) = (self.drawn.lot, self.drawn.injected(Some(chances)));
        if let Some(delay) = chances.fault.delay {
            let deed = format!("waits {:?}", delay.time);
            tell_draw(
                "delay",
                lot.delay(),
                delay.share,
                &deed,
                injected.delay.is_some(),
                f,
            )?;
        }
        if let Some(abort) = chances.fault.abort {
            let deed = format!("is answered {}", abort.status.as_u16());
            tell_draw(
                "abort",
                lot.abort(),
                abort.share,
                &deed,
                injected.abort.is_some(),
                f,
            )?;
        }
        match &chances.mirror {
            Some((to, share)) if self.drawn.copyable => {
                let is_due = self.drawn.copied_to(Some(chances)).is_some();
                let deed = format!("is copied to {to}");
                tell_draw("mirror", lot.mirror(), *share, &deed, is_due, f)
            }
            _ => Ok(()),
        }
    }

    fn tell_split(&self, chances: &Chances, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if chances.split.is_empty() {
            return Ok(());
        }
        let Some(number) = &self.drawn.split else {
            return writeln!(f, "split     by a part of the request, which was not kept");
        };
        write!(f, "split     {}, at {:016x}:", number.told(), number.value)?;
        for (nth, (share, score)) in chances.scores(number.value).enumerate() {
            let part = (1e5 * chances.part(share)).round() / 1e3;
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma} {} ({part}%) draws {score:.4}", share.upstream)?;
        }
        writeln!(f, "; the lowest wins")
    }

    pub(super) fn drawn_told(&self) -> DrawnTold {
        let (lot, chances) = (self.drawn.lot, self.chances.as_deref());
        let injected = self.drawn.injected(chances);
        let fault = chances.map(|all| all.fault).unwrap_or_default();
        let told = |drawn, share: Dial, done| DrawTold {
            drawn,
            below: share.share(),
            done,
        };
        let mirror = chances.and_then(|all| all.mirror.as_ref());
        let mirror = mirror.filter(|_| self.drawn.copyable);
        let is_copied = self.drawn.copied_to(chances).is_some();
        DrawnTold {
            lot: format!("{:016x}", lot.number()),
            split: self.split_told(),
            delay: fault
                .delay
                .map(|delay| told(lot.delay(), delay.share, injected.delay.is_some())),
            abort: fault
                .abort
                .map(|abort| told(lot.abort(), abort.share, injected.abort.is_some())),
            mirror: mirror.map(|(_, share)| told(lot.mirror(), *share, is_copied)),
        }
    }

    fn split_told(&self) -> Option<SplitTold> {
        let chances = self.chances.as_ref()?;
        let number = self.drawn.split.as_ref()?;
        let score = |of: &Share| {
            let mut scores = chances.scores(number.value);
            scores
                .find(|(share, _)| *share == of)
                .map(|(_, score)| score)
        };
        let shares = chances.split.iter().map(|share| ShareTold {
            upstream: share.upstream.clone(),
            share: chances.part(share),
            score: score(share),
        });
        Some(SplitTold {
            by: number.told(),
            number: format!("{:016x}", number.value),
            shares: shares.collect(),
        })
    }
}

/// What was drawn for a deed, below which share of 1 it is done, and whether it was.
fn tell_draw(
    what: &str,
    drawn: f64,
    share: Dial,
    deed: &str,
    done: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let share = share.share();
    match done {
        true => writeln!(f, "{what:9} draws {drawn:.6}, below {share}: {deed}"),
        false => writeln!(f, "{what:9} draws {drawn:.6}, not below {share}: nothing"),
    }
}
