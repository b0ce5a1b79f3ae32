//! TLS on real sockets: which certificate, which version, what a reload changes and what it does not.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{CipherSuite, ClientConfig, NamedGroup, SupportedCipherSuite, version};
use tidegate_core::plan::UpstreamTls;
use tidegate_core::settings::TlsVersion;
use tidegate_tls::client_config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::{CertificateHandle, HandshakeError, ServerTls};
use super::testing::{Authority, Issued, accept, connect, settings, shake_hands};
use super::{TlsError, testing};
use crate::clock::now;
use crate::facts::TlsFacts;
use crate::tcp::Tcp;
use crate::wheel::{TICK, Wheel};

/// A handshake that must succeed.
async fn good(
    tls: &ServerTls,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (TlsFacts, testing::Seen) {
    let (facts, seen) = shake_hands(tls, config, name).await;
    (facts.unwrap(), seen.unwrap())
}

/// A handshake that must fail at our side.
async fn refused(tls: &ServerTls, config: ClientConfig) -> HandshakeError {
    let (facts, seen) = shake_hands(tls, &Arc::new(config), "a.test").await;
    assert!(seen.is_err());
    facts.unwrap_err()
}

/// A client that takes any certificate, to see which one it is given.
fn any_certificate() -> Arc<ClientConfig> {
    let tls = UpstreamTls {
        server_name: None,
        roots: None,
        client_identity: None,
        insecure_skip_verify: true,
    };
    Arc::new(client_config(&tls, Vec::new()).unwrap())
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let authority = Authority::new();
    let first = authority.issue("first", &["first.test"]);
    let exact = authority.issue("exact", &["a.test", "www.b.test"]);
    let wild = authority.issue("wild", &["*.b.test", "B-Upper.test"]);
    let tls = ServerTls::new(&settings(&[&first, &exact, &wild])).unwrap();
    let client = any_certificate();
    let check = async |name: &str, expected: &Issued| {
        let (facts, seen) = good(&tls, &client, name).await;
        assert_eq!(seen.leaf, expected.leaf, "{name}");
        facts.sni
    };
    assert_eq!(check("a.test", &exact).await.as_deref(), Some("a.test"));
    assert_eq!(check("A.TEST", &exact).await.as_deref(), Some("a.test"));
    check("first.test", &first).await;
    check("www.b.test", &exact).await;
    check("x.b.test", &wild).await;
    check("b-upper.test", &wild).await;
    check("x.y.b.test", &first).await;
    check("b.test", &first).await;
    check("unknown.test", &first).await;
    assert_eq!(check("127.0.0.1", &first).await, None);
}

#[tokio::test]
async fn the_protocol_is_agreed_on_and_the_key_exchange_is_post_quantum() {
    let authority = Authority::new();
    let tls = ServerTls::new(&settings(&[&authority.issue("a", &["a.test"])])).unwrap();
    let check = async |offered: &[&str], expected: Option<&'static str>| {
        let mut config = authority.client();
        config.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let (facts, seen) = good(&tls, &Arc::new(config), "a.test").await;
        assert_eq!(facts.alpn, expected, "{offered:?}");
        assert_eq!(
            seen.alpn.as_deref(),
            expected.map(str::as_bytes),
            "{offered:?}"
        );
        assert_eq!(facts.version, "TLSv1.3");
        assert_eq!(seen.group, Some(NamedGroup::X25519MLKEM768));
        assert!(facts.client_certificates.is_empty());
    };
    check(&["http/1.1", "h2"], Some("h2")).await;
    check(&["http/1.1"], Some("http/1.1")).await;
    check(&[], None).await;
}

