//! Strict HTTP/1.1 (RFC 9110, RFC 9112) for both roles: bytes in, events out.
//!
//! An edge proxy is where request smuggling is stopped or started, so this codec refuses every
//! message that two implementations could read in two ways, instead of guessing: one `Host`, one
//! framing, CRLF only, no folding. A head that follows the rules is read once, line by line, and one that
//! does not is read again to say why.
//!
//! It never does I/O, reads a clock, or knows the proxy. A head costs one reference to the read
//! buffer and positions into it; a body costs nothing. Whatever arrives, and however it is split
//! into reads, the same bytes give the same events and the same error.

mod ascii;
mod authority;
mod body;
mod chunked;
mod connection;
mod diagnose;
pub mod encode;
mod error;
mod fields;
mod framing;
mod grammar;
mod known;
mod limits;
mod message;
mod request;
mod request_line;
mod response;
mod scan;
mod status_line;
mod target;
mod trailers;
mod words;

pub use ascii::Ascii;
pub use authority::HostAndPort;
pub use body::{BodyDecoder, Decoded};
pub use error::{BodyError, FieldError, FramingError, MessageError, RequestError, ResponseError};
pub use fields::{Copied, FieldRef, Fields};
pub use framing::Framing;
pub use grammar::list_members;
pub use known::Known;
pub use limits::Limits;
pub use message::Version;
pub use request::{RequestHead, RequestParser, parse_request};
pub use response::{RequestContext, ResponseHead, ResponseParser, parse_response};
pub use target::Target;
