//! Regular expressions over bytes of requests, in linear time.
//!
//! They are searched for anywhere unless they are anchored (`^`, `$`), and know no Unicode: `\d` is
//! `[0-9]`, `(?i)` folds ASCII, because that is what paths and fields are made of. Both the text and the
//! automaton are bounded, so that no file can make a pattern that costs more than a look at each byte.
//! The engine keeps scratch memory for each thread that searches: made at its first search, then reused.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use regex_automata::Input;
use regex_automata::meta::{self, BuildError};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;

use super::captures::{CAPTURES_MAX, Captures};

/// Longest text of a pattern, in bytes.
pub const PATTERN_MAX: usize = 1024;

/// Largest automaton. A hundred repetitions of a small class fit; a thousand of a large one do not.
const AUTOMATON_BYTES_MAX: usize = 64 * 1024;

/// Scratch memory that a thread keeps for a pattern, at most.
const SCRATCH_BYTES_MAX: usize = 128 * 1024;

/// Deepest nesting of groups and classes.
const DEPTH_MAX: u32 = 50;

/// A regular expression. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: meta::Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The text is longer than [`PATTERN_MAX`].
    #[error("longer than {PATTERN_MAX} bytes")]
    TooLong,
    /// It would need too large an automaton.
    #[error("too large once its repetitions are written out")]
    TooLarge,
    /// More groups than captures are kept.
    #[error("more than {CAPTURES_MAX} groups")]
    TooManyGroups,
    /// It breaks the grammar.
    #[error("{reason}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// Where, in bytes of the text.
        at: Range<usize>,
    },
}

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > PATTERN_MAX {
            return Err(InvalidPattern::TooLong);
        }
        let regex = meta::Regex::builder()
            .configure(config())
            .syntax(
                syntax::Config::new()
                    .unicode(false)
                    .utf8(false)
                    .nest_limit(DEPTH_MAX),
            )
            .build(text)
            .map_err(|error| invalid(&error))?;
        if regex.captures_len() > CAPTURES_MAX + 1 {
            return Err(InvalidPattern::TooManyGroups);
        }
        Ok(Self {
            text: text.into(),
            regex,
        })
    }

    /// What was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is found anywhere in `bytes`.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }

    /// How many groups it has, and their names, in order; unnamed ones have none.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        let names = self.regex.group_info().pattern_names(Default::default());
        let names: arrayvec::ArrayVec<_, CAPTURES_MAX> = names.skip(1).take(CAPTURES_MAX).collect();
        names.into_iter()
    }

    /// Where it is found first in `text`, and what its groups hold; those that took no part hold
    /// nothing. None: it is not found.
    pub fn find<'a>(&'a self, text: &'a str) -> Option<(Range<usize>, Captures<'a>)> {
        let mut slots: [Option<NonMaxUsize>; 2 * (CAPTURES_MAX + 1)] = [None; _];
        self.regex.search_slots(&Input::new(text), &mut slots)?;
        let range = |at: usize| Some(slots[2 * at]?.get()..slots[2 * at + 1]?.get());
        let mut captures = Captures::default();
        for (at, name) in self.groups().enumerate() {
            let value = range(at + 1).and_then(|range| text.get(range));
            captures.push(name, value.unwrap_or_default());
        }
        Some((range(0)?, captures))
    }
}

fn config() -> meta::Config {
    meta::Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .onepass_size_limit(Some(AUTOMATON_BYTES_MAX))
        .hybrid_cache_capacity(SCRATCH_BYTES_MAX)
}

fn invalid(error: &BuildError) -> InvalidPattern {
    use regex_syntax::Error;
    let (reason, span) = match error.syntax_error() {
        Some(Error::Parse(error)) => (error.kind().to_string(), error.span()),
        Some(Error::Translate(error)) => (error.kind().to_string(), error.span()),
        _ => return InvalidPattern::TooLarge,
    };
    InvalidPattern::Syntax {
        reason,
        at: span.start.offset..span.end.offset,
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for_in_bytes() {
        let check = |text: &str, bytes: &[u8], expected: bool| {
            let pattern = Pattern::new(text).unwrap();
            assert_eq!(pattern.is_match(bytes), expected, "{text} {bytes:?}");
        };
        check("b", b"abc", true);
        check("^b", b"abc", false);
        check("^$", b"", true);
        check(r"^\d+$", b"123", true);
        check(r"^\d+$", "\u{663}".as_bytes(), false);
        check(r"(?i)^GOLD$", b"gOLd", true);
        check("^.$", b"\xff", true);
    }

    #[test]
    fn groups_are_captured_by_number_and_name() {
        let pattern = Pattern::new("/v([0-9]+)/(?P<item>[^/]*)(x)?").unwrap();
        assert!(pattern.groups().eq([None, Some("item"), None]));
        let (range, captures) = pattern.find("/api/v12/shoe/7").unwrap();
        assert_eq!(range, 4..13);
        let values = ["1", "2", "item", "3", "4"].map(|name| captures.get(name));
        let expected = [Some("12"), Some("shoe"), Some("shoe"), Some(""), None];
        assert_eq!(values, expected);
        assert!(pattern.find("/api").is_none());
    }

    #[test]
    fn what_is_no_pattern_says_where() {
        let at = |text: &str| match Pattern::new(text) {
            Err(InvalidPattern::Syntax { at, .. }) => at,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(at("^/a(b"), 3..4);
        assert_eq!(at("a[z-a]"), 2..5);
        assert_eq!(at(r"\pL"), 0..3);
        let refused = |text: &str| Pattern::new(text).unwrap_err();
        assert_eq!(refused(&"a".repeat(1025)), InvalidPattern::TooLong);
        assert_eq!(refused("(a{100}){100}"), InvalidPattern::TooLarge);
        assert_eq!(refused(&"(a)".repeat(17)), InvalidPattern::TooManyGroups);
        assert!(Pattern::new(&"(a)".repeat(16)).is_ok());
        assert!(matches!(
            refused(&"(".repeat(500)),
            InvalidPattern::Syntax { .. }
        ));
        assert!(Pattern::new(r"^([a-z0-9-]{1,63}\.){1,4}example\.com$").is_ok());
    }
}
