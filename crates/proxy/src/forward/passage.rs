//! What every head that passes says of its way: `Via`, and the name of its request.

use super::Sink;
use crate::request_id::RequestId;

/// That a head passes here.
pub(crate) struct Passage<'a> {
    /// The version that it came in, as [`Via`](via_of) has it.
    pub(super) via: &'static str,
    /// What earlier hops said.
    pub(super) earlier: &'a [&'a [u8]],
    /// The name of this hop.
    pub(super) pop: &'a str,
    pub(super) request_id: &'a RequestId,
}

const VIA: &str = "via";
const MARK: &str = ": ";

/// The line of `Via` up to the name of the hop, for a head that came in this version: made of one piece,
/// since nearly every head has it.
pub(super) fn via_of(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "via: 2 ",
        http::Version::HTTP_10 => "via: 1.0 ",
        _ => "via: 1.1 ",
    }
}

impl Passage<'_> {
    /// As whole lines, if no earlier hop is to be named.
    pub(super) fn lines(&self) -> Option<[&[u8]; 5]> {
        self.earlier.is_empty().then(|| {
            [
                self.via.as_bytes(),
                self.pop.as_bytes(),
                b"\r\nx-request-id: ",
                self.request_id.as_bytes(),
                b"\r\n",
            ]
        })
    }

    /// Field by field.
    pub(super) fn write(&self, sink: &mut impl Sink) {
        let version = &self.via[VIA.len() + MARK.len()..];
        let own = [version.as_bytes(), self.pop.as_bytes()];
        super::add_list(sink, VIA.as_bytes(), self.earlier, &own);
        sink.add_unique("x-request-id", self.request_id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn whole_lines_are_what_is_written_field_by_field() {
        for version in [
            http::Version::HTTP_10,
            http::Version::HTTP_11,
            http::Version::HTTP_2,
        ] {
            let id = RequestId::make(&mut fastrand::Rng::with_seed(1));
            let earlier: [&[u8]; 1] = [b"1.0 before"];
            for earlier in [&earlier[..], &[]] {
                let passage = Passage {
                    via: via_of(version),
                    earlier,
                    pop: "pop",
                    request_id: &id,
                };
                let (mut whole, mut fields) = (BytesMut::new(), BytesMut::new());
                whole.add_passage(&passage);
                passage.write(&mut fields);
                assert_eq!(whole, fields, "{version:?}");
            }
        }
    }
}
