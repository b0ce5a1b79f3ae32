//! An HTTP/1.1 client that sends what it is told, byte for byte, and reads by the book.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;

use super::{Answer, Ask, End, HOST, patiently};

/// What a connection is made of.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A client's connection.
pub(crate) struct H1 {
    reader: Reader,
    writer: WriteHalf<Box<dyn Io>>,
}

struct Reader {
    half: ReadHalf<Box<dyn Io>>,
    buf: Vec<u8>,
    /// How the peer ended, once it has.
    ended: Option<String>,
}

impl H1 {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = patiently("a connection", TcpStream::connect(addr))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    pub(crate) fn over(io: impl Io + 'static) -> Self {
        let (half, writer) = split(Box::new(io) as Box<dyn Io>);
        Self {
            reader: Reader {
                half,
                buf: Vec::new(),
                ended: None,
            },
            writer,
        }
    }

    /// Sends bytes; a peer that takes no more shows when it is read from.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.writer.write_all(bytes.as_ref());
        let _refused = patiently("room to send", sent).await;
        let _refused = self.writer.flush().await;
    }

    /// Sends a request and reads its answer, both at the same time.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        let bytes = encode(ask);
        let Self { reader, writer } = self;
        let sending = async {
            let _refused = writer.write_all(&bytes).await;
            let _refused = writer.flush().await;
        };
        let both = async { tokio::join!(sending, reader.answer(&ask.method)).1 };
        patiently("an answer", both).await
    }

    /// Sends a head as it stands and reads its answer.
    pub(crate) async fn ask_raw(&mut self, head: &str) -> Answer {
        self.send(head).await;
        self.answer().await
    }

    /// Reads one answer to its end.
    pub(crate) async fn answer(&mut self) -> Answer {
        patiently("an answer", self.reader.answer(&Method::GET)).await
    }

    /// Reads one head, as it stands.
    pub(crate) async fn head(&mut self) -> String {
        let head = patiently("a head", self.reader.head()).await;
        String::from_utf8(head.unwrap_or_else(|| panic!("ended: {:?}", self.reader))).unwrap()
    }

    /// Reads exactly so many bytes, fewer if the peer ends.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        patiently("bytes", self.reader.up_to(count)).await
    }

    /// Everything until the peer ends, and how it did.
    pub(crate) async fn rest(&mut self) -> (String, String) {
        patiently("the end", async { while self.reader.fill().await {} }).await;
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.reader.buf)).into_owned();
        (text, self.reader.ended.clone().unwrap())
    }

    /// Whether the peer has nothing more to say, without having been asked anything.
    pub(crate) async fn is_ended(&mut self) -> bool {
        let (rest, _) = self.rest().await;
        rest.is_empty()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} then {:?}",
            String::from_utf8_lossy(&self.buf),
            self.ended
        )
    }
}

impl Reader {
    /// Reads more; false once the peer has ended.
    async fn fill(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match self.half.read_buf(&mut self.buf).await {
            Ok(0) => self.ended = Some("closed".to_owned()),
            Ok(_) => return true,
            Err(error) => self.ended = Some(error.kind().to_string()),
        }
        false
    }

    async fn head(&mut self) -> Option<Vec<u8>> {
        self.line_end(b"\r\n\r\n").await
    }

    /// Everything up to and including `mark`; none if the peer ends before.
    async fn line_end(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self
                .buf
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(at) = found {
                return Some(self.buf.drain(..at + mark.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn up_to(&mut self, count: usize) -> Vec<u8> {
        while self.buf.len() < count && self.fill().await {}
        let count = count.min(self.buf.len());
        self.buf.drain(..count).collect()
    }

    async fn answer(&mut self, method: &Method) -> Answer {
        let mut interims = Vec::new();
        loop {
            let Some(head) = self.head().await else {
                panic!("no answer: {self:?}")
            };
            let (status, headers) = parse(&head);
            if (100..200).contains(&status) && status != 101 {
                interims.push((status, headers));
                continue;
            }
            let mut answer = Answer {
                status,
                headers,
                body: Vec::new(),
                trailers: HeaderMap::new(),
                interims,
                end: End::Whole,
            };
            let bodiless = *method == Method::HEAD || matches!(status, 101 | 204 | 304);
            if !bodiless && self.body(&mut answer).await.is_none() {
                answer.end = End::Cut(self.ended.clone().unwrap_or_default());
            }
            return answer;
        }
    }

    async fn body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.header("transfer-encoding") == "chunked" {
            return self.chunks(answer).await;
        }
        if let Ok(length) = answer.header("content-length").parse() {
            answer.body = self.up_to(length).await;
            return (answer.body.len() == length).then_some(());
        }
        while self.fill().await {}
        answer.body = std::mem::take(&mut self.buf);
        (self.ended.as_deref() == Some("closed")).then_some(())
    }

    async fn chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let line = self.line_end(b"\r\n").await?;
            let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            let data = self.up_to(size).await;
            answer.body.extend_from_slice(&data);
            if data.len() < size || self.up_to(2).await != b"\r\n" {
                return None;
            }
        }
        let mut trailers = b"-\r\n".to_vec();
        while !trailers.ends_with(b"\r\n\r\n") {
            trailers.extend(self.line_end(b"\r\n").await?);
        }
        answer.trailers = fields(std::str::from_utf8(&trailers).unwrap());
        Some(())
    }
}

fn parse(head: &[u8]) -> (u16, HeaderMap) {
    let text = std::str::from_utf8(head).unwrap();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status line: {text:?}")),
        fields(text),
    )
}

/// The field lines after the first line.
fn fields(text: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in text.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line:?} in {text:?}"));
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

fn encode(ask: &Ask) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {HOST}\r\n", ask.method, ask.path);
    for (name, value) in &ask.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match (ask.unsized_body, ask.body.len()) {
        (true, _) => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        (false, 0) => head.push_str("\r\n"),
        (false, length) => head.push_str(&format!("content-length: {length}\r\n\r\n")),
    }
    let mut bytes = head.into_bytes();
    if ask.unsized_body {
        encode_chunks(ask, &mut bytes);
    } else {
        bytes.extend_from_slice(&ask.body);
    }
    bytes
}

fn encode_chunks(ask: &Ask, bytes: &mut Vec<u8>) {
    for chunk in ask.body.chunks(10_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in &ask.trailers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
}
