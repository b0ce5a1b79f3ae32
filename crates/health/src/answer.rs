//! What every way of asking an endpoint gives.

use http::{HeaderMap, HeaderName};
use tidegate_http1::ResponseHead;

/// As much of an answer is read, head and body together, give or take one read. What is longer has
/// told enough, and its connection is not used again.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer that came whole, or as far as it is read.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 200 to 599.
    pub(crate) status: u16,
    /// Its fields.
    pub(crate) head: Head,
    /// What was read of its body, if that was wanted.
    pub(crate) content: Vec<u8>,
    /// Whether the body was read to its end.
    pub(crate) whole: bool,
    /// The fields behind the body, by HTTP/2.
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether the connection can take another request: the endpoint lets it, the answer was read
    /// to its end, and nothing came behind it.
    pub(crate) reusable: bool,
}

/// The fields of an answer, as its protocol keeps them.
#[derive(Debug)]
pub(crate) enum Head {
    Http1(Box<ResponseHead>),
    Http2(HeaderMap),
}

impl Answer {
    /// The values of the field `name`, in the order sent, without the whitespace around them.
    pub(crate) fn values<'a>(
        &'a self,
        name: &'a HeaderName,
    ) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let wanted = name.as_str().as_bytes();
        match &self.head {
            Head::Http1(head) => {
                let same = move |found: &[u8]| found.eq_ignore_ascii_case(wanted);
                let lines = head.fields.iter().filter(move |line| same(line.name));
                Box::new(lines.map(|line| line.value))
            }
            Head::Http2(fields) => {
                let values = fields.get_all(name).iter();
                Box::new(values.map(|value| value.as_bytes().trim_ascii()))
            }
        }
    }
}
