//! Sessions with a client of rustls, and with one that can send anything.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

use super::super::handshake::Handshake;
use super::super::testing::Authority;
use super::*;

/// A server and a client of one cipher.
struct World {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl World {
    fn new(suite: SupportedCipherSuite) -> Self {
        let authority = Authority::new();
        let issued = authority.issue("a", &["a.test"]);
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            ..Arc::unwrap_or_clone(super::super::provider())
        });
        let versions = [suite.version()];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&issued.files.chain).unwrap()],
                PrivateKeyDer::from_pem_file(&issued.files.key).unwrap(),
            )
            .unwrap();
        server.enable_secret_extraction = true;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    async fn serve(&self, io: DuplexStream) -> Session<DuplexStream> {
        let mut handshake = Handshake::new(io);
        handshake.greeting().await.unwrap();
        handshake
            .shake(self.server.clone(), |_| ())
            .await
            .unwrap()
            .0
    }

    /// A session with a client of rustls, over a pipe that holds so many bytes.
    async fn meet(&self, room: usize) -> (Session<DuplexStream>, client::TlsStream<DuplexStream>) {
        let (ours, theirs) = duplex(room);
        let name = ServerName::try_from("a.test").unwrap();
        let client = TlsConnector::from(self.client.clone()).connect(name, theirs);
        let (session, client) = tokio::join!(self.serve(ours), client);
        (session, client.unwrap())
    }

    /// A session with a client that can send anything.
    async fn meet_anything(&self) -> (Session<DuplexStream>, Anything) {
        let (ours, theirs) = duplex(100_000);
        tokio::join!(
            self.serve(ours),
            Anything::connect(self.client.clone(), theirs)
        )
    }
}

/// A client that seals what it is told to.
struct Anything {
    io: DuplexStream,
    sealer: Sealer,
    opener: Opener,
    keys: KernelConnection<ClientConnectionData>,
}

