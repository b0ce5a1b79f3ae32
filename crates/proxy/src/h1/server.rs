//! Serves HTTP/1.1 clients: one request after the other on a connection, each with its deadline.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use tidegate_core::Termination;
use tidegate_http1::{self as http1, Framing, Limits, RequestError, RequestParser};

use crate::answer::{Answer, write_interim};
use crate::body::Upload;
use crate::clock::now;
use crate::conn::Conn;
use crate::context::Context;
use crate::h1::SharedConn;
use crate::h1::reader::{BodyReader, Progress};
use crate::h1::respond::{Asked, respond};
use crate::head::{RequestHead, ResponseHead};
use crate::pipeline::{self, Client, Request};
use crate::problem;
use crate::tunnel::{self, Switch};
use crate::wheel::Timer;

/// After an answer that ends the connection, what the client still sends is read and thrown away
/// for so long, so that the kernel does not reset the connection under the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A connection on which no request has followed for so long counts as idle.
const BURST: Duration = Duration::from_millis(30);

/// What follows a request.
enum Next {
    /// Another request.
    Request,
    /// The end, once the client has had time to read the answer although it may still be sending.
    Linger,
    /// The end, said in order.
    Leave,
    /// The end.
    Close,
}

/// Serves the client of `conn` until either side ends the connection.
///
/// Two futures: this one, small, waits while the connection idles; the other, which has the room
/// for a request, is made when bytes arrive and serves for as long as requests follow each other.
pub(crate) async fn serve(context: Rc<Context>, conn: Conn) {
    let timer = context.worker.wheel.timer();
    let conn: SharedConn = Rc::new(RefCell::new(conn));
    let limits = &context.listener.limits;
    let mut waiting = limits.header_timeout;
    while idle(&context, &conn, &timer, waiting).await {
        match Box::pin(serve_burst(&context, &conn, &timer)).await {
            Next::Request => {
                waiting = limits.idle_timeout.saturating_sub(BURST);
                continue;
            }
            Next::Linger => linger(&conn, &timer).await,
            Next::Leave => leave(&conn, &timer).await,
            Next::Close => {}
        }
        break;
    }
    // The next connection has the buffers of one that ends before it has idled.
    conn.borrow_mut().release();
}

/// Waits for bytes without owning a buffer. False when the connection ended, idled too long, or
/// the process stops.
async fn idle(context: &Context, conn: &SharedConn, timer: &Timer, waiting: Duration) -> bool {
    if !conn.borrow().rbuf.is_empty() {
        return true;
    }
    timer.set(now() + waiting);
    poll_fn(|cx| {
        let mut conn = conn.borrow_mut();
        if context.worker.is_stopping() || timer.poll_expired(cx).is_ready() {
            return Poll::Ready(false);
        }
        conn.release();
        conn.poll_fill(cx)
            .map(|read| read.is_ok_and(|read| read > 0))
    })
    .await
}

/// Serves requests until none has followed for a moment.
async fn serve_burst(context: &Rc<Context>, conn: &SharedConn, timer: &Timer) -> Next {
    let limits = limits(context);
    let mut parser = RequestParser::new();
    loop {
        let head = match read_head(context, conn, timer, &limits, &mut parser).await {
            Ok(Read::Head(head)) => head,
            Ok(Read::Idle) => return Next::Request,
            Ok(Read::Ended) => return Next::Close,
            Err(refusal) => {
                refuse(context, conn, refusal).await;
                return Next::Linger;
            }
        };
        timer.clear();
        match serve_one(context, conn, head, &limits).await {
            Next::Request => {}
            end => return end,
        }
    }
}

fn limits(context: &Context) -> Limits {
    let limits = &context.listener.limits;
    Limits {
        head_bytes: limits.header_bytes,
        fields: limits.header_fields,
        ..Limits::default()
    }
}

/// What reading a head came to.
enum Read {
    Head(Box<http1::RequestHead>),
    /// Nothing has come for a moment.
    Idle,
    /// The connection ended, or the process stops.
    Ended,
}

/// Why a connection gets an answer that no request pipeline made.
enum Refusal {
    Malformed(RequestError),
    Late,
}

