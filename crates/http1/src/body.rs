//! Takes the framing off a body, without touching its data.
//!
//! The caller shows the unread bytes and is told how many to skip and how many to take, so that
//! a large body can go from one socket to the other without passing through here.

use crate::chunked::{Chunks, Stop};
use crate::error::{BodyError, FieldError};
use crate::fields::Fields;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::scan::Scanner;
use crate::trailers;

/// Reads one body. Make a new one for every message.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
}

/// What the front of the input is. `skip` bytes of framing come first and must be dropped.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// Nothing more can be said: drop `skip` bytes, keep the rest, and call again with more.
    More {
        /// Bytes of framing to drop.
        skip: usize,
    },
    /// After `skip` bytes come `len` bytes of data (never 0), to be dropped as well once taken.
    Data {
        /// Bytes of framing to drop.
        skip: usize,
        /// Bytes of data behind them.
        len: usize,
    },
    /// The body is over and had trailers; `skip` covers them.
    Trailers {
        /// Bytes of framing to drop, up to the end of the message.
        skip: usize,
        /// The trailer fields. None of them frames, routes or authorises. Boxed, since an event
        /// is returned for every piece of data and this one hardly ever.
        fields: Box<Fields>,
    },
    /// The body is over, without trailers. Said again at every further call, with `skip` 0.
    End {
        /// Bytes of framing to drop, up to the end of the message.
        skip: usize,
    },
}

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLines(Chunks),
    ChunkData(Chunks, u64),
    Trailers(Scanner),
    Done,
}

impl BodyDecoder {
    /// A decoder at the first byte after the head.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLines(Chunks::new(limits)),
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            limits: *limits,
        }
    }

    /// Says what the front of `input`, all bytes that are not dropped yet, is. It never asks for
    /// more than one trailer section (see [`Limits::trailer_bytes`]) to be kept.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        match self.state {
            State::Done | State::Length(0) => Ok(Decoded::End { skip: 0 }),
            State::UntilClose if input.is_empty() => Ok(Decoded::More { skip: 0 }),
            State::UntilClose => Ok(Decoded::Data {
                skip: 0,
                len: input.len(),
            }),
            State::Length(left) => Ok(self.length(left, input)),
            State::ChunkLines(chunks) => self.chunk_lines(chunks, input),
            State::ChunkData(chunks, left) => Ok(self.chunk_data(chunks, left, 0, input)),
            State::Trailers(scanner) => self.trailers(scanner, 0, input),
        }
    }

    /// Whether no further byte belongs to the body.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Length(0))
    }

    /// How many bytes of data are still to come; `None` if only the body itself will tell.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Judges the end of the connection at this point: fine after the body, and for a body that
    /// ends so.
    pub fn on_eof(&self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose => Ok(()),
            _ if self.is_done() => Ok(()),
            _ => Err(BodyError::Truncated),
        }
    }

    fn length(&mut self, left: u64, input: &[u8]) -> Decoded {
        if input.is_empty() {
            return Decoded::More { skip: 0 };
        }
        let len = at_most(left, input.len());
        self.state = State::Length(left - len as u64);
        Decoded::Data { skip: 0, len }
    }

    fn chunk_lines(&mut self, mut chunks: Chunks, input: &[u8]) -> Result<Decoded, BodyError> {
        for (at, &b) in input.iter().enumerate() {
            match chunks.step(b)? {
                None => {}
                Some(Stop::Data(size)) => {
                    return Ok(self.chunk_data(chunks, size, at + 1, input));
                }
                Some(Stop::Trailers) => {
                    return self.trailers(Scanner::default(), at + 1, input);
                }
            }
        }
        self.state = State::ChunkLines(chunks);
        Ok(Decoded::More { skip: input.len() })
    }

    fn chunk_data(&mut self, mut chunks: Chunks, left: u64, skip: usize, input: &[u8]) -> Decoded {
        let len = at_most(left, input.len() - skip);
        let left = left - len as u64;
        self.state = if left == 0 {
            chunks.data_ended();
            State::ChunkLines(chunks)
        } else {
            State::ChunkData(chunks, left)
        };
        if len == 0 {
            Decoded::More { skip }
        } else {
            Decoded::Data { skip, len }
        }
    }

    fn trailers(
        &mut self,
        mut scanner: Scanner,
        skip: usize,
        input: &[u8],
    ) -> Result<Decoded, BodyError> {
        let rest = &input[skip..];
        let window = &rest[..rest.len().min(self.limits.trailer_bytes)];
        match scanner.advance(window).map_err(BodyError::Trailers)? {
            Some(end) => self.ended(skip, &window[..end]),
            None if window.len() == self.limits.trailer_bytes => {
                Err(BodyError::Trailers(FieldError::TooLarge))
            }
            None => {
                self.state = State::Trailers(scanner);
                Ok(Decoded::More { skip })
            }
        }
    }

    fn ended(&mut self, skip: usize, section: &[u8]) -> Result<Decoded, BodyError> {
        self.state = State::Done;
        let skip = skip + section.len();
        if section == b"\r\n" {
            return Ok(Decoded::End { skip });
        }
        let fields = Box::new(trailers::parse(section, &self.limits)?);
        Ok(Decoded::Trailers { skip, fields })
    }
}

