//! Who or what brought about a change, and why: kept with every generation and every order.
//!
//! What comes from outside is a claim, not a proof: the admin listener has no authentication, so a name
//! here tells colleagues whom to ask and nothing more. It ends up on terminals and in logs, so it is
//! short and has nothing in it that a terminal would obey.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most characters of a name.
pub(crate) const WHO_CHARS_MAX: usize = 100;
/// Most characters of a reason.
pub(crate) const REASON_CHARS_MAX: usize = 500;
/// Who did it, if nobody says.
const UNKNOWN: &str = "unknown";
/// Who did it, if nobody did.
const ITSELF: &str = "tidegate";

/// What made the process take a configuration, or try to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The start of the process.
    Start,
    /// A watched file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Api,
    /// A candidate was activated, by somebody or under its limits.
    Candidate,
    /// `POST /rollback`.
    Rollback,
    /// It did worse than the one before, within its watch.
    AutomaticRollback,
}

/// Who does something, and why, as they say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// A name like `ann@edge-1`; `unknown` when nobody said.
    pub who: Arc<str>,
    /// In their words.
    #[serde(default)]
    pub reason: Option<Arc<str>>,
}

/// Where a generation comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What brought it.
    pub cause: Cause,
    /// Who did; `tidegate` when nobody but the process itself had a part in it.
    pub who: Arc<str>,
    /// Why, as they said.
    #[serde(default)]
    pub reason: Option<Arc<str>>,
}

/// What cannot be a name or a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthor {
    /// Too long.
    #[error("{what} has at most {chars_max} characters")]
    Long {
        /// Which of the two.
        what: &'static str,
        /// How long it may be.
        chars_max: usize,
    },
    /// Not text, or text that a terminal would obey.
    #[error("{what} is one line of printable text in UTF-8")]
    Unprintable {
        /// Which of the two.
        what: &'static str,
    },
}

impl Cause {
    /// The word for events, logs and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Candidate => "candidate",
            Self::Rollback => "rollback",
            Self::AutomaticRollback => "automatic_rollback",
        }
    }

    /// Whether it goes back to a generation that has served before.
    pub fn is_rollback(self) -> bool {
        matches!(self, Self::Rollback | Self::AutomaticRollback)
    }
}

impl From<Cause> for Origin {
    fn from(cause: Cause) -> Self {
        Self::itself(cause)
    }
}

impl Default for Author {
    fn default() -> Self {
        Self {
            who: UNKNOWN.into(),
            reason: None,
        }
    }
}

impl Author {
    /// Takes what somebody says of himself. Empty is as good as nothing.
    ///
    /// # Errors
    /// [`InvalidAuthor`] when it is too long or not printable.
    pub fn new(who: Option<&[u8]>, reason: Option<&[u8]>) -> Result<Self, InvalidAuthor> {
        let who = who.map_or(Ok(None), |who| text("a name", who, WHO_CHARS_MAX))?;
        let reason = reason.map_or(Ok(None), |why| text("a reason", why, REASON_CHARS_MAX))?;
        Ok(Self {
            who: who.unwrap_or_else(|| UNKNOWN.into()),
            reason,
        })
    }
}

impl Author {
    /// Nobody but the process itself, for this reason.
    pub(crate) fn itself(reason: &str) -> Self {
        Self {
            who: ITSELF.into(),
            reason: Some(reason.into()),
        }
    }
}

impl Origin {
    /// What the process does of itself, or what it cannot know who did: a start, a file, a signal.
    pub fn itself(cause: Cause) -> Self {
        Self {
            cause,
            who: ITSELF.into(),
            reason: None,
        }
    }

    /// What `author` does.
    pub fn by(cause: Cause, author: Author) -> Self {
        Self {
            cause,
            who: author.who,
            reason: author.reason,
        }
    }

    /// The same, with why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

/// `api by ann@edge-1: more room for eu-west`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.as_str())?;
        if *self.who != *ITSELF {
            write!(f, " by {}", self.who)?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

fn text(
    what: &'static str,
    bytes: &[u8],
    chars_max: usize,
) -> Result<Option<Arc<str>>, InvalidAuthor> {
    let text = std::str::from_utf8(bytes).map_err(|_| InvalidAuthor::Unprintable { what })?;
    let text = text.trim();
    if text.chars().any(is_obeyed) {
        return Err(InvalidAuthor::Unprintable { what });
    }
    match text.chars().count() {
        0 => Ok(None),
        chars if chars > chars_max => Err(InvalidAuthor::Long { what, chars_max }),
        _ => Ok(Some(text.into())),
    }
}

/// Controls, and what turns the direction of text around (UAX 9).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_printable_text_is_taken() {
        let check = |who: &str, expected: Result<&str, InvalidAuthor>| {
            let author = Author::new(Some(who.as_bytes()), None);
            let found = author.as_ref().map(|author| &*author.who);
            assert_eq!(found.map_err(|error| *error), expected, "{who:?}");
        };
        let what = "a name";
        check("ann@edge-1", Ok("ann@edge-1"));
        check(" Ännchen ", Ok("Ännchen"));
        check("", Ok("unknown"));
        check("a\x1b[2Jb", Err(InvalidAuthor::Unprintable { what }));
        check("a\nb", Err(InvalidAuthor::Unprintable { what }));
        check("a\u{202e}b", Err(InvalidAuthor::Unprintable { what }));
        check(&"x".repeat(100), Ok(&"x".repeat(100)));
        let chars_max = WHO_CHARS_MAX;
        check(
            &"x".repeat(101),
            Err(InvalidAuthor::Long { what, chars_max }),
        );
        let broken = Author::new(None, Some(b"\xff"));
        assert_eq!(broken, Err(InvalidAuthor::Unprintable { what: "a reason" }));
    }

    #[test]
    fn an_origin_reads_like_a_sentence() {
        let check = |origin: Origin, expected: &str| assert_eq!(origin.to_string(), expected);
        check(Origin::itself(Cause::Start), "start");
        let author = Author::new(Some(b"ann"), Some(b"more room")).unwrap();
        check(Origin::by(Cause::Api, author), "api by ann: more room");
        let why = Origin::itself(Cause::AutomaticRollback).because("too slow");
        check(why, "automatic_rollback: too slow");
    }
}
