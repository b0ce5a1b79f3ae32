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