impl Anything {
    async fn connect(config: Arc<ClientConfig>, mut io: DuplexStream) -> Self {
        let name = ServerName::try_from("a.test").unwrap();
        let mut tls = UnbufferedClientConnection::new(config, name).unwrap();
        let (mut read, mut out) = (BytesMut::new(), vec![0; 10_000]);
        let mut filled = 0;
        loop {
            let UnbufferedStatus { discard, state } = tls.process_tls_records(&mut read);
            let mut wait = false;
            match state.unwrap() {
                ConnectionState::EncodeTlsData(mut data) => {
                    filled += data.encode(&mut out[filled..]).unwrap();
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake => wait = true,
                ConnectionState::WriteTraffic(_) => break,
                state => panic!("{state:?}"),
            }
            read.advance(discard);
            if wait {
                io.write_all(&out[..filled]).await.unwrap();
                filled = 0;
                io.read_buf(&mut read).await.unwrap();
            }
        }
        io.write_all(&out[..filled]).await.unwrap();
        let (secrets, keys) = tls.dangerous_into_kernel_connection().unwrap();
        let version = keys.protocol_version();
        Self {
            io,
            sealer: Sealer::new(version, secrets.tx, u64::MAX).unwrap(),
            opener: Opener::new(version, secrets.rx).unwrap(),
            keys,
        }
    }

    fn sealed(&mut self, content: Content, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let fill = |out: &mut Vec<u8>| out.extend_from_slice(message);
        self.sealer.seal(content, &mut out, fill).unwrap();
        out
    }

    async fn send(&mut self, content: Content, message: &[u8]) {
        let record = self.sealed(content, message);
        self.io.write_all(&record).await.unwrap();
    }

    /// The next record but tickets.
    async fn receive(&mut self) -> (Content, Vec<u8>) {
        loop {
            let mut record = vec![0; 5];
            self.io.read_exact(&mut record).await.unwrap();
            let len = self.opener.frame(&record).unwrap().unwrap();
            record.resize(len, 0);
            self.io.read_exact(&mut record[5..]).await.unwrap();
            let (content, message) = self.opener.open(&mut record).unwrap();
            if content != Content::Handshake || message[0] != 4 {
                return (content, message.to_vec());
            }
        }
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_pass_both_ways_under_every_cipher_however_they_arrive() {
    // The certificate is of ECDSA.
    let usable = |suite: &&SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
    let suites: Vec<_> = ALL_CIPHER_SUITES.iter().filter(usable).collect();
    assert_eq!(suites.len(), 6, "three of TLS 1.3, three of TLS 1.2");
    for suite in suites {
        let world = World::new(*suite);
        for (room, len) in [(100, 20_000), (1_000, 50_000), (70_000, 300_000)] {
            let (mut session, mut client) = world.meet(room).await;
            let (there, back) = (content(len), content(len / 2));
            let serving = async {
                let mut received = vec![0; len];
                session.read_exact(&mut received).await.unwrap();
                assert!(received == there, "{suite:?} {room}");
                session.write_all(&back).await.unwrap();
                session.shutdown().await.unwrap();
            };
            let calling = async {
                client.write_all(&there).await.unwrap();
                client.flush().await.unwrap();
                let mut received = Vec::new();
                client.read_to_end(&mut received).await.unwrap();
                assert!(received == back, "{suite:?} {room}");
            };
            tokio::join!(serving, calling);
            assert!(session.opened.is_empty());
            assert_eq!((session.sealed.capacity(), session.out.capacity()), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_record_may_arrive_byte_by_byte_and_be_taken_so() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet_anything().await;
    let record = client.sealed(Content::Data, b"hello");
    let sending = async {
        for byte in record {
            client.io.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let receiving = async {
        for expected in *b"hello" {
            assert_eq!(session.read_u8().await.unwrap(), expected);
        }
    };
    tokio::join!(sending, receiving);
    assert!(session.sealed.is_empty() && session.opened.is_empty());
}

#[tokio::test]
async fn slices_leave_in_full_records() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet_anything().await;
    let all = content(40_000);
    let slices: Vec<_> = all.chunks(9_000).map(IoSlice::new).collect();
    assert_eq!(session.write_vectored(&slices).await.unwrap(), all.len());
    for expected in all.chunks(CONTENT_MAX) {
        assert!(client.receive().await == (Content::Data, expected.to_vec()));
    }
}

#[tokio::test]
async fn content_that_follows_the_handshake_at_once_is_not_lost() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (ours, theirs) = duplex(100_000);
    // The server starts once everything of the client's second flight can be there.
    let calling = async {
        let mut client = Anything::connect(world.client.clone(), theirs).await;
        client.send(Content::Data, b"early").await;
        client.send(Content::Alert, &[1, 0]).await;
        client
    };
    let (mut session, _client) = tokio::join!(world.serve(ours), calling);
    let mut received = Vec::new();
    session.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"early");
}

#[tokio::test]
async fn an_announced_end_is_an_end_and_another_is_not() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet(10_000).await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    session.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"last");

    let (mut session, client) = world.meet(10_000).await;
    drop(client);
    let error = session.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_us_and_loses_nothing() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet(5_000).await;
    let all = content(300_000);
    let mut sent = session.write(&all).await.unwrap();
    assert!(session.out.len() > ALONG_MAX, "it did not fit");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let stopped = Pin::new(&mut session).poll_write(&mut cx, &all[sent..]);
    assert!(stopped.is_pending());
    let serving = async {
        while sent < all.len() {
            sent += session.write(&all[sent..]).await.unwrap();
        }
        session.flush().await.unwrap();
    };
    let mut received = vec![0; all.len()];
    let (_, read) = tokio::join!(serving, client.read_exact(&mut received));
    assert!(read.unwrap() == all.len() && received == all);
}

#[tokio::test]
async fn keys_are_replaced_when_they_are_worn_or_a_peer_wants_it() {
    let world = World::new(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let (mut session, mut client) = world.meet(100_000).await;
    session.sealer.limit = 3;
    for round in 0..20_u8 {
        session.write_all(&[round]).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), round);
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(&[round]).await.unwrap();
        assert_eq!(session.read_u8().await.unwrap(), round);
    }

    let (mut session, mut client) = world.meet_anything().await;
    client.send(Content::Handshake, &[24, 0, 0, 1, 1]).await;
    let next = client.keys.update_tx_secret().unwrap();
    client.sealer = Sealer::new(ProtocolVersion::TLSv1_3, next, u64::MAX).unwrap();
    client.send(Content::Data, b"new").await;
    session.read_exact(&mut [0; 3]).await.unwrap();
    session.write_all(b"!").await.unwrap();
    assert_eq!(
        client.receive().await,
        (Content::Handshake, KEY_UPDATE.to_vec())
    );
    let next = client.keys.update_rx_secret().unwrap();
    client.opener = Opener::new(ProtocolVersion::TLSv1_3, next).unwrap();
    assert_eq!(client.receive().await, (Content::Data, b"!".to_vec()));
}

#[tokio::test]
async fn tls_1_2_has_no_other_key_and_agrees_on_none() {
    let world = World::new(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet_anything().await;
    client.send(Content::Handshake, b"once more?").await;
    client.send(Content::Alert, &[1, 90]).await;
    client.send(Content::Data, b"no?").await;
    session.read_exact(&mut [0; 3]).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(
        client.receive().await,
        (Content::Alert, NO_RENEGOTIATION.to_vec())
    );
    session.sealer.limit = 2;
    assert!(
        session
            .write_all(b"more than the key may seal")
            .await
            .is_err()
    );
}

/// Sends `bytes`, which must end the session with this alert.
async fn refused(cipher: SupportedCipherSuite, bytes: impl FnOnce(&mut Anything) -> Vec<u8>) -> u8 {
    let (mut session, mut client) = World::new(cipher).meet_anything().await;
    let bytes = bytes(&mut client);
    client.io.write_all(&bytes).await.unwrap();
    let error = session.read(&mut [0; 100]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    assert!(
        session.read(&mut [0; 100]).await.is_err(),
        "it stays broken"
    );
    let (content, alert) = client.receive().await;
    assert_eq!((content, alert[0]), (Content::Alert, 2));
    alert[1]
}

#[tokio::test]
async fn what_no_peer_should_send_ends_the_connection_with_an_alert() {
    let (overflow, mac, unexpected, decode) = (22, 20, 10, 50);
    let ciphers = [
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    for cipher in ciphers {
        let changed = refused(cipher, |client| {
            let mut record = client.sealed(Content::Data, b"hello");
            *record.last_mut().unwrap() ^= 1;
            record
        });
        assert_eq!(changed.await, mac);
        let twice = refused(cipher, |client| client.sealed(Content::Data, b"").repeat(2));
        assert_eq!(twice.await, mac, "a record that was seen before");
        assert_eq!(
            refused(cipher, |_| vec![23, 3, 3, 0, 3, 1, 2, 3]).await,
            mac
        );
        assert_eq!(refused(cipher, |_| vec![23, 3, 3, 0, 0]).await, mac);
        assert_eq!(
            refused(cipher, |_| vec![23, 3, 3, 0xff, 0xff]).await,
            overflow
        );
        let short = refused(cipher, |client| client.sealed(Content::Alert, &[1]));
        assert_eq!(short.await, decode);
        let empty = refused(cipher, |client| {
            (0..40)
                .flat_map(|_| client.sealed(Content::Data, b""))
                .collect()
        });
        assert_eq!(empty.await, unexpected);
    }
    let tls13 = ciphers[0];
    let plain = refused(tls13, |_| vec![20, 3, 3, 0, 1, 1]);
    assert_eq!(
        plain.await,
        unexpected,
        "no change_cipher_spec after the handshake"
    );
    let hello = refused(tls13, |client| {
        client.sealed(Content::Handshake, &[1, 0, 0, 0])
    });
    assert_eq!(hello.await, unexpected);
    let other = refused(tls13, |client| {
        client.sealed(Content::Handshake, &[24, 0, 0, 1, 2])
    });
    assert_eq!(other.await, 47, "illegal_parameter");
}

#[tokio::test]
async fn an_alert_ends_the_connection_and_a_change_of_mind_does_not() {
    let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let (mut session, mut client) = world.meet_anything().await;
    client.send(Content::Alert, &[1, 90]).await;
    client.send(Content::Data, b"x").await;
    assert_eq!(session.read_u8().await.unwrap(), b'x');
    client.send(Content::Alert, &[2, 42]).await;
    let error = session.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("42"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives, it ends in an error or waits for more.
    #[test]
    fn nothing_that_arrives_is_taken_for_content(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new(cipher_suite::TLS13_AES_128_GCM_SHA256);
            let (mut session, mut client) = world.meet_anything().await;
            client.io.write_all(&bytes).await.unwrap();
            drop(client);
            assert!(session.read(&mut [0; 100]).await.is_err());
        });
    }
}
