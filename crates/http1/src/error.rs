//! Why a message was refused: a stable label for metrics and logs, a sentence for a person, and
//! the status that a client gets.
//!
//! What requests, responses and trailers can both do wrong is one enum, so that the same fault has
//! the same label on both sides of the proxy. After any of these errors the connection must be
//! closed: where the next message starts is no longer known.

use http::StatusCode;
use thiserror::Error;

/// A fault in a field section (RFC 9112 section 5), of a head or of trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// LF that no CR precedes.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// CR that no LF follows.
    #[error("a CR stands alone, without LF")]
    BareCr,
    /// A line that starts with a space or a tab (obs-fold, or whitespace before the first field).
    #[error("a field line starts with whitespace (obsolete line folding)")]
    Folded,
    /// Whitespace between name and colon.
    #[error("whitespace stands between a field's name and its colon")]
    SpaceBeforeColon,
    /// A line without a colon.
    #[error("a field line has no colon")]
    MissingColon,
    /// A name that is empty or no token.
    #[error("a field name is empty or holds a character that is not allowed")]
    Name,
    /// A name of more than 65,535 bytes.
    #[error("a field name is too long")]
    NameTooLong,
    /// A value with NUL or another control byte.
    #[error("a field value holds a control character")]
    Value,
    /// More lines than [`crate::Limits::fields`].
    #[error("there are more field lines than the limit allows")]
    TooMany,
    /// More bytes than [`crate::Limits::head_bytes`] or [`crate::Limits::trailer_bytes`].
    #[error("the head or trailer section is larger than the limit allows")]
    TooLarge,
}

impl FieldError {
    /// A stable label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Folded => "field_folded",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::MissingColon => "field_colon_missing",
            Self::Name => "field_name_invalid",
            Self::NameTooLong => "field_name_too_long",
            Self::Value => "field_value_invalid",
            Self::TooMany => "fields_too_many",
            Self::TooLarge => "head_too_large",
        }
    }

    /// 431 when only size is wrong, else 400.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooMany | Self::TooLarge | Self::NameTooLong => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A message whose end cannot be told for certain (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Both fields at once.
    #[error("both Content-Length and Transfer-Encoding are present")]
    ContentLengthAndTransferEncoding,
    /// More than one line or member, equal or not.
    #[error("Content-Length is given more than once")]
    ContentLengthRepeated,
    /// Anything but digits.
    #[error("Content-Length is not a plain decimal number")]
    ContentLengthInvalid,
    /// More than 2^63 - 1.
    #[error("Content-Length is larger than any body can be")]
    ContentLengthTooLarge,
    /// A coding other than `chunked`.
    #[error("Transfer-Encoding names a coding other than chunked")]
    TransferEncodingUnsupported,
    /// Not exactly one plain `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncodingInvalid,
    /// A field that HTTP/1.0 does not know.
    #[error("Transfer-Encoding is present in an HTTP/1.0 message")]
    TransferEncodingInHttp10,
    /// A body where the method or the status allows none.
    #[error("a body is announced where none is allowed")]
    BodyForbidden,
}

impl FramingError {
    /// A stable label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ContentLengthAndTransferEncoding => "content_length_and_transfer_encoding",
            Self::ContentLengthRepeated => "content_length_repeated",
            Self::ContentLengthInvalid => "content_length_invalid",
            Self::ContentLengthTooLarge => "content_length_too_large",
            Self::TransferEncodingUnsupported => "transfer_encoding_unsupported",
            Self::TransferEncodingInvalid => "transfer_encoding_invalid",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::BodyForbidden => "body_forbidden",
        }
    }

    /// 501 for a coding that is not implemented (RFC 9112 section 6.1), else 400.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TransferEncodingUnsupported => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a request and a response can both do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The field section cannot be read.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// The end of the body cannot be told.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// An option that is no token, or more than 32 options.
    #[error("Connection is not a short list of options")]
    ConnectionInvalid,
    /// An option that names a field which frames, routes or authorises the message.
    #[error("Connection asks to remove a field that must reach the next hop")]
    ConnectionNominatesProtected,
    /// An `Upgrade` field that is no list of protocols.
    #[error("Upgrade is not a list of protocol names")]
    UpgradeInvalid,
}

