//! From an accepted socket to a connection that is ready for requests: the TLS handshake with its
//! deadline, and the facts that later steps need.

use std::rc::Rc;

use tidegate_telemetry::labels::TlsVersion;
use tokio::net::TcpStream;

use crate::accept::Accepted;
use crate::clock::now;
use crate::connection;
use crate::facts::{ConnectionFacts, TlsFacts};
use crate::io::Stream;
use crate::listener::ListenerContext;
use crate::tls::server::{HandshakeError, ServerTls};
use crate::wheel::Wheel;
use crate::worker::Worker;

/// Serves a client from its accept to its end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<ListenerContext>, accepted: Accepted) {
    let Accepted {
        stream,
        client,
        place: _place,
    } = accepted;
    let _open = listener.series.open();
    // Boxed, so that its room is given back once it is done.
    match Box::pin(establish(&worker.wheel, &listener, stream, client)).await {
        Ok((stream, facts)) => connection::serve(worker, listener, stream, facts).await,
        Err(error) => {
            listener.series.handshake_failed(error.label());
            tracing::debug!(listener = %listener.name, %client, %error, "no connection");
        }
    }
}

/// A stream for requests and what is known of it.
async fn establish(
    wheel: &Wheel,
    listener: &ListenerContext,
    stream: TcpStream,
    client: std::net::SocketAddr,
) -> Result<(Stream, ConnectionFacts), HandshakeError> {
    let (stream, tls) = match &listener.tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => {
            let (stream, facts) = secure(wheel, listener, tls, stream).await?;
            (stream, Some(facts))
        }
    };
    listener.series.established(version(tls.as_ref()));
    let trusted = listener.trusts(client.ip());
    Ok((
        stream,
        ConnectionFacts {
            listener: listener.name.clone(),
            client,
            trusted,
            tls,
        },
    ))
}

async fn secure(
    wheel: &Wheel,
    listener: &ListenerContext,
    tls: &ServerTls,
    stream: TcpStream,
) -> Result<(Stream, TlsFacts), HandshakeError> {
    let deadline = now() + listener.limits.handshake_timeout;
    let (stream, facts) = tls.accept(stream, &wheel.timer(), deadline).await?;
    Ok((Stream::ServerTls(stream), facts))
}

fn version(tls: Option<&TlsFacts>) -> TlsVersion {
    match tls.map(|tls| tls.version) {
        None => TlsVersion::None,
        Some("TLSv1.2") => TlsVersion::V1_2,
        Some(_) => TlsVersion::V1_3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what `serve` returns, without calling it.
    fn size_of_future<F>(_: fn(Rc<Worker>, Rc<ListenerContext>, Accepted) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection costs this for as long as it idles. Whoever makes it grow, by an array
    /// or a head that is held across an await, shall notice.
    #[test]
    fn a_connection_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 1536, "{size} bytes");
    }
}
