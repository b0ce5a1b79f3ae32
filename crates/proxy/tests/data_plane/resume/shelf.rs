//! A server with one file, which breaks off at exact bytes and has any bad habit of file servers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// When the file was changed last, and when every answer is given.
pub(super) const MODIFIED: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// How an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// In order, too early: the end of the connection, or of the stream.
    Fin,
    /// RST, or RST_STREAM.
    Reset,
    /// Nothing comes any more.
    Hole,
}

/// What it does to a request for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Answers it by the book.
    Book,
    /// Answers all of the file.
    Whole,
    /// Begins a byte later, and says so.
    Later,
    /// Ends a byte earlier, and says so.
    Shorter,
    /// Has another tag by then.
    Retagged,
    /// Has a longer file by then.
    Grown,
    /// Answers with this status.
    Status(u16),
    /// Sends more than it says: a byte behind the part, in a body of unknown length.
    TooMuch,
    /// Coded in another way.
    Coded,
}

/// What is on the shelf.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) content: Bytes,
    pub(super) tag: Option<&'static str>,
    pub(super) modified: bool,
    /// Further lines of the head.
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) habit: Habit,
    /// Where the first answers break off; later ones are whole.
    pub(super) cuts: Vec<(usize, Cut)>,
}

/// What a request asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) accept: Option<String>,
}

struct Reply {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: Bytes,
    cut: Option<(usize, Cut)>,
}

struct State {
    shelf: Shelf,
    cuts: Mutex<VecDeque<(usize, Cut)>>,
    seen: Mutex<Vec<Seen>>,
    given_up: AtomicUsize,
}

/// A running server.
pub(super) struct Server {
    addr: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

impl Shelf {
    /// A file with a strong tag, and good habits.
    pub(super) fn of(content: &Bytes) -> Self {
        Self {
            content: content.clone(),
            tag: Some("\"v1\""),
            modified: false,
            fields: Vec::new(),
            habit: Habit::Book,
            cuts: Vec::new(),
        }
    }

    pub(super) fn cut(mut self, after: usize, cut: Cut) -> Self {
        self.cuts.push((after, cut));
        self
    }

    pub(super) fn tag(self, tag: Option<&'static str>) -> Self {
        Self { tag, ..self }
    }

    pub(super) fn habit(self, habit: Habit) -> Self {
        Self { habit, ..self }
    }

    pub(super) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Starts it, with HTTP/2 by prior knowledge or HTTP/1.1.
    pub(super) async fn start(self, h2: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            cuts: Mutex::new(self.cuts.iter().copied().collect()),
            shelf: self,
            seen: Mutex::default(),
            given_up: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    match h2 {
                        true => serve_h2(stream, state).await,
                        false => serve_h1(stream, state).await,
                    }
                });
            }
        });
        Server {
            addr,
            state,
            task: accepting.abort_handle(),
        }
    }
}