/// The smaller of both, which fits `usize` since `available` does.
fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, trailers as `name=value;`, and how much of the input belonged to the body.
    type Read = (String, String, usize);

    fn read(framing: Framing, input: &[u8], limits: &Limits) -> Result<Read, BodyError> {
        let mut decoder = BodyDecoder::new(framing, limits);
        let (mut data, mut trailers, mut at) = (Vec::new(), String::new(), 0);
        loop {
            match decoder.decode(&input[at..])? {
                Decoded::Data { skip, len } => {
                    at += skip;
                    data.extend_from_slice(&input[at..at + len]);
                    at += len;
                }
                Decoded::Trailers { skip, fields } => {
                    at += skip;
                    for field in fields.iter() {
                        let text = String::from_utf8_lossy;
                        trailers += &format!("{}={};", text(field.name), text(field.value));
                    }
                }
                Decoded::More { .. } => {
                    decoder.on_eof()?;
                    break;
                }
                Decoded::End { skip } => {
                    at += skip;
                    break;
                }
            }
        }
        let data = String::from_utf8_lossy(&data).into_owned();
        Ok((data, trailers, at))
    }

    /// Reads `input` and then foreign bytes, which must be left alone.
    #[track_caller]
    fn accept(framing: Framing, input: &str, data: &str, trailers: &str) {
        let followed = format!("{input}GET /");
        let result = read(framing, followed.as_bytes(), &Limits::default());
        let expected = (data.to_owned(), trailers.to_owned(), input.len());
        assert_eq!(result, Ok(expected), "{input:?}");
    }

    #[track_caller]
    fn refuse(input: impl AsRef<[u8]>, reason: &str) {
        let shown = String::from_utf8_lossy(input.as_ref());
        match read(Framing::Chunked, input.as_ref(), &Limits::default()) {
            Err(error) => assert_eq!(error.reason(), reason, "{shown:?}"),
            Ok(read) => panic!("{shown:?} was taken: {read:?}"),
        }
    }

    #[test]
    fn lengths_are_counted() {
        accept(Framing::None, "", "", "");
        accept(Framing::Length(0), "", "", "");
        accept(Framing::Length(5), "hello", "hello", "");
        let limits = Limits::default();
        assert_eq!(
            read(Framing::Length(6), b"hello", &limits),
            Err(BodyError::Truncated)
        );
        let all = read(Framing::UntilClose, b"hello", &limits);
        assert_eq!(all, Ok(("hello".to_owned(), String::new(), 5)));
    }

    #[test]
    fn what_is_left_is_told() {
        let limits = Limits::default();
        let mut decoder = BodyDecoder::new(Framing::Length(5), &limits);
        assert_eq!((decoder.remaining(), decoder.is_done()), (Some(5), false));
        assert!(matches!(
            decoder.decode(b"abc"),
            Ok(Decoded::Data { skip: 0, len: 3 })
        ));
        assert_eq!(
            (decoder.remaining(), decoder.on_eof()),
            (Some(2), Err(BodyError::Truncated))
        );
        assert!(matches!(
            decoder.decode(b"defg"),
            Ok(Decoded::Data { skip: 0, len: 2 })
        ));
        assert_eq!((decoder.is_done(), decoder.on_eof()), (true, Ok(())));
        assert!(matches!(
            decoder.decode(b"fg"),
            Ok(Decoded::End { skip: 0 })
        ));
        let chunked = BodyDecoder::new(Framing::Chunked, &limits);
        assert_eq!((chunked.remaining(), chunked.is_done()), (None, false));
        assert!(BodyDecoder::new(Framing::None, &limits).is_done());
        assert_eq!(
            BodyDecoder::new(Framing::UntilClose, &limits).remaining(),
            None
        );
    }

    #[test]
    fn chunks_come_out_as_data() {
        let check = |input: &str, data: &str| accept(Framing::Chunked, input, data, "");
        check("0\r\n\r\n", "");
        check("5\r\nhello\r\n0\r\n\r\n", "hello");
        check("1\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n", "a0123456789");
        check("0000000000000001\r\na\r\n0\r\n\r\n", "a");
        check("2\r\n\r\n\r\n0\r\n\r\n", "\r\n");
        check("1;a\r\nx\r\n0;b=c\r\n\r\n", "x");
        check(
            "1 ;\ta = b ; c=\"d;\\\"\te\u{e9}\" ;f\r\nx\r\n0\r\n\r\n",
            "x",
        );
        check("1;a=\"\"\r\nx\r\n0\r\n\r\n", "x");
    }

    #[test]
    fn trailers_come_last() {
        let check = |input: &str, trailers: &str| accept(Framing::Chunked, input, "", trailers);
        check("0\r\nGrpc-Status: 0\r\n\r\n", "Grpc-Status=0;");
        check("0\r\na:1\r\nB:\t2 \r\na:\r\n\r\n", "a=1;B=2;a=;");
    }

    #[test]
    fn chunk_lines_are_held_to_their_grammar() {
        for size in [
            "",
            "g",
            "-1",
            "+1",
            "0x1",
            " 1",
            "1_0",
            "1.",
            "\u{ff11}",
            "00000000000000001",
        ] {
            refuse(format!("{size}\r\n"), "chunk_size_invalid");
        }
        refuse("\n", "chunk_size_invalid");
        refuse(";a\r\n", "chunk_size_invalid");
        refuse("ffffffffffffffff\r\n", "chunk_size_too_large");
        refuse("8000000000000000\r\n", "chunk_size_too_large");
        refuse("11111111111111111\r\n", "chunk_size_invalid");
        let odd = [
            "1 ", "1\t", "1;", "1; ", "1;a=", "1;=b", "1;a b", "1;a=\"b", "1 a", "1;a;", "1;a ",
        ];
        let more = [
            "1;a=b c",
            "1;a=\"b\"c",
            "1;a=b ",
            "1;a=\"\\\x01\"",
            "1;a=\0",
            "1;\u{e9}",
            "1;a==b",
        ];
        for line in odd.iter().chain(&more) {
            refuse(
                format!("{line}\r\nx\r\n0\r\n\r\n"),
                "chunk_extension_invalid",
            );
        }
        refuse("1\nx\r\n", "chunk_line_end");
        refuse("1\rx", "chunk_line_end");
        refuse("1;a\nx\r\n", "chunk_line_end");
        refuse("1;a=\"\n\"\r\nx\r\n", "chunk_line_end");
        refuse("1;a\rb\r\n", "chunk_line_end");
        for end in ["y", "\n", "\rx", "0\r\n"] {
            refuse(format!("1\r\nx{end}"), "chunk_data_end");
        }
        for cut in [
            "",
            "1",
            "1\r",
            "1\r\n",
            "1\r\nx",
            "1\r\nx\r\n0\r\n",
            "0\r\na: b\r\n",
            "1;a",
        ] {
            refuse(cut, "body_truncated");
        }
    }

    #[test]
    fn trailers_are_held_to_the_rules_of_heads() {
        let check = |lines: &str, reason: &str| refuse(format!("0\r\n{lines}\r\n"), reason);
        check("A : b\r\n", "space_before_colon");
        check("A: b\r\n c\r\n", "field_folded");
        check(" A: b\r\n", "field_folded");
        check("A: b\nC: d\r\n", "bare_lf");
        check("A: b\rc\r\n", "bare_cr");
        check("A: b\0\r\n", "field_value_invalid");
        check("A\r\n", "field_colon_missing");
        check(&"a:b\r\n".repeat(129), "fields_too_many");
        refuse("0\r\n\n", "bare_lf");
        refuse("0\r\nA: b\r\n\n", "bare_lf");
        let framing = [
            "Content-Length",
            "transfer-encoding",
            "Host",
            "Connection",
            "TE",
            "Upgrade",
        ];
        let other = [
            "Trailer",
            "Cookie",
            "Authorization",
            "X-Forwarded-For",
            "Forwarded",
            "Expect",
        ];
        for name in framing.iter().chain(&other) {
            check(&format!("{name}: 1\r\n"), "trailer_forbidden");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let limits = Limits::default();
        let line = |len: usize| format!("1;{}\r\nx\r\n", "a".repeat(len - 2));
        let body =
            |lines: String| read(Framing::Chunked, (lines + "0\r\n\r\n").as_bytes(), &limits);
        let max = limits.chunk_line_bytes;
        assert!(body(line(max)).is_ok());
        assert_eq!(body(line(max + 1)), Err(BodyError::ChunkLineTooLong));
        let many = limits.chunk_extension_bytes / (max - 1);
        assert!(body(line(max).repeat(many)).is_ok());
        assert_eq!(
            body(line(max).repeat(many + 1)),
            Err(BodyError::ChunkExtensionsTooLarge)
        );
        let trailers = |len: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(len - 6)).into_bytes();
        let read = |len: usize| read(Framing::Chunked, &trailers(len), &limits).map(|_| ());
        assert_eq!(read(limits.trailer_bytes), Ok(()));
        let error = read(limits.trailer_bytes + 1);
        assert_eq!(error, Err(BodyError::Trailers(FieldError::TooLarge)));
        assert_eq!(error.map_err(|error| error.status().as_u16()), Err(431));
    }
}
