//! Client configurations, tried in whole handshakes with rustls servers in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConnection, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use tidegate_core::plan::{ClientIdentity, UpstreamProtocol, UpstreamTls};
use tidegate_tls::{InvalidTls, Material, alpn, client_config, provider, server_name};

const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const CUT: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n";

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Issued {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Issued {
            pem: leaf.pem(),
            der: leaf.der().clone(),
            key,
        }
    }

    /// Settings that trust this authority and no other.
    fn trusted(&self) -> UpstreamTls {
        UpstreamTls {
            server_name: None,
            roots: Some(self.0.pem().into()),
            client_identity: None,
            insecure_skip_verify: false,
        }
    }
}

impl Issued {
    fn identity(&self) -> ClientIdentity {
        ClientIdentity {
            chain: self.pem.as_str().into(),
            key: self.key.serialize_pem().into(),
        }
    }

    /// Signs as whoever holds `key`, who need not be who this certificate is for.
    fn held_by(&self, key: &KeyPair) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signer = any_supported_type(&key).unwrap();
        Arc::new(CertifiedKey::new(vec![self.der.clone()], signer))
    }
}

/// Shows the same certificate to everyone.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server of `versions` that shows `certificate`, and asks for a certificate of `clients`.
fn server(
    certificate: Arc<CertifiedKey>,
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Always(certificate)));
    config.alpn_protocols = alpn(UpstreamProtocol::Auto);
    config
}

/// What a handshake agreed on.
struct Agreed {
    alpn: Option<Vec<u8>>,
    group: NamedGroup,
}

/// Shakes hands as `tls` says with `server`, which is asked for as `host`.
fn shake_hands(
    tls: &UpstreamTls,
    protocol: UpstreamProtocol,
    server: ServerConfig,
    host: &str,
) -> io::Result<Agreed> {
    let config = client_config(tls, alpn(protocol)).unwrap();
    let mut client = ClientConnection::new(config.into(), server_name(host).unwrap()).unwrap();
    let mut server = ServerConnection::new(server.into()).unwrap();
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut wire)?;
        deliver(&mut wire, &mut server)?;
        server.write_tls(&mut wire)?;
        deliver(&mut wire, &mut client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Agreed {
        alpn: server.alpn_protocol().map(<[u8]>::to_vec),
        group: client.negotiated_key_exchange_group().unwrap().name(),
    })
}

fn deliver<D>(wire: &mut Vec<u8>, to: &mut rustls::ConnectionCommon<D>) -> io::Result<()> {
    let mut sent = wire.as_slice();
    while !sent.is_empty() {
        to.read_tls(&mut sent)?;
        to.process_new_packets().map_err(io::Error::other)?;
    }
    wire.clear();
    Ok(())
}

#[test]
fn servers_are_checked_as_the_settings_say() {
    let (authority, other) = (Authority::new(), Authority::new());
    let leaf = authority.issue("a.test");
    let check = |tls: &UpstreamTls, host: &str, problem: Option<&str>| {
        for version in [&version::TLS12, &version::TLS13] {
            let server = server(leaf.held_by(&leaf.key), &[version], None);
            let shaken = shake_hands(tls, UpstreamProtocol::Auto, server, host);
            match (shaken, problem) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
                (shaken, _) => panic!("{host}: {:?}, not {problem:?}", shaken.err()),
            }
        }
    };
    check(&authority.trusted(), "a.test", None);
    check(&authority.trusted(), "b.test", Some("not valid for name"));
    check(&other.trusted(), "a.test", Some("invalid peer certificate"));
    let both = UpstreamTls {
        roots: Some(format!("{}{}", other.0.pem(), authority.0.pem()).into()),
        ..authority.trusted()
    };
    check(&both, "a.test", None);
    let skipping = UpstreamTls {
        insecure_skip_verify: true,
        ..other.trusted()
    };
    check(&skipping, "a.test", None);
    check(&skipping, "b.test", None);
}