/// The next request's head.
async fn read_head(
    context: &Context,
    conn: &SharedConn,
    timer: &Timer,
    limits: &Limits,
    parser: &mut RequestParser,
) -> Result<Read, Refusal> {
    let mut reader = HeadReader {
        context,
        timer,
        limits,
        parser,
        started: None,
        waits: false,
    };
    poll_fn(|cx| reader.poll(cx, &mut conn.borrow_mut())).await
}

struct HeadReader<'a> {
    context: &'a Context,
    timer: &'a Timer,
    limits: &'a Limits,
    parser: &'a mut RequestParser,
    started: Option<Instant>,
    /// Whether the timer is set: a head that is there at once needs none.
    waits: bool,
}

impl HeadReader<'_> {
    fn poll(&mut self, cx: &mut TaskContext<'_>, conn: &mut Conn) -> Poll<Result<Read, Refusal>> {
        loop {
            if !conn.rbuf.is_empty() {
                let parsed = self.parser.parse(&mut conn.rbuf, self.limits);
                if let Some(head) = parsed.map_err(Refusal::Malformed)? {
                    return Poll::Ready(Ok(Read::Head(head)));
                }
                self.start();
            } else if self.context.worker.is_stopping() {
                return Poll::Ready(Ok(Read::Ended));
            }
            match conn.poll_fill(cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Ok(Read::Ended)),
                Poll::Pending => return self.poll_wait(cx),
            }
        }
    }

    /// Ready once nothing has come for a moment, or the head has taken too long.
    fn poll_wait(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Read, Refusal>> {
        if !self.waits {
            self.waits = true;
            self.timer.set(now() + BURST);
        }
        ready!(self.timer.poll_expired(cx));
        Poll::Ready(match self.started {
            Some(_) => Err(Refusal::Late),
            None => Ok(Read::Idle),
        })
    }

    /// The head's own limit runs from its first byte.
    fn start(&mut self) {
        if self.started.is_none() {
            let at = now();
            self.started = Some(at);
            self.waits = true;
            self.timer
                .set(at + self.context.listener.limits.header_timeout);
        }
    }
}

/// Answers what is no valid request, or came too slowly.
async fn refuse(context: &Rc<Context>, conn: &SharedConn, refusal: Refusal) {
    let mut answer = match refusal {
        Refusal::Malformed(error) => {
            problem::refused(context, error.status(), error.reason(), &error.to_string())
        }
        Refusal::Late => problem::late(context),
    };
    let asked = Asked {
        method: http::Method::GET,
        http11: true,
    };
    let _sent = respond(conn, &mut answer, &asked, true).await;
    answer.finish.end();
}

async fn serve_one(
    context: &Rc<Context>,
    conn: &SharedConn,
    head: Box<http1::RequestHead>,
    limits: &Limits,
) -> Next {
    let asked = Asked {
        method: head.method.clone(),
        http11: head.version == http1::Version::Http11,
    };
    // What follows a refused CONNECT may be meant for its tunnel: it is never read as a request.
    let keep_alive = head.keep_alive && head.method != http::Method::CONNECT;
    let (upload, progress) = upload(conn, head.framing, limits);
    let has_body = progress.is_some();
    let head = RequestHead::H1(head);
    let switch = Switch::of(&head);
    let mut client = H1Client {
        conn: conn.clone(),
        http11: asked.http11,
        body: progress.clone(),
    };
    let request = Request {
        head,
        upload,
        has_body,
    };
    let answer = pipeline::serve(context, request, &mut client).await;
    if answer.tunnel.is_some() {
        return switch_over(context, conn, answer, switch).await;
    }
    let read = || progress.as_ref().is_none_or(|progress| progress.is_done());
    if let (true, true, Some(unread)) = (keep_alive, answer.body.is_whole(), &progress) {
        unread.discard(&mut conn.borrow_mut());
    }
    answer_one(context, conn, answer, &asked, keep_alive, read).await
}

fn upload(conn: &SharedConn, framing: Framing, limits: &Limits) -> (Upload, Option<Rc<Progress>>) {
    match framing {
        Framing::None | Framing::Length(0) => (Upload::Empty, None),
        framing => {
            let (reader, progress) = BodyReader::new(conn.clone(), framing, limits);
            (Upload::H1(reader), Some(progress))
        }
    }
}

