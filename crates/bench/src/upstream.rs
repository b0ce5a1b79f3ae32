//! The upstream of every proxy: answers made at start, over HTTP/1.1 and h2c, in a process of its own.
//!
//! Ours, so that it counts exactly the requests of the load and is the same on every machine. It has
//! three ports a protocol, one a region; only the first region counts, so that traffic that strays
//! shows as missing. Every address of the loopback network leads to it, for many endpoints.
//! It refuses chunked bodies: every proxy here has to pass the length on.

mod h2c;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::cell::SIZES;
use crate::error::BenchError;

pub(crate) use h2c::{METHOD, framed};

/// The body of the answer to an upload.
pub(crate) const SINK_ANSWER: &str = "taken\n";

/// Where the smallest content is.
const CONTENT: &str = "/bytes/1024";

/// Fields of a request; every proxy here adds fewer than ten.
const FIELDS_MAX: usize = 64;

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Connections that wait to be accepted. The usual 128 are fewer than a proxy opens at once for a
/// load of many streams; the kernel would drop the rest, and they would be tried again a second later.
const BACKLOG: u32 = 4096;

const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What all connections share.
struct Shared {
    counted: AtomicU64,
    contents: Vec<(String, Answer)>,
}

/// An answer, ready for either protocol.
#[derive(Clone)]
struct Answer {
    status: u16,
    body: Bytes,
    /// Head and body in HTTP/1.1.
    whole: Bytes,
    /// Whether the request belongs to the load, so that it is counted.
    of_load: bool,
}

impl Answer {
    fn new(status: u16, body: Bytes, of_load: bool) -> Self {
        let reason = if status == 200 { "OK" } else { "Not Found" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut whole = BytesMut::from(head.as_bytes());
        whole.extend_from_slice(&body);
        Self {
            status,
            whole: whole.freeze(),
            body,
            of_load,
        }
    }
}

impl Shared {
    fn new() -> Self {
        let content = |bytes: u64| {
            let len = usize::try_from(bytes).unwrap_or(BODY_BYTES_MAX);
            let body = tidegate_lab::content::bytes(tidegate_lab::content::SEED, 0, len);
            let answer = Answer::new(200, body, true);
            (format!("/bytes/{bytes}"), answer)
        };
        let sink = (
            "/sink".to_owned(),
            Answer::new(200, SINK_ANSWER.into(), true),
        );
        Self {
            counted: AtomicU64::new(0),
            contents: SIZES.into_iter().map(content).chain([sink]).collect(),
        }
    }

    fn answer(&self, path: &str, body: &[u8]) -> Answer {
        let path = without_route(path);
        if let Some((_, content)) = self.contents.iter().find(|(name, _)| name == path) {
            return content.clone();
        }
        match path {
            "/echo" => Answer::new(200, Bytes::copy_from_slice(body), false),
            "/healthz" => Answer::new(200, Bytes::from_static(b"ok\n"), false),
            "/count" => Answer::new(200, self.counted.load(Relaxed).to_string().into(), false),
            _ => Answer::new(404, Bytes::new(), false),
        }
    }
}

/// The path below `/r/{n}`, where the proxies have a route of their own for each `n`.
fn without_route(path: &str) -> &str {
    let below = path.strip_prefix("/r/").and_then(|rest| rest.find('/'));
    below.map_or(path, |slash| &path["/r/".len() + slash..])
}

/// What of a request's head matters here.
struct Head {
    path: String,
    head_bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// `None` while the head is incomplete.
    fn parse(buffer: &[u8]) -> io::Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(buffer).map_err(io::Error::other)?;
        let httparse::Status::Complete(head_bytes) = parsed else {
            return Ok(None);
        };
        let mut body_bytes = 0;
        for field in request.headers.iter() {
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("a body without a length"));
            }
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).map_err(io::Error::other)?;
                body_bytes = text.trim().parse().map_err(io::Error::other)?;
            }
        }
        if body_bytes > BODY_BYTES_MAX {
            return Err(io::Error::other("a body too large"));
        }
        Ok(Some(Self {
            path: request.path.unwrap_or_default().to_owned(),
            head_bytes,
            body_bytes,
        }))
    }
}

/// Serves a connection until it closes or breaks a rule.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>, counts: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        let Some(head) = Head::parse(&buffer)? else {
            if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let whole = head.head_bytes + head.body_bytes;
        while buffer.len() < whole {
            buffer.reserve(64 * 1024);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body = &buffer[head.head_bytes..whole];
        let answer = shared.answer(&head.path, body);
        if answer.of_load && counts {
            shared.counted.fetch_add(1, Relaxed);
        }
        buffer.advance(whole);
        stream.write_all(&answer.whole).await?;
    }
}

/// Where the upstream listens; the addresses of each are in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// One a region, HTTP/1.1.
    pub(crate) http1: [SocketAddr; 3],
    /// One a region, HTTP/2 by prior knowledge.
    pub(crate) h2c: [SocketAddr; 3],
}

impl Addresses {
    /// One line for the parent.
    fn line(&self) -> String {
        let all = self.http1.iter().chain(&self.h2c);
        all.map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
    }

    fn parse(line: &str) -> Option<Self> {
        let all: Option<Vec<_>> = line.split_whitespace().map(|a| a.parse().ok()).collect();
        let (http1, h2c) = all.as_deref()?.split_at_checked(3)?;
        Some(Self {
            http1: http1.try_into().ok()?,
            h2c: h2c.try_into().ok()?,
        })
    }
}