#[tokio::test]
async fn the_cheaper_aes_is_preferred_but_to_chacha_of_a_client_without_aes() {
    let authority = Authority::new();
    let tls = ServerTls::new(&settings(&[&authority.issue("a", &["a.test"])])).unwrap();
    let check = async |order: &[SupportedCipherSuite], expected: CipherSuite| {
        let provider = CryptoProvider {
            cipher_suites: order.to_vec(),
            ..Arc::unwrap_or_clone(super::provider())
        };
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let (_, seen) = good(&tls, &Arc::new(client), "a.test").await;
        assert_eq!(seen.suite, Some(expected), "{order:?}");
    };
    let [small, large, chacha] = [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    check(&[large, chacha, small], small.suite()).await;
    check(&[chacha, small, large], chacha.suite()).await;
    check(&[large, chacha], large.suite()).await;
    let older = [
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    check(&older, older[1].suite()).await;
    let mobile = cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    check(&[mobile, older[0]], mobile.suite()).await;
}

#[tokio::test]
async fn old_versions_are_refused_by_the_minimum() {
    let authority = Authority::new();
    let mut settings = settings(&[&authority.issue("a", &["a.test"])]);
    let old = authority.client_of(&version::TLS12);
    let tls = ServerTls::new(&settings).unwrap();
    let (facts, _) = good(&tls, &Arc::new(old.clone()), "a.test").await;
    assert_eq!(facts.version, "TLSv1.2");
    settings.min_version = TlsVersion::V1_3;
    let tls = ServerTls::new(&settings).unwrap();
    let error = refused(&tls, old).await;
    assert!(matches!(error, HandshakeError::Incompatible(_)), "{error}");
    good(&tls, &Arc::new(authority.client()), "a.test").await;
}

#[tokio::test]
async fn a_reload_serves_the_next_handshake_and_leaves_connections_alone() {
    let authority = Authority::new();
    let old = authority.issue("a", &["a.test"]);
    let tls = Arc::new(ServerTls::new(&settings(&[&old])).unwrap());
    let handle = CertificateHandle::new(vec![("https".into(), tls.clone())]);
    let client = Arc::new(authority.client());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = async {
        let (mut stream, _) = accept(&tls, &listener).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        stream
    };
    let (mut ours, theirs) = tokio::join!(serving, connect(&listener, &client, "a.test"));
    let (mut theirs, seen) = theirs.unwrap();
    assert_eq!(seen.leaf, old.leaf);

    let new = authority.issue("a", &["a.test"]);
    assert_ne!(new.leaf, old.leaf);
    assert_eq!(
        good(&tls, &any_certificate(), "a.test").await.1.leaf,
        old.leaf
    );
    let loaded = handle.reload().unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].name, "a.test");
    assert_eq!(
        good(&tls, &any_certificate(), "a.test").await.1.leaf,
        new.leaf
    );

    theirs.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    ours.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"still here");
}

#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let authority = Authority::new();
    let (a, b) = (
        authority.issue("a", &["a.test"]),
        authority.issue("b", &["b.test"]),
    );
    let one = Arc::new(ServerTls::new(&settings(&[&a])).unwrap());
    let two = Arc::new(ServerTls::new(&settings(&[&b])).unwrap());
    let listeners = vec![("one".into(), one.clone()), ("two".into(), two)];
    let handle = CertificateHandle::new(listeners);
    authority.issue("a", &["a.test"]);
    // Each client is new: one that resumes is shown no certificate.
    let shown = async || good(&one, &any_certificate(), "a.test").await.1.leaf;

    std::fs::copy(&a.files.key, &b.files.key).unwrap();
    let error = handle.reload().unwrap_err();
    assert!(
        matches!(&error, TlsError::Key { key, .. } if *key == b.files.key),
        "{error}"
    );
    std::fs::write(&b.files.chain, "nothing").unwrap();
    let error = handle.reload().unwrap_err();
    assert!(
        matches!(&error, TlsError::NoCertificate { path } if *path == b.files.chain),
        "{error}"
    );
    std::fs::remove_file(&b.files.chain).unwrap();
    let error = handle.reload().unwrap_err();
    assert!(error.to_string().contains("b.pem"), "{error}");
    assert_eq!(shown().await, a.leaf, "the good one waits, too");

    authority.issue("b", &["b.test"]);
    handle.reload().unwrap();
    assert_ne!(shown().await, a.leaf);
    let mut files = vec![a.files.chain, a.files.key, b.files.chain, b.files.key];
    files.sort();
    assert_eq!(handle.files(), files);
}

