//! One thing that is wrong with a configuration, as data: what tools need to act on it (a stable
//! code, a path, bytes) and what people need (words, a hint). How it looks is `render`'s business.

use crate::span::Span;

/// Longest hint, in characters.
const HELP_MAX: usize = 300;

/// How bad a problem is. Errors refuse the configuration; warnings are shown beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted; somebody should look.
    Warning,
}

/// A second place that explains a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is to be seen there.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable name of the kind of problem, for tools and tests: `unknown_region`.
    pub code: &'static str,
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// One sentence that names the offending value.
    pub message: String,
    /// Where; none when the place is the whole file.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
    /// The key's path: `routes[2].upstream`. Empty when the place is the whole file.
    pub path: String,
    /// Other places that explain it.
    pub related: Vec<Label>,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Problem {
    /// A problem that refuses the configuration.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    /// A problem that only warns.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    fn new(code: &'static str, severity: Severity, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            span: None,
            help: None,
            path: String::new(),
            related: Vec::new(),
        }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// Says what to do. `None` leaves the problem without a hint.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into().map(|help| shortened(&help));
        self
    }

    /// Moves its places by so many bytes.
    pub(crate) fn shift(&mut self, by: usize) {
        let related = self.related.iter_mut().map(|label| &mut label.span);
        for span in self.span.iter_mut().chain(related) {
            span.start += by;
        }
    }

    /// Shows a second place; nothing happens without one.
    #[must_use]
    pub fn label(mut self, span: Option<Span>, text: impl Into<String>) -> Self {
        self.related.extend(span.map(|span| Label {
            span,
            text: text.into(),
        }));
        self
    }
}

/// Hints quote what they correct, which may be as long as the file.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(HELP_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value as it appears in a message: in backticks, on one line, at most 60 characters, control
/// characters escaped, so that a hostile file cannot write to the reader's terminal.
pub(crate) fn quoted(value: &str) -> String {
    if value.is_empty() {
        return "an empty text".to_owned();
    }
    let shown: String = value.chars().take(60).flat_map(printable).collect();
    let cut = if value.chars().nth(60).is_some() {
        "..."
    } else {
        ""
    };
    format!("`{shown}{cut}`")
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escape = c.is_control() || is_invisible(c);
    let escaped = escape.then(|| c.escape_default()).into_iter().flatten();
    escaped.chain((!escape).then_some(c))
}

/// Characters that reorder or hide the text around them (bidirectional controls, zero widths).
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_short_and_harmless() {
        let check = |value: &str, expected: &str| assert_eq!(quoted(value), expected);
        check("", "an empty text");
        check("a b", "`a b`");
        check("\x1b[31mred\n", "`\\u{1b}[31mred\\n`");
        check("a\u{202e}b", "`a\\u{202e}b`");
        check(&"x".repeat(61), &format!("`{}...`", "x".repeat(60)));
        check(&"x".repeat(60), &format!("`{}`", "x".repeat(60)));
    }
}
