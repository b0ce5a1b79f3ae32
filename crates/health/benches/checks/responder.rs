//! The other end: a process of its own that answers every head with the same bytes, as little as
//! an endpoint can do.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The argument that makes this program a responder.
pub(crate) const RESPOND: &str = "--respond";
/// Ports to listen on. Endpoints share them, and each keeps connections of its own.
const PORTS: usize = 100;
const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nserver: responder\r\ncontent-type: text/plain\r\n\
                      content-length: 3\r\n\r\nok\n";
const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nserver: responder\r\ncontent-type: text/plain\r\n\
                         content-length: 3\r\nconnection: close\r\n\r\nok\n";

/// How the responder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Connections stay.
    Keeps,
    /// `connection: close` with every answer.
    Closes,
    /// Connections stay, under TLS.
    Tls,
    /// HTTP/2, by prior knowledge.
    Http2,
}

/// A responder under way; ends with its handle.
pub(crate) struct Responder {
    child: Child,
    /// `host:port` of each port.
    pub(crate) addresses: Vec<String>,
}

impl Responder {
    /// Starts this program again, as a responder.
    pub(crate) fn start(manner: Manner) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args([RESPOND, &format!("{manner:?}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addresses = lines.take(PORTS).map(Result::unwrap).collect();
        Self { child, addresses }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Responds until its standard input ends, which it does with the process that started it.
pub(crate) fn respond(manner: &str) {
    let manner = [Manner::Keeps, Manner::Closes, Manner::Tls, Manner::Http2]
        .into_iter()
        .find(|known| format!("{known:?}") == manner)
        .unwrap();
    let tls = (manner == Manner::Tls).then(acceptor);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut stdout = std::io::stdout().lock();
        for _ in 0..PORTS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            writeln!(stdout, "{}", listener.local_addr().unwrap()).unwrap();
            tokio::spawn(accept(listener, tls.clone(), manner));
        }
        stdout.flush().unwrap();
        let mut end = [0];
        let _ended = tokio::io::stdin().read(&mut end).await;
    });
    // The thread that reads standard input cannot be joined.
    std::process::exit(0);
}

fn acceptor() -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["probe.test".to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, manner: Manner) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let tls = tls.clone();
        tokio::spawn(async move {
            match (tls, manner) {
                (Some(tls), _) => answer(tls.accept(stream).await.ok()?, KEPT).await,
                (None, Manner::Http2) => answer_http2(stream).await,
                (None, Manner::Closes) => answer(stream, CLOSING).await,
                (None, _) => answer(stream, KEPT).await,
            }
        });
    }
}

/// One read is one head: nothing that probes sends is larger, nor comes in pieces.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &'static [u8],
) -> Option<()> {
    let mut head = [0; 1024];
    loop {
        if stream.read(&mut head).await.ok()? == 0 {
            return None;
        }
        stream.write_all(answer).await.ok()?;
        stream.flush().await.ok()?;
        if answer == CLOSING {
            return None;
        }
    }
}

async fn answer_http2(stream: TcpStream) -> Option<()> {
    let service = service_fn(|_| async {
        let body = Full::new(Bytes::from_static(b"ok\n"));
        Ok::<_, Infallible>(Response::new(body))
    });
    Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok()
}
