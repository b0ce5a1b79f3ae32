//! The data plane as a whole, without a plan: what starts, what serves, what is left after the end.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::settings::{CertificateFiles, Listener, ListenerLimits, ListenerTls};
use tidegate_core::{News, PlanHandle};
use tidegate_telemetry::access::AccessLog;
use tidegate_telemetry::metrics::Metrics;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::testing::{Authority, settings};

const HOUR: Duration = Duration::from_secs(3600);

fn listener(name: &str, tls: Option<ListenerTls>) -> Listener {
    let limits = ListenerLimits {
        handshake_timeout: HOUR,
        ..ListenerLimits::default()
    };
    let bind = "127.0.0.1:0".parse().unwrap();
    Listener {
        name: name.into(),
        bind,
        tls,
        limits,
        trusted: Vec::new(),
    }
}

fn start(listeners: Vec<Listener>) -> Result<Running, StartError> {
    start_with(listeners, Metrics::new())
}

fn start_with(listeners: Vec<Listener>, metrics: Arc<Metrics>) -> Result<Running, StartError> {
    Proxy::start(ProxyOptions {
        records: Default::default(),
        listeners,
        threads: 2,
        plan: Arc::new(PlanHandle::new()),
        news: News::default(),
        metrics,
        access: AccessLog::off(),
    })
}

async fn connect(running: &Running, position: usize) -> TcpStream {
    TcpStream::connect(running.addresses()[position].1)
        .await
        .unwrap()
}

/// Sends a request and reads its answer's head.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_listener_answers() {
    let authority = Authority::new();
    let tls = settings(&[&authority.issue("a", &["a.test"])]);
    let running = start(vec![listener("http", None), listener("https", Some(tls))]).unwrap();
    let names: Vec<_> = running
        .addresses()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["http", "https"]);
    assert!(
        ask(&mut connect(&running, 0).await)
            .await
            .starts_with("HTTP/1.1 ")
    );

    let connector = TlsConnector::from(Arc::new(authority.client()));
    let stream = connect(&running, 1).await;
    let mut stream = connector
        .connect("a.test".try_into().unwrap(), stream)
        .await
        .unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 "));
    assert_eq!(running.certificates().reload().unwrap()[0].name, "a.test");
    assert_eq!(running.certificates().files().len(), 2);
}

#[tokio::test]
async fn what_cannot_start_says_which_listener_and_leaves_nothing() {
    let running = start(vec![listener("first", None)]).unwrap();
    let mut taken = listener("second", None);
    taken.bind = running.addresses()[0].1;
    let error = start(vec![listener("fine", None), taken.clone()]).unwrap_err();
    assert!(
        matches!(&error, StartError::Bind { listener, .. } if listener == "second"),
        "{error}"
    );
    drop(running);
    drop(start(vec![taken]).unwrap());

    let files = CertificateFiles {
        chain: "/nowhere/a.pem".into(),
        key: "/nowhere/a.key".into(),
    };
    let tls = ListenerTls {
        certificates: vec![files],
        ..settings(&[])
    };
    let error = start(vec![listener("https", Some(tls))])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("https") && error.contains("/nowhere/a.pem"),
        "{error}"
    );
}

/// An idle connection may be silent for a minute; the shutdown does not wait for it.
#[tokio::test]
async fn a_shutdown_is_over_when_the_last_connection_is() {
    let running = start(vec![listener("http", None)]).unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = connect(&running, 0).await;
        ask(&mut client).await;
        clients.push(client);
    }
    // Connected and silent from the first.
    clients.push(connect(&running, 0).await);
    let address = running.addresses()[0].1;
    assert_eq!(
        running.shutdown(HOUR).await,
        Drained {
            finished: true,
            cut: 0
        }
    );
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_left_at_the_limit_is_cut_and_counted() {
    let authority = Authority::new();
    let tls = settings(&[&authority.issue("a", &["a.test"])]);
    let running = start(vec![listener("https", Some(tls))]).unwrap();
    let mut silent = connect(&running, 0).await;
    until(|| running.connections() == 1).await;
    let drained = running.shutdown(Duration::from_millis(1)).await;
    assert_eq!(
        drained,
        Drained {
            finished: false,
            cut: 1
        }
    );
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn dropping_ends_every_thread() {
    let running = start(vec![listener("http", None)]).unwrap();
    let mut client = connect(&running, 0).await;
    ask(&mut client).await;
    let address = running.addresses()[0].1;
    drop(running);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn connections_and_failed_handshakes_are_counted() {
    let authority = Authority::new();
    let tls = settings(&[&authority.issue("a", &["a.test"])]);
    let mut https = listener("https", Some(tls));
    https.limits.connections = 1;
    let metrics = Metrics::new();
    let running = start_with(vec![https], metrics.clone()).unwrap();
    let mut stranger = connect(&running, 0).await;
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    stranger.read_to_end(&mut Vec::new()).await.unwrap();

    // The one place is free again, and taken by who shakes hands.
    let connector = TlsConnector::from(Arc::new(authority.client()));
    let stream = connect(&running, 0).await;
    let mut stream = connector
        .connect("a.test".try_into().unwrap(), stream)
        .await
        .unwrap();
    ask(&mut stream).await;
    let page = metrics.render(None);
    for line in [
        r#"tidegate_tls_handshake_failures_total{listener="https",why="protocol"} 1"#,
        r#"tidegate_downstream_connections_total{listener="https",tls="1.3"} 1"#,
        r#"tidegate_downstream_connections{listener="https"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}