impl MessageError {
    /// A stable label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Fields(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::ConnectionInvalid => "connection_invalid",
            Self::ConnectionNominatesProtected => "connection_nominates_protected",
            Self::UpgradeInvalid => "upgrade_invalid",
        }
    }

    /// The status for a client that sent it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Fields(error) => error.status(),
            Self::Framing(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why a request head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A fault that a response can have too.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A method that is no token.
    #[error("the method is empty or holds a character that is not allowed")]
    Method,
    /// A method of more than 32 bytes.
    #[error("the method is longer than any known one")]
    MethodTooLong,
    /// More than one empty line before the request line.
    #[error("more than one empty line precedes the request")]
    LeadingLines,
    /// A target with a fragment, a space, a control byte or a byte that is not ASCII; or none.
    #[error("the request target is empty or holds a character that is not allowed")]
    Target,
    /// More bytes than [`crate::Limits::target_bytes`].
    #[error("the request target is longer than the limit allows")]
    TargetTooLong,
    /// A target whose form does not fit the method (RFC 9112 section 3.2).
    #[error("the form of the request target does not fit the method")]
    TargetForm,
    /// An absolute target whose scheme is neither http nor https.
    #[error("the scheme of the request target is neither http nor https")]
    Scheme,
    /// An absolute or authority target whose authority is invalid.
    #[error("the authority of the request target is invalid")]
    Authority,
    /// A request line without a version.
    #[error("the request line has no version (HTTP/0.9 is not supported)")]
    VersionMissing,
    /// Something else where `HTTP/1.1` belongs.
    #[error("the request line does not end in HTTP/1.1 or HTTP/1.0")]
    Version,
    /// A well-formed version that HTTP/1.1 messages cannot have.
    #[error("the HTTP version is not supported on this connection")]
    VersionUnsupported,
    /// No `Host` in HTTP/1.1.
    #[error("Host is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("Host is given more than once")]
    HostRepeated,
    /// A `Host` that is no `uri-host[:port]`.
    #[error("Host is not a host name with an optional port")]
    HostInvalid,
    /// A `Host` other than the target's authority.
    #[error("Host and the authority of the request target differ")]
    HostMismatch,
    /// An expectation other than `100-continue`.
    #[error("Expect asks for something other than 100-continue")]
    Expectation,
}

impl RequestError {
    /// A stable label for metrics, logs and problem documents.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Message(error) => error.reason(),
            Self::Method => "method_invalid",
            Self::MethodTooLong => "method_too_long",
            Self::LeadingLines => "leading_lines",
            Self::Target => "target_invalid",
            Self::TargetTooLong => "target_too_long",
            Self::TargetForm => "target_form",
            Self::Scheme => "scheme_unsupported",
            Self::Authority => "authority_invalid",
            Self::VersionMissing => "version_missing",
            Self::Version => "version_invalid",
            Self::VersionUnsupported => "version_unsupported",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostInvalid => "host_invalid",
            Self::HostMismatch => "host_mismatch",
            Self::Expectation => "expectation_unsupported",
        }
    }

    /// The status of the answer, after which the connection is closed: 414, 417, 431, 501, 505
    /// where they fit, else 400.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Message(error) => error.status(),
            Self::MethodTooLong => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::VersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        Self::Message(error.into())
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        Self::Message(error.into())
    }
}

/// Why a response head was refused. The client gets a 502 with the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// A fault that a request can have too.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A first line that is no status line.
    #[error("the answer does not start with an HTTP/1.1 or HTTP/1.0 status line")]
    StatusLine,
    /// A status below 100 or above 599.
    #[error("the status code is outside 100 to 599")]
    Status,
    /// A 101 that was not asked for, or that does not say to what.
    #[error("the answer switches protocols without being asked to, or without naming one")]
    SwitchUnasked,
}

impl ResponseError {
    /// A stable label for metrics, logs and problem documents.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Message(error) => error.reason(),
            Self::StatusLine => "status_line_invalid",
            Self::Status => "status_invalid",
            Self::SwitchUnasked => "switch_unasked",
        }
    }
}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        Self::Message(error.into())
    }
}

impl From<FramingError> for ResponseError {
    fn from(error: FramingError) -> Self {
        Self::Message(error.into())
    }
}

/// Why a body was refused or is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    #[error("a chunk size is not 1 to 16 hexadecimal digits")]
    ChunkSize,
    /// A chunk size above 2^63 - 1.
    #[error("a chunk size is larger than any body can be")]
    ChunkSizeTooLarge,
    /// A chunk extension outside the grammar of RFC 9112 section 7.1.1.
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// A chunk line longer than [`crate::Limits::chunk_line_bytes`].
    #[error("a chunk line is longer than the limit allows")]
    ChunkLineTooLong,
    /// More extensions than [`crate::Limits::chunk_extension_bytes`].
    #[error("the chunk extensions of the body are larger than the limit allows")]
    ChunkExtensionsTooLarge,
    /// A chunk line that does not end in CRLF.
    #[error("a chunk line does not end in CRLF")]
    ChunkLineEnd,
    /// Chunk data that CRLF does not follow.
    #[error("the data of a chunk is not followed by CRLF")]
    ChunkDataEnd,
    /// A trailer section that cannot be read.
    #[error("in the trailers: {0}")]
    Trailers(FieldError),
    /// A trailer field that frames, routes or authorises.
    #[error("a trailer field frames, routes or authorises the message, which only a head may")]
    TrailerForbidden,
    /// The connection ended before the body did.
    #[error("the connection ended in the middle of the body")]
    Truncated,
}

impl BodyError {
    /// A stable label for metrics and logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ChunkSize => "chunk_size_invalid",
            Self::ChunkSizeTooLarge => "chunk_size_too_large",
            Self::ChunkExtension => "chunk_extension_invalid",
            Self::ChunkLineTooLong => "chunk_line_too_long",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::ChunkLineEnd => "chunk_line_end",
            Self::ChunkDataEnd => "chunk_data_end",
            Self::Trailers(FieldError::TooLarge) => "trailers_too_large",
            Self::Trailers(error) => error.reason(),
            Self::TrailerForbidden => "trailer_forbidden",
            Self::Truncated => "body_truncated",
        }
    }

    /// The status for a client that sent it, if no answer has begun: 431 for trailers that are
    /// only too large, else 400.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Trailers(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
