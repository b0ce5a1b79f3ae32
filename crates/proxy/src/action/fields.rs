//! Edits of header fields, as heads are written: a sink lets through what is not edited, then what is
//! set and added follows.
//!
//! What may be edited was decided when the plan was compiled; nothing that a connection or its framing
//! needs is among it, nor anything that we say ourselves.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tidegate_core::action::{Template, Word};
use tidegate_core::plan::{Actions, Edit, FieldEdits};
use tidegate_http1::{FieldRef, Fields};

use crate::context::Context;
use crate::forward::{ClientWords, Sink};
use crate::head::RequestHead;
use crate::held::{HeldRoute, HeldUpstream};
use crate::request_id::RequestId;

/// What stands for a word where there is nothing that it could stand for.
const NONE: &str = "none";

/// What values of fields can hold.
pub(crate) struct Words<'a> {
    pub(crate) context: &'a Context,
    pub(crate) head: &'a RequestHead,
    pub(crate) id: &'a RequestId,
    pub(crate) route: &'a HeldRoute,
    pub(crate) upstream: Option<&'a HeldUpstream>,
    pub(crate) region: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn of(&self, word: &Word) -> &'a str {
        match word {
            Word::ClientAddress => self.context.words.address(),
            Word::RequestId => self.id.as_str(),
            Word::RequestHost => self.head.authority(),
            Word::RequestPath => {
                let target = self.head.path_and_query();
                target.split('?').next().unwrap_or_default()
            }
            Word::RequestScheme => super::scheme(self.context),
            Word::Route => &self.route.route.name,
            Word::Upstream => self.upstream.map_or(NONE, |upstream| &upstream.wanted.name),
            Word::Region => self.region.unwrap_or(NONE),
            Word::Pop => &self.route.pop,
        }
    }

    /// Writes what is set and added.
    pub(crate) fn write(&self, edits: &FieldEdits, sink: &mut impl Sink) {
        for edit in edits.written() {
            let parts = edit.value.parts(|word| self.of(word));
            let name = edit.name.as_str().as_bytes();
            sink.add_parts(name, parts.map(str::as_bytes));
        }
    }

    fn value(&self, template: &Template<Word>) -> Option<HeaderValue> {
        let text: String = template.parts(|word| self.of(word)).collect();
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }

    /// Fields with their values filled in. One whose value cannot be one is left out.
    pub(crate) fn fill<'e>(
        &self,
        edits: impl Iterator<Item = &'e Edit>,
    ) -> Box<[(HeaderName, HeaderValue)]> {
        let filled = edits.filter_map(|edit| Some((edit.name.clone(), self.value(&edit.value)?)));
        filled.collect()
    }

    /// The edits of an answer, if there are any.
    pub(crate) fn of_answer(&self) -> Option<Box<AnswerEdits>> {
        let actions = self.route.route.actions.as_ref()?;
        let edits = &actions.response;
        (!edits.is_empty()).then(|| {
            Box::new(AnswerEdits {
                actions: actions.clone(),
                written: self.fill(edits.written()),
            })
        })
    }
}

/// What is edited of an answer. It outlasts the request, but not what the request held.
pub(crate) struct AnswerEdits {
    actions: Arc<Actions>,
    /// What is set and added.
    written: Box<[(HeaderName, HeaderValue)]>,
}

impl AnswerEdits {
    /// The edits themselves.
    pub(crate) fn edits(&self) -> &FieldEdits {
        &self.actions.response
    }

    /// Writes what is set and added. Of an answer that says what went wrong, what it says of its own
    /// content stays: `says_wrong`.
    pub(crate) fn write(&self, says_wrong: bool, sink: &mut impl Sink) {
        for (name, value) in &self.written {
            if !says_wrong || !is_of_content(name.as_str().as_bytes()) {
                sink.add_typed(name, value);
            }
        }
    }
}

/// Whether a field tells of an answer's content and for how long it holds: an edit of it is meant for
/// the service's answers, and would make a lie, or a lasting one, of a problem document.
fn is_of_content(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"accept-ranges",
        b"age",
        b"cache-control",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"retry-after",
    ];
    let prefix = name.get(..8).unwrap_or_default();
    prefix.eq_ignore_ascii_case(b"content-")
        || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A sink for what is not edited.
pub(crate) struct Edited<'s, S> {
    pub(crate) sink: &'s mut S,
    pub(crate) edits: &'s FieldEdits,
    /// What tells of the content passes, whatever is edited.
    pub(crate) says_wrong: bool,
}

impl<S> Edited<'_, S> {
    fn drops(&self, name: &[u8]) -> bool {
        let kept = self.says_wrong && is_of_content(name);
        !kept && self.edits.drops(name)
    }
}

impl<S: Sink> Sink for Edited<'_, S> {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        if !self.drops(name) {
            self.sink.add(name, value);
        }
    }

    fn add_parts<'a>(&mut self, name: &[u8], parts: impl Iterator<Item = &'a [u8]> + Clone) {
        if !self.drops(name) {
            self.sink.add_parts(name, parts);
        }
    }

    fn add_lines<'a>(&mut self, fields: &'a Fields, mut keep: impl FnMut(FieldRef<'a>) -> bool) {
        let edits = self.edits;
        // `keep` notes what it sees, so that it must see everything.
        self.sink.add_lines(fields, |field| {
            let dropped = edits.drops(field.name);
            keep(field) && !dropped
        });
    }

    fn add_unique(&mut self, name: &'static str, value: &[u8]) {
        self.sink.add_unique(name, value);
    }

    fn add_client(&mut self, client: &ClientWords, authority: &[u8]) -> bool {
        self.sink.add_client(client, authority)
    }

    fn add_typed(&mut self, name: &HeaderName, value: &HeaderValue) {
        if !self.drops(name.as_str().as_bytes()) {
            self.sink.add_typed(name, value);
        }
    }
}

/// The edits of requests, if there are any.
pub(crate) fn of_requests(acts: Option<&Rc<super::Acts>>) -> Option<&FieldEdits> {
    let edits = acts.map(|acts| &acts.actions.request)?;
    (!edits.is_empty()).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_tells_of_its_own_content() {
        for name in ["Content-Type", "content-language", "cache-control", "etag"] {
            assert!(is_of_content(name.as_bytes()), "{name}");
        }
        for name in ["content", "strict-transport-security", "vary", "set-cookie"] {
            assert!(!is_of_content(name.as_bytes()), "{name}");
        }
    }
}
