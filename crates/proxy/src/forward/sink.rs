//! Where the fields of a head are written: lines of HTTP/1.1, or a `HeaderMap`.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;
use tidegate_http1::{FieldRef, Fields, Known, encode};

use super::client::ClientWords;
use super::passage::Passage;

/// Takes fields.
pub(crate) trait Sink {
    /// Adds a field.
    fn add(&mut self, name: &[u8], value: &[u8]);

    /// Adds a field whose value is made of these parts.
    fn add_parts<'a>(&mut self, name: &[u8], parts: impl Iterator<Item = &'a [u8]> + Clone);

    /// Adds those lines of an HTTP/1.1 head that `keep` keeps.
    fn add_lines<'a>(&mut self, fields: &'a Fields, keep: impl FnMut(FieldRef<'a>) -> bool);

    /// Adds a field whose value is not seen again on this connection, so that no table of
    /// compression should learn it.
    fn add_unique(&mut self, name: &'static str, value: &[u8]);

    /// Adds what is told of a client whose host is this, if there is a shorter way for it than field
    /// by field. False if not.
    fn add_client(&mut self, client: &ClientWords, authority: &[u8]) -> bool;

    /// Adds that a head came through here, and the name of its request.
    fn add_passage(&mut self, passage: &Passage<'_>)
    where
        Self: Sized,
    {
        passage.write(self);
    }

    /// Adds a field of an HTTP/2 head.
    fn add_typed(&mut self, name: &HeaderName, value: &HeaderValue);
}

impl Sink for BytesMut {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        encode::field(self, name, value);
    }

    fn add_parts<'a>(&mut self, name: &[u8], parts: impl Iterator<Item = &'a [u8]> + Clone) {
        encode::field_of_parts(self, name, parts);
    }

    fn add_lines<'a>(&mut self, fields: &'a Fields, keep: impl FnMut(FieldRef<'a>) -> bool) {
        fields.copy_to(self, keep);
    }

    fn add_unique(&mut self, name: &'static str, value: &[u8]) {
        encode::field(self, name.as_bytes(), value);
    }

    fn add_client(&mut self, client: &ClientWords, authority: &[u8]) -> bool {
        self.extend_from_slice(&client.before_host);
        self.extend_from_slice(authority);
        self.extend_from_slice(b"\r\n");
        self.extend_from_slice(&client.before_forwarded_host);
        self.extend_from_slice(authority);
        self.extend_from_slice(b"\"\r\n");
        true
    }

    fn add_passage(&mut self, passage: &Passage<'_>) {
        match passage.lines() {
            Some(lines) => encode::lines(self, lines),
            None => passage.write(self),
        }
    }

    fn add_typed(&mut self, name: &HeaderName, value: &HeaderValue) {
        encode::field(self, name.as_str().as_bytes(), value.as_bytes());
    }
}

impl Sink for HeaderMap {
    /// What a `HeaderMap` cannot hold is left out: the codecs have let nothing else through.
    fn add(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            self.append(name, value);
        }
    }

    fn add_parts<'a>(&mut self, name: &[u8], parts: impl Iterator<Item = &'a [u8]> + Clone) {
        let mut value: SmallVec<[u8; 256]> = SmallVec::new();
        parts.for_each(|part| value.extend_from_slice(part));
        self.add(name, &value);
    }

    fn add_lines<'a>(&mut self, fields: &'a Fields, mut keep: impl FnMut(FieldRef<'a>) -> bool) {
        append_lines(self, fields, &mut keep);
    }

    fn add_client(&mut self, _: &ClientWords, _: &[u8]) -> bool {
        false
    }

    /// Marked as sensitive, which keeps it out of HPACK's table (RFC 7541 section 7.1.3): there it
    /// would push out what repeats.
    fn add_unique(&mut self, name: &'static str, value: &[u8]) {
        if let Ok(mut value) = HeaderValue::from_bytes(value) {
            value.set_sensitive(true);
            self.append(HeaderName::from_static(name), value);
        }
    }

    fn add_typed(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }
}

/// One function for all who keep something: what is called from one place is compiled into it.
fn append_lines<'a>(
    map: &mut HeaderMap,
    fields: &'a Fields,
    keep: &mut dyn FnMut(FieldRef<'a>) -> bool,
) {
    // The codec keeps values for as long as its connection (RFC 7541 section 2.3.2). Did they share the
    // head's own memory, each would keep a whole buffer.
    let copied = fields.copied();
    for (index, field) in fields.iter().enumerate() {
        let value = || copied.value_bytes(index);
        if keep(field)
            && let Some(name) = header_name(field.known, field.name)
            && let Some(Ok(value)) = value().map(HeaderValue::from_maybe_shared)
        {
            map.append(name, value);
        }
    }
}

/// The name as a `HeaderMap` wants it; most need not be parsed again.
fn header_name(known: Known, name: &[u8]) -> Option<HeaderName> {
    Some(match known {
        Known::AcceptRanges => header::ACCEPT_RANGES,
        Known::CacheControl => header::CACHE_CONTROL,
        Known::ContentEncoding => header::CONTENT_ENCODING,
        Known::ContentType => header::CONTENT_TYPE,
        Known::Date => header::DATE,
        Known::ETag => header::ETAG,
        Known::LastModified => header::LAST_MODIFIED,
        Known::Server => header::SERVER,
        Known::SetCookie => header::SET_COOKIE,
        _ => HeaderName::from_bytes(name).ok()?,
    })
}