async fn answer_one(
    context: &Context,
    conn: &SharedConn,
    mut answer: Box<Answer>,
    asked: &Asked,
    keep_alive: bool,
    read: impl Fn() -> bool,
) -> Next {
    // An answer that comes before the body has been read may end before it too. Then the connection
    // ends with it, and a client that was not told would lose its next request.
    let close = !keep_alive || context.worker.is_stopping() || !read();
    let next = match respond(conn, &mut answer, asked, close).await {
        Ok(again) if again && read() => Next::Request,
        Ok(_) if read() && conn.borrow().rbuf.is_empty() => Next::Leave,
        Ok(_) => Next::Linger,
        Err(termination) => {
            answer.finish.broke(termination);
            Next::Close
        }
    };
    answer.finish.end();
    next
}

/// Answers `101 Switching Protocols` and relays bytes both ways until the tunnel ends.
async fn switch_over(
    context: &Rc<Context>,
    conn: &SharedConn,
    mut answer: Box<Answer>,
    switch: Option<Switch>,
) -> Next {
    let Some(upstream) = answer.tunnel.take() else {
        return Next::Close;
    };
    answer
        .finish
        .switched(http::StatusCode::SWITCHING_PROTOCOLS);
    tunnel::write_switching(&answer, switch.as_ref(), &mut conn.borrow_mut().wbuf);
    let flushed = poll_fn(|cx| conn.borrow_mut().poll_flush(cx)).await;
    match flushed {
        Ok(()) => {
            tunnel::run(
                context,
                tunnel::H1Side(conn.clone()),
                upstream,
                &mut answer.finish,
            )
            .await
        }
        Err(_) => answer.finish.broke(Termination::ClientGone),
    }
    answer.finish.end();
    Next::Close
}

/// Ends an answered connection on which the client has nothing under way: nobody waits for it. In
/// plaintext closing it says all that there is to say.
async fn leave(conn: &SharedConn, timer: &Timer) {
    if !conn.borrow().is_plain() {
        say_goodbye(conn, timer).await;
    }
}

async fn say_goodbye(conn: &SharedConn, timer: &Timer) {
    timer.set(now() + LINGER);
    poll_fn(|cx| poll_goodbye(cx, &mut conn.borrow_mut(), timer)).await;
}

/// Ends an answered connection on which the client may still be sending.
async fn linger(conn: &SharedConn, timer: &Timer) {
    say_goodbye(conn, timer).await;
    poll_fn(|cx| poll_discard(cx, &mut conn.borrow_mut(), timer)).await;
}

/// Ends our direction; a client that takes nothing is not waited for beyond the timer.
fn poll_goodbye(cx: &mut TaskContext<'_>, conn: &mut Conn, timer: &Timer) -> Poll<()> {
    match conn.poll_shutdown(cx) {
        Poll::Ready(_ended) => Poll::Ready(()),
        Poll::Pending => timer.poll_expired(cx),
    }
}

fn poll_discard(cx: &mut TaskContext<'_>, conn: &mut Conn, timer: &Timer) -> Poll<()> {
    loop {
        conn.rbuf.clear();
        if timer.poll_expired(cx).is_ready() {
            return Poll::Ready(());
        }
        match ready!(conn.poll_fill(cx)) {
            Ok(read) if read > 0 => {}
            _ => return Poll::Ready(()),
        }
    }
}

/// The client as the pipeline sees it while it waits for an upstream.
struct H1Client {
    conn: SharedConn,
    http11: bool,
    body: Option<Rc<Progress>>,
}

impl Client for H1Client {
    /// HTTP/1.0 knows no interim answers (RFC 9110 section 15.2).
    fn interim(&mut self, head: &ResponseHead) {
        if self.http11 {
            write_interim(&mut self.conn.borrow_mut().wbuf, head);
        }
    }

    fn send_continue(&mut self) {
        self.conn
            .borrow_mut()
            .wbuf
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    fn poll_flush(&mut self, cx: &mut TaskContext<'_>) {
        // A client that cannot be written to shows as gone when it is read from.
        let _flushed = self.conn.borrow_mut().poll_flush(cx);
    }

    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.body.as_ref().is_some_and(|body| !body.is_done()) {
            return Poll::Pending;
        }
        self.conn.borrow_mut().poll_gone(cx)
    }
}
