//! The chunk lines of RFC 9112 section 7.1, one byte at a time.
//!
//! Chunk lines are short, so a state machine costs nothing and needs no buffer, however the bytes
//! arrive. Extensions are held to their grammar and dropped: they are hop-by-hop, and a lax
//! reading of them (a LF inside, for one) is a known way to smuggle.

use crate::error::BodyError;
use crate::grammar;
use crate::limits::Limits;

/// 16 hexadecimal digits are 64 bits.
const DIGITS_MAX: u8 = 16;

/// Reads chunk lines and the ends of chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    phase: Phase,
    size: u64,
    digits: u8,
    line_bytes: usize,
    line_bytes_max: usize,
    extension_bytes_left: usize,
}

/// What stands between the framing and the next thing that is not framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// So many bytes of data are next.
    Data(u64),
    /// The trailer section is next.
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Size,
    Extension(Extension),
    LineLf,
    DataCr,
    DataLf,
}

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS value ] )` the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// Whitespace that only `;` may follow.
    BeforeSemicolon,
    /// Whitespace, or the first byte of a name.
    BeforeName,
    Name,
    /// Whitespace after a name: `=` or `;`.
    AfterName,
    /// Whitespace, or the first byte of a value.
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    /// Just after a closing quote.
    QuoteEnd,
}

impl Chunks {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            phase: Phase::Size,
            size: 0,
            digits: 0,
            line_bytes: 0,
            line_bytes_max: limits.chunk_line_bytes,
            extension_bytes_left: limits.chunk_extension_bytes,
        }
    }

    /// The data of the current chunk is complete: its CRLF is next.
    pub(crate) fn data_ended(&mut self) {
        self.phase = Phase::DataCr;
    }

    /// Takes one byte of framing.
    pub(crate) fn step(&mut self, b: u8) -> Result<Option<Stop>, BodyError> {
        match (self.phase, b) {
            (Phase::Size, _) => self.size_byte(b)?,
            (Phase::Extension(at), _) => self.extension_byte(at, b)?,
            (Phase::LineLf, b'\n') => return Ok(Some(self.line_ended())),
            (Phase::DataCr, b'\r') => self.phase = Phase::DataLf,
            (Phase::DataLf, b'\n') => self.phase = Phase::Size,
            (Phase::LineLf, _) => return Err(BodyError::ChunkLineEnd),
            (Phase::DataCr | Phase::DataLf, _) => return Err(BodyError::ChunkDataEnd),
        }
        Ok(None)
    }

    fn line_ended(&mut self) -> Stop {
        let size = std::mem::take(&mut self.size);
        self.digits = 0;
        self.line_bytes = 0;
        if size == 0 {
            Stop::Trailers
        } else {
            Stop::Data(size)
        }
    }

    fn size_byte(&mut self, b: u8) -> Result<(), BodyError> {
        if let Some(digit) = char::from(b).to_digit(16) {
            return self.digit(u64::from(digit));
        }
        match b {
            _ if self.digits == 0 => Err(BodyError::ChunkSize),
            b'\r' => self.enter(Phase::LineLf),
            b'\n' => Err(BodyError::ChunkLineEnd),
            b';' | b' ' | b'\t' => self.extension_byte(Extension::BeforeSemicolon, b),
            _ => Err(BodyError::ChunkSize),
        }
    }

    fn digit(&mut self, digit: u64) -> Result<(), BodyError> {
        if self.digits == DIGITS_MAX {
            return Err(BodyError::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | digit;
        // The top bit may only be set by the last digit, so this sees every overflow.
        if i64::try_from(self.size).is_err() {
            return Err(BodyError::ChunkSizeTooLarge);
        }
        self.count_line_byte()
    }

    fn extension_byte(&mut self, at: Extension, b: u8) -> Result<(), BodyError> {
        if b == b'\r' && at.may_end() {
            return self.enter(Phase::LineLf);
        }
        if b == b'\n' {
            return Err(BodyError::ChunkLineEnd);
        }
        self.count_line_byte()?;
        let left = self.extension_bytes_left.checked_sub(1);
        self.extension_bytes_left = left.ok_or(BodyError::ChunkExtensionsTooLarge)?;
        self.enter(Phase::Extension(
            at.next(b).ok_or(BodyError::ChunkExtension)?,
        ))
    }

    fn count_line_byte(&mut self) -> Result<(), BodyError> {
        self.line_bytes += 1;
        if self.line_bytes > self.line_bytes_max {
            return Err(BodyError::ChunkLineTooLong);
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase) -> Result<(), BodyError> {
        self.phase = phase;
        Ok(())
    }
}

impl Extension {
    /// Whether the line may end here.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::QuoteEnd)
    }

    /// Where `b` leads; `None` if it may not stand here.
    fn next(self, b: u8) -> Option<Self> {
        let blank = grammar::is_ows(b);
        let token = grammar::is_tchar(b);
        match self {
            Self::BeforeSemicolon if blank => Some(self),
            Self::BeforeSemicolon if b == b';' => Some(Self::BeforeName),
            Self::BeforeName | Self::BeforeValue if blank => Some(self),
            Self::BeforeName | Self::Name if token => Some(Self::Name),
            Self::Name | Self::AfterName if b == b'=' => Some(Self::BeforeValue),
            Self::Name | Self::AfterName if blank => Some(Self::AfterName),
            Self::BeforeValue | Self::Value if token => Some(Self::Value),
            Self::BeforeValue if b == b'"' => Some(Self::Quoted),
            Self::Quoted if b == b'"' => Some(Self::QuoteEnd),
            Self::Quoted if b == b'\\' => Some(Self::QuotedPair),
            Self::Quoted | Self::QuotedPair if grammar::is_value_byte(b) => Some(Self::Quoted),
            Self::Name | Self::AfterName | Self::Value | Self::QuoteEnd if b == b';' => {
                Some(Self::BeforeName)
            }
            Self::Value | Self::QuoteEnd if blank => Some(Self::BeforeSemicolon),
            _ => None,
        }
    }
}
