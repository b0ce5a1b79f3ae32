//! A sample of unary gRPC calls over HTTP/2 and TLS: message and trailers are checked, byte for byte.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};

use tidegate_lab::{Alpn, Authority, content};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{REQUESTS, START_PATIENCE, Sample};
use crate::cell::Transfer;
use crate::error::BenchError;
use crate::peer::HOST;
use crate::upstream::{METHOD, framed};

/// Makes [`REQUESTS`] calls on one connection, one after the other; the first that is wrong ends it.
///
/// # Errors
/// Only when the client itself cannot be made.
pub(super) async fn take(target: SocketAddr, ca: &Authority) -> Result<Sample, BenchError> {
    let tls = TlsConnector::from(ca.client_config(Alpn::H2)?);
    let mut right = 0;
    let ended = tokio::time::timeout(START_PATIENCE, calls(target, tls, &mut right)).await;
    let words = match ended {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    Ok(Sample { right, words })
}

async fn calls(target: SocketAddr, tls: TlsConnector, right: &mut u64) -> io::Result<()> {
    let stream = TcpStream::connect(target).await?;
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let stream = tls.connect(name, stream).await?;
    let handshake = h2::client::handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let all = async {
        for _ in 0..REQUESTS {
            call(&mut sender).await?;
            *right += 1;
        }
        Ok(())
    };
    tokio::select! {
        ended = all => ended,
        ended = connection => Err(io::Error::other(format!("the connection ended: {ended:?}"))),
    }
}

/// Makes one call; anything but the right answer is an error.
async fn call(sender: &mut SendRequest<Bytes>) -> io::Result<()> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{HOST}{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(()).map_err(io::Error::other)?;
    let other = io::Error::other::<h2::Error>;
    std::future::poll_fn(|context| sender.poll_ready(context))
        .await
        .map_err(other)?;
    let (answer, mut stream) = sender.send_request(request, false).map_err(other)?;
    stream
        .send_data(Transfer::Call.body(), true)
        .map_err(other)?;
    let (head, mut body) = answer.await.map_err(other)?.into_parts();
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(other)?;
        body.flow_control()
            .release_capacity(data.len())
            .map_err(other)?;
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(other)?;
    match is_right(head.status.as_u16(), &message, trailers.as_ref()) {
        true => Ok(()),
        false => {
            let (status, bytes) = (head.status, message.len());
            Err(io::Error::other(format!(
                "{status}, {bytes} bytes, trailers {trailers:?}"
            )))
        }
    }
}

fn is_right(status: u16, message: &[u8], trailers: Option<&HeaderMap>) -> bool {
    let expected = framed(&content::bytes(content::SEED, 0, 1024));
    let ended = trailers.and_then(|trailers| trailers.get("grpc-status"));
    status == 200 && message == expected && ended.is_some_and(|status| status == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_the_right_answer_is_wrong() {
        let message = framed(&content::bytes(content::SEED, 0, 1024));
        let trailers = |status: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static(status),
            )])
        };
        assert!(is_right(200, &message, Some(&trailers("0"))));
        assert!(!is_right(503, &message, Some(&trailers("0"))));
        assert!(!is_right(200, &message, Some(&trailers("14"))));
        assert!(!is_right(200, &message, None));
        assert!(!is_right(200, &message[1..], Some(&trailers("0"))));
    }
}