impl Server {
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What was asked for, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many answers in a hole were cancelled by the peer.
    pub(super) fn given_up(&self) -> usize {
        self.state.given_up.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn reply(&self, seen: Seen) -> Reply {
        let part = self.part(&seen);
        self.seen.lock().unwrap().push(seen);
        let reply = match part {
            Some(part) => self.partial(part),
            None => self.whole(),
        };
        let cut = self.cuts.lock().unwrap().pop_front();
        Reply { cut, ..reply }
    }

    fn part(&self, seen: &Seen) -> Option<(usize, usize)> {
        let shelf = &self.shelf;
        let fresh = |wanted: &String| {
            shelf.tag == Some(wanted)
                || (shelf.tag.is_none() && shelf.modified && wanted == MODIFIED)
        };
        let range = seen.range.as_deref()?.strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        let last = last.parse().unwrap_or(usize::MAX);
        let part = (first.parse().ok()?, last.min(shelf.content.len() - 1));
        seen.if_range.as_ref().is_none_or(fresh).then_some(part)
    }

    fn partial(&self, (first, last): (usize, usize)) -> Reply {
        let content = &self.shelf.content;
        let (first, last, complete) = match self.shelf.habit {
            Habit::Whole => return self.whole(),
            Habit::Later => (first + 1, last, content.len()),
            Habit::Shorter => (first, last - 1, content.len()),
            Habit::Grown => (first, last, content.len() + 1),
            _ => (first, last, content.len()),
        };
        let mut reply = self.with(206, content.slice(first..=last));
        let range = format!("bytes {first}-{last}/{complete}");
        reply.fields.push(("content-range", range));
        match self.shelf.habit {
            Habit::Status(status) => return self.with(status, Bytes::from_static(b"no")),
            Habit::Retagged => reply.fields.retain(|(name, _)| *name != "etag"),
            Habit::Coded => reply.fields.push(("content-encoding", "br".to_owned())),
            Habit::TooMuch => {
                reply.fields.retain(|(name, _)| *name != "content-length");
                reply.body = [&reply.body[..], b"x"].concat().into();
            }
            _ => {}
        }
        if self.shelf.habit == Habit::Retagged {
            reply.fields.push(("etag", "\"v2\"".to_owned()));
        }
        reply
    }

    fn whole(&self) -> Reply {
        self.with(200, self.shelf.content.clone())
    }

    fn with(&self, status: u16, body: Bytes) -> Reply {
        let mut fields = vec![("content-length", body.len().to_string())];
        fields.push(("date", DATE.to_owned()));
        fields.extend(self.shelf.tag.map(|tag| ("etag", tag.to_owned())));
        if self.shelf.modified {
            fields.push(("last-modified", MODIFIED.to_owned()));
        }
        let more = self.shelf.fields.iter();
        fields.extend(more.map(|(name, value)| (*name, (*value).to_owned())));
        Reply {
            status,
            fields,
            body,
            cut: None,
        }
    }
}

async fn serve_h1(mut stream: TcpStream, state: Arc<State>) {
    let mut buf = Vec::new();
    loop {
        while !buf.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut buf).await, Ok(1..)) {
                return;
            }
        }
        let head = String::from_utf8(std::mem::take(&mut buf)).unwrap();
        let field = |name: &str| {
            let line = |line: &str| {
                let (known, value) = line.split_once(": ")?;
                known.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            head.lines().find_map(line)
        };
        let reply = state.reply(Seen::of(field));
        if !answer_h1(&mut stream, &state, reply).await {
            return;
        }
    }
}

/// False once the connection is over.
async fn answer_h1(stream: &mut TcpStream, state: &State, reply: Reply) -> bool {
    let mut head = format!("HTTP/1.1 {} Some\r\n", reply.status);
    for (name, value) in &reply.fields {
        head += &format!("{name}: {value}\r\n");
    }
    let chunked = !head.contains("content-length");
    let mut body = reply.body.to_vec();
    if chunked {
        head += "transfer-encoding: chunked\r\n";
        body = format!("{:x}\r\n", body.len()).into_bytes();
        body.extend_from_slice(&reply.body);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
    }
    head += "\r\n";
    let cut = reply.cut.filter(|(after, _)| *after < body.len());
    body.truncate(cut.map_or(body.len(), |(after, _)| after));
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await
    };
    let sent = sent.await.is_ok();
    match cut {
        None => return sent,
        Some((_, Cut::Fin)) => {}
        Some((_, Cut::Reset)) => stream.set_zero_linger().unwrap(),
        Some((_, Cut::Hole)) => {
            let mut rest = Vec::new();
            let _ended = stream.read_to_end(&mut rest).await;
            state.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
    false
}

async fn serve_h2(stream: TcpStream, state: Arc<State>) {
    let mut builder = h2::server::Builder::new();
    // Room for one byte more is there only when all that was sent has left.
    builder.max_send_buffer_size(1);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let field =
                |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
            let reply = state.reply(Seen::of(field));
            let mut head = http::Response::builder().status(reply.status);
            for (name, value) in &reply.fields {
                head = head.header(*name, value);
            }
            if let Ok(stream) = respond.send_response(head.body(()).unwrap(), false) {
                answer_h2(stream, &state, reply).await;
            }
        });
    }
}

async fn answer_h2(mut stream: SendStream<Bytes>, state: &State, reply: Reply) {
    let cut = reply.cut.filter(|(after, _)| *after < reply.body.len());
    let Some((after, cut)) = cut else {
        let _sent = stream.send_data(reply.body, true);
        return;
    };
    let part = reply.body.slice(..after);
    match cut {
        Cut::Fin => {
            let _sent = stream.send_data(part, true);
        }
        Cut::Reset => {
            let _sent = stream.send_data(part, false);
            until_sent(&mut stream).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        Cut::Hole => {
            let _sent = stream.send_data(part, false);
            let _reset = poll_fn(|cx| stream.poll_reset(cx)).await;
            state.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn until_sent(stream: &mut SendStream<Bytes>) {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
            return;
        }
    }
}

impl Seen {
    fn of(field: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            range: field("range"),
            if_range: field("if-range"),
            if_none_match: field("if-none-match"),
            accept: field("accept"),
        }
    }
}
