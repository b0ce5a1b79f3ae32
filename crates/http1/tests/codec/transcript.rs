//! Drives the codec over a stream of bytes and writes down everything it says, in a form that
//! can be compared: with another split of the same bytes, or with another implementation.

use bytes::{Buf, BytesMut};
use tidegate_http1::{
    BodyDecoder, Decoded, Fields, Framing, Limits, RequestContext, RequestHead, RequestParser,
    ResponseHead, ResponseParser,
};

/// Lower-case names and values, sorted by name; lines of one name keep their order.
pub(crate) type FieldList = Vec<(String, Vec<u8>)>;

/// One message as anyone must understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Method, scheme and authority if given, path and query; or the status.
    pub(crate) start: String,
    pub(crate) fields: FieldList,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: FieldList,
}

/// How the stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two messages, or in one that needs more bytes.
    Open,
    /// After a message that is the connection's last.
    Closed,
    /// With this label.
    Refused(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    /// The messages that are complete.
    pub(crate) messages: Vec<Message>,
    /// The message that the stream broke off in.
    pub(crate) partial: Option<Message>,
    pub(crate) end: End,
}

/// What a role makes of its next head.
struct Head {
    message: Message,
    framing: Framing,
    last: bool,
}

type Parse<'a> = Box<dyn FnMut(&mut BytesMut) -> Result<Option<Head>, &'static str> + 'a>;

struct Session<'a> {
    parse: Parse<'a>,
    limits: Limits,
    buf: BytesMut,
    open: Option<(Message, BodyDecoder, bool)>,
    transcript: Transcript,
}

/// The requests in `pieces`, read as they arrive.
pub(crate) fn requests<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Transcript {
    let mut parser = RequestParser::new();
    let parse = |buf: &mut BytesMut| match parser.parse(buf, limits) {
        Ok(head) => Ok(head.map(|head| request_head(*head))),
        Err(error) => Err(error.reason()),
    };
    Session::new(Box::new(parse), limits).run(pieces)
}

/// The answers in `pieces` to requests of one kind.
pub(crate) fn responses<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    context: RequestContext,
    limits: &Limits,
) -> Transcript {
    let mut parser = ResponseParser::new();
    let parse = |buf: &mut BytesMut| match parser.parse(buf, context, limits) {
        Ok(head) => Ok(head.map(|head| response_head(*head))),
        Err(error) => Err(error.reason()),
    };
    Session::new(Box::new(parse), limits).run(pieces)
}

fn request_head(head: RequestHead) -> Head {
    let authority = match head.target.authority() {
        Some(authority) => authority.to_ascii_lowercase(),
        None => String::new(),
    };
    // Of an absolute target without a path, other implementations show the path `/`.
    let path = match head.path_and_query() {
        "*" if head.target.authority().is_some() => "/",
        path => path,
    };
    // Nobody in these tests accepts an upgrade, but everybody a tunnel.
    let tunnels = head.method == http::Method::CONNECT;
    Head {
        message: Message::new(format!("{} {authority} {path}", head.method), &head.fields),
        framing: head.framing,
        last: !head.keep_alive || tunnels,
    }
}

fn response_head(head: ResponseHead) -> Head {
    Head {
        message: Message::new(head.status.as_str().to_owned(), &head.fields),
        framing: head.framing,
        last: !head.keep_alive && !head.is_interim(),
    }
}

impl Message {
    fn new(start: String, fields: &Fields) -> Self {
        Self {
            start,
            fields: field_list(fields),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }
}

/// Sorts by name, as a map of fields would hold them.
pub(crate) fn sorted(mut fields: FieldList) -> FieldList {
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

fn field_list(fields: &Fields) -> FieldList {
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    sorted(
        fields
            .iter()
            .map(|field| (lower(field.name), field.value.to_vec()))
            .collect(),
    )
}

impl<'a> Session<'a> {
    fn new(parse: Parse<'a>, limits: &Limits) -> Self {
        let transcript = Transcript {
            messages: Vec::new(),
            partial: None,
            end: End::Open,
        };
        Self {
            parse,
            limits: *limits,
            buf: BytesMut::new(),
            open: None,
            transcript,
        }
    }

    fn run<'b>(mut self, pieces: impl IntoIterator<Item = &'b [u8]>) -> Transcript {
        for piece in pieces {
            self.buf.extend_from_slice(piece);
            if let Err(reason) = self.advance() {
                self.transcript.end = End::Refused(reason);
            }
            if self.transcript.end != End::Open {
                break;
            }
            self.check_memory();
        }
        self.finish()
    }

    /// What is kept between two reads is less than a head or a trailer section may have.
    fn check_memory(&self) {
        let kept = self.buf.len();
        let max = match self.open {
            None => self.limits.head_bytes,
            Some(_) => self.limits.trailer_bytes,
        };
        assert!(kept < max.max(1), "{kept} bytes are kept of at most {max}");
    }

    fn advance(&mut self) -> Result<(), &'static str> {
        while self.transcript.end == End::Open {
            let progress = match self.open {
                Some(_) => self.body()?,
                None => self.head()?,
            };
            if !progress {
                break;
            }
        }
        Ok(())
    }

    fn head(&mut self) -> Result<bool, &'static str> {
        let Some(head) = (self.parse)(&mut self.buf)? else {
            return Ok(false);
        };
        let decoder = BodyDecoder::new(head.framing, &self.limits);
        self.open = Some((head.message, decoder, head.last));
        Ok(true)
    }

    fn body(&mut self) -> Result<bool, &'static str> {
        let Some((message, decoder, _)) = &mut self.open else {
            return Ok(false);
        };
        match decoder.decode(&self.buf).map_err(|error| error.reason())? {
            Decoded::More { skip } => {
                self.buf.advance(skip);
                return Ok(false);
            }
            Decoded::Data { skip, len } => {
                assert!(len > 0, "data is never empty");
                self.buf.advance(skip);
                message.body.extend_from_slice(&self.buf.split_to(len));
            }
            Decoded::Trailers { skip, fields } => {
                assert!(decoder.is_done());
                self.buf.advance(skip);
                message.trailers = field_list(&fields);
            }
            Decoded::End { skip } => {
                assert!(decoder.is_done());
                self.buf.advance(skip);
                self.close_message();
            }
        }
        Ok(true)
    }

    fn close_message(&mut self) {
        if let Some((message, _, last)) = self.open.take() {
            self.transcript.messages.push(message);
            if last {
                self.transcript.end = End::Closed;
            }
        }
    }

    fn finish(mut self) -> Transcript {
        let ended = self
            .open
            .as_ref()
            .is_some_and(|(_, decoder, _)| decoder.on_eof().is_ok());
        if ended && self.transcript.end == End::Open {
            self.close_message();
        }
        self.transcript.partial = self.open.map(|(message, _, _)| message);
        self.transcript
    }
}