#[tokio::test]
async fn clients_of_the_authority_are_let_in_and_a_new_authority_counts_at_once() {
    let (servers, ours, theirs) = (Authority::new(), Authority::new(), Authority::new());
    let mut settings = settings(&[&servers.issue("a", &["a.test"])]);
    settings.client_ca = Some(ours.file());
    let tls = ServerTls::new(&settings).unwrap();

    let error = refused(&tls, servers.client()).await;
    assert!(
        matches!(error, HandshakeError::ClientCertificate(_)),
        "{error}"
    );
    let stranger = servers.client_as(&theirs.issue("client", &["stranger"]));
    let error = refused(&tls, stranger.clone()).await;
    assert!(
        matches!(error, HandshakeError::ClientCertificate(_)),
        "{error}"
    );

    let identity = ours.issue("client", &["friend"]);
    let friend = Arc::new(servers.client_as(&identity));
    let (facts, _) = good(&tls, &friend, "a.test").await;
    assert_eq!(facts.client_certificates, [identity.leaf.to_vec()]);
    let subject = facts.client_subject.expect("a subject");
    assert!(subject.starts_with("CN="), "{subject}");
    let (facts, seen) = good(&tls, &friend, "a.test").await;
    assert!(seen.resumed);
    assert_eq!(
        facts.client_certificates,
        [identity.leaf.to_vec()],
        "known from the ticket"
    );
    assert_eq!(facts.client_subject, Some(subject));

    std::fs::write(settings.client_ca.unwrap(), theirs.pem()).unwrap();
    tls.commit(tls.prepare().unwrap());
    let error = refused(&tls, (*friend).clone()).await;
    assert!(
        matches!(error, HandshakeError::ClientCertificate(_)),
        "ticket in hand: {error}"
    );
    good(&tls, &Arc::new(stranger), "a.test").await;
}

#[test]
fn sessions_resume_on_any_thread_and_across_a_renewal() {
    let authority = Authority::new();
    let tls = Arc::new(ServerTls::new(&settings(&[&authority.issue("a", &["a.test"])])).unwrap());
    let check = |client: &Arc<ClientConfig>, resumed: bool| {
        let (tls, client) = (tls.clone(), client.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(good(&tls, &client, "a.test")).1.resumed
        });
        assert_eq!(thread.join().unwrap(), resumed);
    };
    for version in [&version::TLS12, &version::TLS13] {
        let client = Arc::new(authority.client_of(version));
        check(&client, false);
        check(&client, true);
        authority.issue("a", &["a.test"]);
        tls.commit(tls.prepare().unwrap());
        check(&client, true);
    }
}

#[tokio::test]
async fn what_is_not_tls_is_told_from_who_went_away() {
    let authority = Authority::new();
    let tls = ServerTls::new(&settings(&[&authority.issue("a", &["a.test"])])).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = async |bytes: &[u8]| {
        let client = async {
            let mut stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            stream.write_all(bytes).await.unwrap();
        };
        tokio::join!(accept(&tls, &listener), client)
            .0
            .map(|_| ())
            .unwrap_err()
    };
    let error = check(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error}");
    let error = check(b"").await;
    assert!(matches!(error, HandshakeError::Closed(_)), "{error}");
    let untrusting = Authority::new().client();
    let (error, _) = shake_hands(&tls, &Arc::new(untrusting), "a.test").await;
    assert!(matches!(error, Err(HandshakeError::Alert(_))));
}

/// The clock is paused: it runs ahead to the deadline because nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_at_the_deadline() {
    let authority = Authority::new();
    let tls = ServerTls::new(&settings(&[&authority.issue("a", &["a.test"])])).unwrap();
    let wheel = Wheel::new(now());
    let local = tokio::task::LocalSet::new();
    local.spawn_local(wheel.run());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let deadline = now() + 50 * TICK;
    let stream = accepted.unwrap().0;
    let outcome = local
        .run_until(tls.accept(Tcp::new(stream), &wheel.timer(), deadline))
        .await;
    assert!(matches!(outcome, Err(HandshakeError::Timeout)));
    assert!(now() >= deadline && now() <= deadline + 2 * TICK);
    assert_eq!(
        client.unwrap().read(&mut [0]).await.unwrap(),
        0,
        "the socket is closed"
    );
}
