//! Whether an answer is the one that a probe wants.

use http::HeaderName;
use memchr::memmem;
use tidegate_core::plan::HttpProbe;

use crate::answer::Answer;
use crate::error::ProbeError;
use crate::show::shown;

/// Whether the content of answers has to be kept for `probe`.
pub(crate) fn needs_content(probe: &HttpProbe) -> bool {
    probe.expect_body.is_some() || crate::extract::needs_content(&probe.extract)
}

/// Compares `answer` with what `probe` expects.
///
/// # Errors
/// The first thing that is otherwise.
pub(crate) fn meets(probe: &HttpProbe, answer: &Answer) -> Result<(), ProbeError> {
    let status = answer.status;
    let is_in = |(low, high): &(u16, u16)| (*low..=*high).contains(&status);
    if !probe.expect.iter().any(is_in) {
        return Err(ProbeError::Status(status));
    }
    for (name, expected) in &probe.expect_headers {
        has_field(answer, name, expected)?;
    }
    match &probe.expect_body {
        Some(expected) => has_content(answer, expected),
        None => Ok(()),
    }
}

fn has_field(answer: &Answer, name: &HeaderName, expected: &str) -> Result<(), ProbeError> {
    let mut values = answer.values(name).peekable();
    let Some(first) = values.peek().map(|value| shown(value)) else {
        return Err(ProbeError::Content(format!("it has no field `{name}`")));
    };
    if values.any(|value| value == expected.as_bytes()) {
        return Ok(());
    }
    let expected = shown(expected.as_bytes());
    let problem = format!("its field `{name}` is {first}, not {expected}");
    Err(ProbeError::Content(problem))
}

fn has_content(answer: &Answer, expected: &str) -> Result<(), ProbeError> {
    if memmem::find(&answer.content, expected.as_bytes()).is_some() {
        return Ok(());
    }
    let (found, expected) = (shown(&answer.content), shown(expected.as_bytes()));
    let problem = match answer.whole {
        true => format!("its body does not contain {expected}: {found}"),
        false => format!("as far as its body is read, {expected} is not in it: {found}"),
    };
    Err(ProbeError::Content(problem))
}
