//! From an accepted socket to a connection that is ready for requests: the TLS handshake with its
//! deadline, and the facts that later steps need.

use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tidegate_telemetry::labels::TlsVersion;

use crate::accept::Accepted;
use crate::clock::now;
use crate::connection;
use crate::facts::{ConnectionFacts, TlsFacts};
use crate::io::Stream;
use crate::listener::ListenerContext;
use crate::tcp::Tcp;
use crate::tls::server::{HandshakeError, ServerTls};
use crate::wheel::Wheel;
use crate::worker::Worker;

/// Serves a client from its accept to its end; one that speaks HTTP/2 up to there, and then as returned.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<ListenerContext>,
    accepted: Accepted,
) -> Option<LocalBoxFuture<'static, ()>> {
    let Accepted {
        stream,
        client,
        place,
    } = accepted;
    let stream = Tcp::new(stream);
    let open = listener.series.open();
    let secured = match &listener.tls {
        None => Ok((Stream::Plain(stream), None)),
        // Boxed, so that its room is given back once it is done.
        Some(tls) => Box::pin(secure(&worker.wheel, &listener, tls, stream)).await,
    };
    match secured {
        Ok((stream, tls)) => {
            let facts = facts(&listener, client, tls);
            let http2 = connection::serve(worker, listener, stream, facts).await?;
            Some(
                http2
                    .serve()
                    .map(move |()| drop((open, place)))
                    .boxed_local(),
            )
        }
        Err(error) => {
            listener.series.handshake_failed(error.label());
            tracing::debug!(listener = %listener.name, %client, %error, "no connection");
            None
        }
    }
}

/// What is known of a client that is ready for requests, which is counted as established.
fn facts(listener: &ListenerContext, client: SocketAddr, tls: Option<TlsFacts>) -> ConnectionFacts {
    listener.series.established(version(tls.as_ref()));
    ConnectionFacts {
        listener: listener.name.clone(),
        client,
        trusted: listener.trusts(client.ip()),
        tls,
    }
}

async fn secure(
    wheel: &Wheel,
    listener: &ListenerContext,
    tls: &ServerTls,
    stream: Tcp,
) -> Result<(Stream, Option<TlsFacts>), HandshakeError> {
    let deadline = now() + listener.limits.handshake_timeout;
    let (stream, facts) = tls.accept(stream, &wheel.timer(), deadline).await?;
    Ok((Stream::ServerTls(stream), Some(facts)))
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
