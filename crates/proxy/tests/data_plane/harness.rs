//! A running data plane with a hand-built plan, and the clients that talk to it.
//!
//! A test makes a [`Setup`], changes what it is about, and starts it: a [`Rig`] answers on
//! ephemeral ports and shows its access log, its metrics and its board. Everything ends with it.

mod ask;
mod h1;
mod h2;
mod plan;
mod rig;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::h2::server::SendResponse;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use tidegate_lab::{Action, LinkSpec, RawUpstream, RegionSpec, World};

pub(crate) use ask::{Answer, Ask, Down, End};
pub(crate) use h1::H1;
pub(crate) use h2::H2;
pub(crate) use plan::{Setup, certificate};
pub(crate) use rig::Rig;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The host that every client asks for.
pub(crate) const HOST: &str = "a.test";
/// What the proxy adds to a request of an untrusted HTTP/1.1 client without TLS.
pub(crate) const ADDED: &str = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n\
    x-forwarded-host: a.test\r\nforwarded: for=127.0.0.1;proto=http;host=\"a.test\"\r\n\
    via: 1.1 fra1\r\nx-request-id: <id>\r\n";

/// Turns a hang into a failure that says what never came.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = || std::future::ready(condition());
    tidegate_lab::wait_until(what, PATIENCE, holds)
        .await
        .unwrap();
}

/// Regions without distance, each behind its own link.
pub(crate) async fn world(names: &[&str]) -> World {
    let site = |world: tidegate_lab::world::WorldBuilder, name: &&str| {
        world.site(RegionSpec::new(name), LinkSpec::default())
    };
    names
        .iter()
        .fold(World::builder(), site)
        .start()
        .await
        .unwrap()
}

/// An upstream that plays these scripts, one per connection, the last again and again.
pub(crate) async fn raw(scripts: Vec<Vec<Action>>) -> RawUpstream {
    RawUpstream::start(scripts).await.unwrap()
}

/// Reads a head, sends `answer`, and keeps the connection.
pub(crate) fn answering(answer: impl AsRef<[u8]>) -> Vec<Action> {
    let mut script = Action::answer(answer);
    script.push(Action::Stall);
    script
}

/// Everything that connection `index` has sent once `enough` likes it, with request ids replaced.
pub(crate) async fn received(
    upstream: &RawUpstream,
    index: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> String {
    golden(
        &upstream
            .wait_received(index, PATIENCE, enough)
            .await
            .unwrap(),
    )
}

/// Whether a head has arrived whole, and nothing after it.
pub(crate) fn one_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// Bytes as text, every request id that was made by the proxy replaced by `<id>`.
pub(crate) fn golden(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("x-request-id: ");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (id, rest) = part.split_at(32.min(part.len()));
        let made = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        out.push_str("x-request-id: ");
        out.push_str(if made { "<id>" } else { id });
        out.push_str(rest);
    }
    out
}

/// A TLS connection to `addr`, where `name` is expected.
pub(crate) async fn tls(
    addr: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let name = name.to_owned().try_into().unwrap();
    patiently(
        "a handshake",
        TlsConnector::from(config).connect(name, stream),
    )
    .await
}

/// An HTTP/2 upstream on the bare crate, every stream of which is answered by `serve`.
pub(crate) async fn h2_upstream<F>(
    serve: impl Fn(http::Request<::h2::RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Else small answers wait for acknowledgements, which take their time.
            stream.set_nodelay(true).unwrap();
            let serve = serve.clone();
            tokio::spawn(async move {
                let mut builder = ::h2::server::Builder::new();
                let shaking = builder.enable_connect_protocol().handshake(stream);
                let mut connection = shaking.await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(serve(request, respond));
                }
            });
        }
    });
    addr
}

/// An address of this machine where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
