//! A request for a part, in the place of what its client asked for.

use http::HeaderName;
use tidegate_core::resume::{Representation, Span};
use tidegate_http1::{FieldRef, Fields, Known};

use crate::forward::{ClientWords, Sink};

/// The part of a representation that a request asks for instead of what its client asked for.
pub(crate) struct Part {
    range: String,
    if_range: Box<[u8]>,
}

impl Part {
    /// The bytes of `span`, as long as they are of `what`.
    pub(super) fn of(what: &Representation, span: Span) -> Box<Self> {
        Box::new(Self {
            range: format!("bytes={}-{}", span.first, span.last),
            if_range: what.validator().into(),
        })
    }

    /// Writes its fields.
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        sink.add(b"range", self.range.as_bytes());
        sink.add(b"if-range", &self.if_range);
    }
}

/// Leaves out what would make a request for a part conditional on anything else: the client's own
/// conditions were met when its answer began.
pub(crate) struct Unconditional<'s, S>(pub(crate) &'s mut S);

impl<S: Sink> Sink for Unconditional<'_, S> {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        if !is_conditional(name) {
            self.0.add(name, value);
        }
    }

    fn add_parts<'a>(&mut self, name: &[u8], parts: impl Iterator<Item = &'a [u8]> + Clone) {
        self.0.add_parts(name, parts);
    }

    fn add_lines<'a>(&mut self, fields: &'a Fields, mut keep: impl FnMut(FieldRef<'a>) -> bool) {
        self.0
            .add_lines(fields, |field| !is_conditional(field.name) && keep(field));
    }

    fn add_unique(&mut self, name: &'static str, value: &[u8]) {
        self.0.add_unique(name, value);
    }

    fn add_client(&mut self, client: &ClientWords, authority: &[u8]) -> bool {
        self.0.add_client(client, authority)
    }

    fn add_typed(&mut self, name: &HeaderName, value: &http::HeaderValue) {
        if !is_conditional(name.as_str().as_bytes()) {
            self.0.add_typed(name, value);
        }
    }
}

/// Whether a field asks for a part, or makes the answer depend on the state of what is asked for
/// (RFC 9110 sections 13.1 and 14.2).
fn is_conditional(name: &[u8]) -> bool {
    const BY_NAME: [&[u8]; 4] = [
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
    ];
    match Known::of(name) {
        Known::Range | Known::IfRange => true,
        Known::Other => BY_NAME.iter().any(|own| own.eq_ignore_ascii_case(name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_conditional;

    #[test]
    fn ranges_and_conditions_are_known_in_any_case() {
        for name in ["range", "If-Range", "if-none-match", "IF-MODIFIED-SINCE"] {
            assert!(is_conditional(name.as_bytes()), "{name}");
        }
        for name in ["accept", "accept-encoding", "if-modified", "cookie", "host"] {
            assert!(!is_conditional(name.as_bytes()), "{name}");
        }
    }
}
