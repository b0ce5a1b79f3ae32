//! Who gave an order, why, since when and until when.
//!
//! Moments are those of the wall clock, because they have to mean the same after a restart. A clock
//! that is set moves them; nothing else does.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::origin::Author;

/// Under which terms an order is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who gives it, and why.
    pub author: Author,
    /// After how long it is taken back by itself; none: never.
    pub lasts: Option<Duration>,
}

/// What is known of an order besides what is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    #[serde(flatten)]
    pub(crate) author: Author,
    #[serde(with = "millis", rename = "since_ms")]
    pub(crate) since: SystemTime,
    #[serde(with = "maybe_millis", rename = "expires_ms")]
    pub(crate) expires: Option<SystemTime>,
}

impl From<Author> for Terms {
    fn from(author: Author) -> Self {
        Self {
            author,
            lasts: None,
        }
    }
}

impl Note {
    /// An order that is given now.
    pub(super) fn new(terms: &Terms, now: SystemTime) -> Self {
        Self {
            author: terms.author.clone(),
            since: now,
            expires: terms.lasts.map(|lasts| now + lasts),
        }
    }

    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Whole seconds until then, one begun counted; 0 when it is over.
pub(crate) fn seconds_until(then: SystemTime, now: SystemTime) -> u64 {
    let left = then.duration_since(now).unwrap_or_default();
    // One that has just begun has all of its time left.
    left.as_secs_f64().ceil() as u64
}

/// Milliseconds since 1970.
fn to_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    millis.try_into().unwrap_or(u64::MAX)
}

/// No clock tells more than 2^52 (the year 144,000); what says so may be anything.
fn of_millis(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.min(1 << 52))
}

mod millis {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(super::to_millis(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(of: D) -> Result<SystemTime, D::Error> {
        u64::deserialize(of).map(super::of_millis)
    }
}

/// The same for a moment that may not be.
pub(super) mod maybe_millis {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(super::to_millis).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        of: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<u64>::deserialize(of)?.map(super::of_millis))
    }
}