#[test]
fn nobody_passes_with_a_certificate_whose_key_he_lacks() {
    let authority = Authority::new();
    let (leaf, thief) = (authority.issue("a.test"), KeyPair::generate().unwrap());
    let skipping = UpstreamTls {
        insecure_skip_verify: true,
        ..authority.trusted()
    };
    for version in [&version::TLS12, &version::TLS13] {
        for tls in [&authority.trusted(), &skipping] {
            let server = server(leaf.held_by(&thief), &[version], None);
            let shaken = shake_hands(tls, UpstreamProtocol::Auto, server, "a.test");
            let problem = shaken.err().unwrap().to_string();
            assert!(problem.contains("BadSignature"), "{problem}");
        }
    }
}

#[test]
fn we_show_our_certificate_to_who_asks() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let leaf = servers.issue("a.test");
    let known = |by: &Authority| UpstreamTls {
        client_identity: Some(by.issue("edge.test").identity()),
        ..servers.trusted()
    };
    let check = |tls: &UpstreamTls, expected: bool| {
        let server = server(
            leaf.held_by(&leaf.key),
            rustls::ALL_VERSIONS,
            Some(&clients),
        );
        let shaken = shake_hands(tls, UpstreamProtocol::Auto, server, "a.test");
        assert_eq!(shaken.is_ok(), expected, "{:?}", shaken.err());
    };
    check(&known(&clients), true);
    check(&known(&servers), false);
    check(&servers.trusted(), false);
}

#[test]
fn the_protocol_is_agreed_on_and_the_key_exchange_is_post_quantum() {
    let authority = Authority::new();
    let leaf = authority.issue("a.test");
    let check = |protocol, expected: &[u8]| {
        let server = server(leaf.held_by(&leaf.key), rustls::DEFAULT_VERSIONS, None);
        let agreed = shake_hands(&authority.trusted(), protocol, server, "a.test").unwrap();
        assert_eq!(agreed.alpn.as_deref(), Some(expected), "{protocol:?}");
        assert_eq!(agreed.group, NamedGroup::X25519MLKEM768);
    };
    check(UpstreamProtocol::Http1, b"http/1.1");
    check(UpstreamProtocol::Http2, b"h2");
    check(UpstreamProtocol::Auto, b"h2");
}

#[test]
fn unusable_material_says_what_and_why() {
    let authority = Authority::new();
    let (one, two) = (
        authority.issue("a.test").identity(),
        authority.issue("b.test").identity(),
    );
    let check = |tls: UpstreamTls, is: fn(&InvalidTls) -> bool, words: &str| {
        let problem = client_config(&tls, Vec::new()).unwrap_err();
        assert!(is(&problem), "{problem:?}");
        assert!(problem.to_string().starts_with(words), "{problem}");
    };
    let trusting = |roots: &str| UpstreamTls {
        roots: Some(roots.into()),
        ..authority.trusted()
    };
    check(
        trusting(""),
        |problem| {
            matches!(
                problem,
                InvalidTls::Missing {
                    material: Material::Roots
                }
            )
        },
        "no certificate in the PEM text of the root certificates",
    );
    check(
        trusting(CUT),
        |problem| matches!(problem, InvalidTls::Pem { .. }),
        "the root certificates cannot be read: missing section end",
    );
    check(
        trusting(&format!("{}{BROKEN}", authority.0.pem())),
        |problem| matches!(problem, InvalidTls::Root(_)),
        "a root certificate cannot be used: ",
    );
    let known_by = |chain: &str, key: &str| UpstreamTls {
        client_identity: Some(ClientIdentity {
            chain: chain.into(),
            key: key.into(),
        }),
        ..authority.trusted()
    };
    check(
        known_by("", &one.key),
        |problem| matches!(problem, InvalidTls::Missing { .. }),
        "no certificate in the PEM text of the client certificate",
    );
    check(
        known_by(&one.chain, &one.chain),
        |problem| matches!(problem, InvalidTls::Missing { .. }),
        "no private key in the PEM text of the client key",
    );
    check(
        known_by(&one.chain, CUT),
        |problem| matches!(problem, InvalidTls::Pem { .. }),
        "the client key cannot be read: ",
    );
    check(
        known_by(&one.chain, &two.key),
        |problem| matches!(problem, InvalidTls::Identity(_)),
        "the client certificate and key cannot be used: ",
    );
}
