//! How far regions are dialed: for all upstreams that live there, or for single ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::Dial;
use tidegate_telemetry::{EventKind, Events};

use super::note::Note;
use super::order::Order;
use crate::named::Named;
use crate::origin::Author;

/// What a dial did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dialed {
    /// The region.
    pub region: Arc<str>,
    /// The part of its share that it takes at most; none: that is left to the plan.
    pub to: Option<Dial>,
    /// Whether that is new for any upstream.
    pub changed: bool,
    /// The upstreams that were told, each with the dial that holds there now.
    pub upstreams: BTreeMap<Arc<str>, Dial>,
}

/// The orders about one region. An upstream without one of its own has that of all.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    all: Option<(Dial, Note)>,
    /// None: this upstream has the plan's dial, whatever the others have.
    single: BTreeMap<Arc<str>, (Option<Dial>, Note)>,
}

/// A dial as it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DialOrder<'a> {
    /// Of this upstream; none: of every one that lives there, which takes back those on single ones.
    pub upstream: Option<&'a str>,
    /// The part of its share that the region takes at most; none: that is left to the plan.
    pub to: Option<Dial>,
    /// Whether it may leave an upstream, or a route, without any region that takes its requests.
    pub force: bool,
}

/// A dial that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no dial; write 0% to 100%, a fraction like 0.25, or plan")]
pub struct InvalidDial(String);

/// An error repeats no more of what it could not understand.
const REPEATED_MAX: usize = 40;

/// Reads a dial as people write it: `25%`, `12.5%`, `0.25`, or `plan` for none. A bare `1` may mean a
/// hundredth or all, and is refused.
///
/// # Errors
/// [`InvalidDial`] for everything else.
pub fn parse_dial(text: &str) -> Result<Option<Dial>, InvalidDial> {
    if text == "plan" {
        return Ok(None);
    }
    let plain = |digits: &str| {
        let is_plain = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        digits.parse::<f64>().ok().filter(|_| is_plain)
    };
    let share = match text.strip_suffix('%') {
        Some(percent) => plain(percent).map(|percent| percent / 100.0),
        None => plain(text).filter(|_| text == "0" || text.contains('.')),
    };
    match share {
        Some(share) if share <= 1.0 => Ok(Some(Dial::new(share))),
        _ => Err(InvalidDial(text.chars().take(REPEATED_MAX).collect())),
    }
}

impl Dialing {
    /// The dial of this upstream; none: the plan's.
    pub(super) fn of(&self, upstream: &str) -> Option<Dial> {
        let all = self.all.as_ref().map(|(dial, _)| *dial);
        let single = self.single.get(upstream);
        single.map_or(all, |(dial, _)| *dial)
    }

    /// The last word about an upstream counts, a word about all takes back those about single ones.
    pub(super) fn set(&mut self, upstream: Option<&str>, to: Option<Dial>, note: Note) {
        if upstream.is_none() {
            self.single.clear();
        }
        match (upstream, to) {
            (Some(upstream), None) if self.all.is_none() => drop(self.single.remove(upstream)),
            _ => self.put(upstream.map(Into::into), to, note),
        }
    }

    /// The same, whatever is said of others.
    pub(super) fn put(&mut self, upstream: Option<Arc<str>>, to: Option<Dial>, note: Note) {
        match upstream {
            None => self.all = to.map(|to| (to, note)),
            Some(upstream) => drop(self.single.insert(upstream, (to, note))),
        }
    }

    /// Takes this word back, and no other.
    pub(super) fn remove(&mut self, upstream: Option<&str>) {
        match upstream {
            None => self.all = None,
            Some(upstream) => drop(self.single.remove(upstream)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.single.is_empty()
    }

    /// The orders about `region`, which is the one that this is about.
    pub(super) fn list(&self, region: &Arc<str>) -> Vec<Order> {
        let all = self.all.iter();
        let all = all.map(|(dial, note)| Order::dial(region, None, Some(*dial), note));
        let single = self.single.iter();
        let single =
            single.map(|(upstream, (to, note))| Order::dial(region, Some(upstream), *to, note));
        all.chain(single).collect()
    }
}

/// Tells the cells how the region is dialed now; `to` is the word that was given.
pub(super) fn apply(
    (region, to): (&str, Option<Dial>),
    dialing: Option<&Dialing>,
    cells: &[Named<'_>],
    by: &Author,
    events: &Events,
) -> Dialed {
    let mut dialed = Dialed {
        region: region.into(),
        to,
        changed: false,
        upstreams: BTreeMap::new(),
    };
    for named in cells {
        let ordered = dialing.and_then(|dialing| dialing.of(&named.upstream));
        let dial = ordered.unwrap_or(named.spec.dial);
        dialed.upstreams.insert(named.upstream.clone(), dial);
        if named.region.cell.set_dial(ordered) {
            dialed.changed = true;
            events.record(EventKind::Dial {
                upstream: named.upstream.clone(),
                region: region.into(),
                dial: dial.share(),
                operator: ordered.is_some(),
                who: by.who.clone(),
                reason: by.reason.clone(),
            });
        }
    }
    dialed
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::note::Terms;
    use super::*;

    #[test]
    fn dials_are_read_as_people_write_them() {
        let check = |text: &str, expected: Option<f64>| {
            let read = parse_dial(text).unwrap();
            assert_eq!(read, expected.map(Dial::new), "{text}");
        };
        check("25%", Some(0.25));
        check("12.5%", Some(0.125));
        check("0%", Some(0.0));
        check("100%", Some(1.0));
        check("0.25", Some(0.25));
        check("1.0", Some(1.0));
        check("0", Some(0.0));
        check("plan", None);
        let wrong = [
            "", "%", "1", "25", "101%", "1.01", "-1%", "-0.5", "+5%", "1e-1", "inf%", "nan",
            "NaN%", "25 %", "Plan", ".", "1.2.3%",
        ];
        for text in wrong {
            assert!(parse_dial(text).is_err(), "{text}");
        }
        let long = parse_dial(&"9".repeat(10_000)).unwrap_err();
        assert!(long.to_string().len() < 200);
    }

    #[test]
    fn the_last_word_counts_for_whom_it_is_about() {
        let note = || Note::new(&Terms::default(), SystemTime::UNIX_EPOCH);
        let mut dialing = Dialing::default();
        let (half, tenth) = (Some(Dial::new(0.5)), Some(Dial::new(0.1)));
        dialing.set(Some("shop"), half, note());
        assert_eq!((dialing.of("shop"), dialing.of("cart")), (half, None));
        dialing.set(None, tenth, note());
        assert_eq!((dialing.of("shop"), dialing.of("cart")), (tenth, tenth));
        dialing.set(Some("cart"), None, note());
        assert_eq!((dialing.of("shop"), dialing.of("cart")), (tenth, None));
        dialing.set(Some("cart"), half, note());
        assert_eq!(dialing.list(&"eu".into()).len(), 2);
        dialing.remove(None);
        assert_eq!((dialing.of("shop"), dialing.of("cart")), (None, half));
        dialing.set(None, None, note());
        assert!(dialing.is_empty());
        dialing.set(Some("shop"), half, note());
        dialing.set(Some("shop"), None, note());
        assert!(dialing.is_empty());
    }
}
