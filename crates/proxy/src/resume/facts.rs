//! What of an answer's head a resume depends on.

use http::{HeaderName, HeaderValue, Method, header};
use tidegate_core::resume::{AnswerFacts, Representation, Transfer};
use tidegate_http1::Known;

use crate::attempt::Answered;
use crate::head::ResponseHead;
use crate::pipeline::Serving;

/// What `answered` promises, if it could be continued elsewhere. Cheap for what is whole already.
pub(crate) fn transfer(serving: &Serving, answered: &Answered) -> Option<Transfer> {
    let rules = &serving.route().resume;
    let asked = rules.enabled
        && *serving.head.method() == Method::GET
        && serving.body.is_empty()
        && !serving.admitted.upgrade;
    if answered.exchange.is_ended()
        || !asked
        || !matches!(answered.head.status().as_u16(), 200 | 206)
    {
        return None;
    }
    let facts = of(&answered.head, rules.last_modified)?;
    Representation::of(rules, &facts).map(Transfer::new)
}

/// The facts of a head; none if a field is there twice that may be there once. `dates`: whether it
/// matters how old the representation is.
pub(super) fn of(head: &ResponseHead, dates: bool) -> Option<AnswerFacts<'_>> {
    let field = |known, name: &HeaderName| only(head, known, name);
    let last_modified = field(Known::LastModified, &header::LAST_MODIFIED)?;
    let settled = match last_modified {
        Some(modified) if dates => {
            let date = field(Known::Date, &header::DATE)?;
            date.is_some_and(|date| is_settled(modified, date))
        }
        _ => false,
    };
    Some(AnswerFacts {
        status: head.status().as_u16(),
        length: head.announced_length(),
        etag: field(Known::ETag, &header::ETAG)?,
        last_modified,
        settled,
        content_range: field(Known::ContentRange, &header::CONTENT_RANGE)?,
        content_encoding: field(Known::ContentEncoding, &header::CONTENT_ENCODING)?,
        accept_ranges: field(Known::AcceptRanges, &header::ACCEPT_RANGES)?,
    })
}

/// Whether a date is strong: a second change within the same second would have been after `date`
/// (RFC 9110 section 8.8.2.2).
fn is_settled(modified: &[u8], date: &[u8]) -> bool {
    let parse = |value| httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok();
    let (Some(modified), Some(date)) = (parse(modified), parse(date)) else {
        return false;
    };
    date.duration_since(modified)
        .is_ok_and(|age| age.as_secs() >= 1)
}

/// The only value of a field; the outer none if there are several.
fn only<'a>(head: &'a ResponseHead, known: Known, name: &HeaderName) -> Option<Option<&'a [u8]>> {
    match head {
        ResponseHead::H1(head) if !head.fields.contains(known) => Some(None),
        ResponseHead::H1(head) => one(head.fields.get_all(known)),
        ResponseHead::H2(parts) => one(parts
            .headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)),
    }
}

fn one<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Option<&'a [u8]>> {
    let first = values.next();
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_strong_a_second_later() {
        let modified = b"Sat, 29 Oct 1994 19:43:31 GMT";
        for (date, settled) in [
            (&b"Sat, 29 Oct 1994 19:43:31 GMT"[..], false),
            (b"Sat, 29 Oct 1994 19:43:32 GMT", true),
            (b"Sat, 29 Oct 1994 19:43:30 GMT", false),
            (b"yesterday", false),
        ] {
            assert_eq!(is_settled(modified, date), settled, "{date:?}");
        }
        assert!(!is_settled(b"now", modified));
    }

    #[test]
    fn a_field_that_is_there_twice_means_nothing() {
        let mut parts = http::Response::new(()).into_parts().0;
        parts
            .headers
            .append(header::ETAG, HeaderValue::from_static("\"a\""));
        let head = |parts: &http::response::Parts| ResponseHead::H2(Box::new(parts.clone()));
        let once = head(&parts);
        assert_eq!(
            of(&once, false).and_then(|facts| facts.etag),
            Some(&b"\"a\""[..])
        );
        parts
            .headers
            .append(header::ETAG, HeaderValue::from_static("\"a\""));
        assert!(of(&head(&parts), false).is_none());
    }
}
