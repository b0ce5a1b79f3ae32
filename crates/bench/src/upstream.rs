//! The upstream of every proxy: HTTP/1.1 with answers made at start, in a process of its own.
//!
//! Ours, so that it counts exactly the requests of the load and is the same on every machine. It has
//! three ports, one a region; only the first counts, so that traffic that strays shows as missing.
//! It refuses chunked bodies: every proxy here has to pass the length on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cell::SIZES;
use crate::error::BenchError;

/// The body of the answer to an upload.
pub(crate) const SINK_ANSWER: &str = "taken\n";

/// Fields of a request; every proxy here adds fewer than ten.
const FIELDS_MAX: usize = 64;

const HEAD_BYTES_MAX: usize = 64 * 1024;

const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What all connections share.
struct Shared {
    counted: AtomicU64,
    contents: Vec<(String, Bytes)>,
}

impl Shared {
    fn new() -> Self {
        let content = |bytes: u64| {
            let len = usize::try_from(bytes).unwrap_or(BODY_BYTES_MAX);
            let body = tidegate_lab::content::bytes(tidegate_lab::content::SEED, 0, len);
            (format!("/bytes/{bytes}"), answer("200 OK", &body))
        };
        Self {
            counted: AtomicU64::new(0),
            contents: SIZES.into_iter().map(content).collect(),
        }
    }

    /// The whole answer, and whether the request belongs to the load.
    fn answer(&self, path: &str, body: &[u8]) -> (Bytes, bool) {
        if let Some((_, content)) = self.contents.iter().find(|(name, _)| name == path) {
            return (content.clone(), true);
        }
        match path {
            "/sink" => (answer("200 OK", SINK_ANSWER.as_bytes()), true),
            "/echo" => (answer("200 OK", body), false),
            "/healthz" => (answer("200 OK", b"ok\n"), false),
            "/count" => {
                let counted = self.counted.load(Relaxed).to_string();
                (answer("200 OK", counted.as_bytes()), false)
            }
            _ => (answer("404 Not Found", b""), false),
        }
    }
}

fn answer(status: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut whole = BytesMut::from(head.as_bytes());
    whole.extend_from_slice(body);
    whole.freeze()
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
        let (answer, of_load) = shared.answer(&head.path, body);
        if of_load && counts {
            shared.counted.fetch_add(1, Relaxed);
        }
        buffer.advance(whole);
        stream.write_all(&answer).await?;
    }
}

/// Binds the three ports and serves them in the background; the addresses are in order of preference.
async fn start() -> io::Result<[SocketAddr; 3]> {
    let shared = Arc::new(Shared::new());
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    for (region, address) in addresses.iter_mut().enumerate() {
        let listener = TcpListener::bind(*address).await?;
        *address = listener.local_addr()?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), region == 0));
            }
        });
    }
    Ok(addresses)
}

/// Serves as a child: prints the addresses in one line, ends when standard input does.
///
/// # Errors
/// When no port can be bound.
pub(crate) async fn serve_as_child() -> Result<(), BenchError> {
    let addresses = start().await.map_err(BenchError::io("the upstream"))?;
    println!("{}", addresses.map(|address| address.to_string()).join(" "));
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
    addresses: [SocketAddr; 3],
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
        let addresses: Option<Vec<_>> = line.split(' ').map(|a| a.trim().parse().ok()).collect();
        let addresses = addresses.and_then(|all| <[SocketAddr; 3]>::try_from(all).ok());
        let addresses = addresses.ok_or_else(|| io(io::Error::other("it did not start")))?;
        Ok(Self { child, addresses })
    }

    /// One address a region, the preferred one first.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        self.addresses
    }

    /// Requests of the load that the first region has answered since the start.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn count(&self) -> Result<u64, BenchError> {
        let counted = count(self.addresses[0]).await;
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
        let [first, second, _] = start().await.unwrap();
        assert_eq!(ask(first, RequestSpec::content(SIZES[0])).await, 5);
        assert_eq!(ask(first, RequestSpec::echo(100_000)).await, 5);
        assert_eq!(ask(first, RequestSpec::get("/healthz")).await, 5);
        assert_eq!(ask(first, RequestSpec::get("/nothing")).await, 0);
        assert_eq!(ask(second, RequestSpec::content(SIZES[2])).await, 5);
        assert_eq!(count(first).await.unwrap(), 5);
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