/// Binds a port of every address of the loopback network, so that one upstream looks like many.
fn bind() -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    let listener = socket.listen(BACKLOG)?;
    let port = listener.local_addr()?.port();
    Ok((listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

/// Binds all ports and serves them in the background.
pub(crate) async fn start() -> io::Result<Addresses> {
    let shared = Arc::new(Shared::new());
    let nowhere = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    let (mut http1, mut h2c) = (nowhere, nowhere);
    for region in 0..3 {
        let (listener, address) = bind()?;
        http1[region] = address;
        tokio::spawn(accept(listener, Arc::clone(&shared), region == 0, serve));
        let (listener, address) = bind()?;
        h2c[region] = address;
        tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            region == 0,
            h2c::serve,
        ));
    }
    Ok(Addresses { http1, h2c })
}

/// Serves who comes from this machine; the port is open to others too.
async fn accept<F>(
    listener: TcpListener,
    shared: Arc<Shared>,
    counts: bool,
    serve: fn(TcpStream, Arc<Shared>, bool) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok((stream, from)) = listener.accept().await {
        if from.ip().is_loopback() {
            tokio::spawn(serve(stream, Arc::clone(&shared), counts));
        }
    }
}

/// Serves as a child: prints the addresses in one line, ends when standard input does.
///
/// # Errors
/// When no port can be bound.
pub(crate) async fn serve_as_child() -> Result<(), BenchError> {
    let addresses = start().await.map_err(BenchError::io("the upstream"))?;
    println!("{}", addresses.line());
    parent_gone().await;
    Ok(())
}

/// Comes back when standard input ends, which is when the parent drops its handle or dies.
pub(crate) async fn parent_gone() {
    let mut sink = tokio::io::sink();
    let mut stdin = tokio::io::stdin();
    // An error means the same as the end.
    let _ = tokio::io::copy(&mut stdin, &mut sink).await;
}

/// The upstream's process. It ends when this is dropped.
pub(crate) struct Upstream {
    child: Child,
    addresses: Addresses,
}

impl Upstream {
    /// Starts it on the core of the load.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start() -> Result<Self, BenchError> {
        let io = |source| BenchError::io("the upstream's process")(source);
        let own = std::env::current_exe().map_err(io)?;
        let mut command = crate::peer::pinned(crate::LOAD_CORE, own.as_os_str());
        command.arg("upstream").stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(io)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).map_err(io)?;
        }
        let addresses = Addresses::parse(&line);
        let addresses = addresses.ok_or_else(|| io(io::Error::other("it did not start")))?;
        Ok(Self { child, addresses })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Requests of the load that the first region has answered since the start.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn count(&self) -> Result<u64, BenchError> {
        let counted = count(self.addresses.http1[0]).await;
        counted.map_err(BenchError::io("the upstream's count"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It has ended already, or nothing more can be done.
        let _ = self.child.wait();
    }
}

async fn count(address: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /count HTTP/1.1\r\nhost: u\r\n\r\n")
        .await?;
    stream.shutdown().await?;
    let mut whole = String::new();
    stream.read_to_string(&mut whole).await?;
    let body = whole.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    body.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use tidegate_lab::{Client, ClientSpec, RequestSpec};

    use super::*;

    async fn ask(target: SocketAddr, what: RequestSpec) -> u64 {
        let spec = ClientSpec {
            requests: Some(5),
            mix: vec![what],
            ..ClientSpec::new(target, "bench")
        };
        Client::start(spec).unwrap().finish().await.ok()
    }

    #[tokio::test]
    async fn counts_the_load_of_the_first_region_only() {
        let [first, second, _] = start().await.unwrap().http1;
        assert_eq!(ask(first, RequestSpec::content(SIZES[0])).await, 5);
        assert_eq!(ask(first, RequestSpec::echo(100_000)).await, 5);
        assert_eq!(ask(first, RequestSpec::get("/healthz")).await, 5);
        assert_eq!(ask(first, RequestSpec::get("/nothing")).await, 0);
        assert_eq!(ask(second, RequestSpec::content(SIZES[2])).await, 5);
        assert_eq!(count(first).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn every_address_of_the_loopback_network_leads_to_it() {
        let mut first = start().await.unwrap().http1[0];
        first.set_ip([127, 0, 3, 232].into());
        assert_eq!(ask(first, RequestSpec::get("/r/17/bytes/1024")).await, 5);
        assert_eq!(count(first).await.unwrap(), 5);
    }

    #[test]
    fn addresses_survive_the_line() {
        let addresses = |from: u16| [0, 1, 2].map(|n| SocketAddr::from(([127, 0, 0, 1], from + n)));
        let all = Addresses {
            http1: addresses(1),
            h2c: addresses(4),
        };
        assert_eq!(Addresses::parse(&all.line()), Some(all));
        assert_eq!(Addresses::parse("127.0.0.1:1 127.0.0.1:2"), None);
        assert_eq!(Addresses::parse(""), None);
    }

    #[test]
    fn a_route_is_no_part_of_the_path() {
        let table = [
            ("/r/0/bytes/1", "/bytes/1"),
            ("/r/12/", "/"),
            ("/r/12", "/r/12"),
            ("/bytes/1", "/bytes/1"),
        ];
        for (path, expected) in table {
            assert_eq!(without_route(path), expected, "{path}");
        }
    }

    #[test]
    fn a_body_without_a_usable_length_is_refused() {
        let bad = [
            "transfer-encoding: chunked",
            "content-length: x",
            "content-length: 99999999",
        ];
        for field in bad {
            let head = format!("PUT / HTTP/1.1\r\n{field}\r\n\r\n");
            assert!(Head::parse(head.as_bytes()).is_err(), "{field}");
        }
        assert!(Head::parse(b"GET / HTTP/1.1\r\n").unwrap().is_none());
    }
}
