//! Probes of upstreams that speak TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tidegate_core::Health;
use tidegate_core::plan::{Probe, UpstreamProtocol, UpstreamTls};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;
use crate::support::{Scene, Spec, http_probe, patient, tcp_probe, until};

/// A certificate authority of this name, and a server's TLS with a certificate of it for `probe.test`.
pub(crate) fn authority(name: &str, alpn: &str) -> (String, TlsAcceptor) {
    server_of(name, alpn, None)
}

/// The same, for clients that show this certificate only.
pub(crate) fn wanting_clients(certificate: &CertificateDer<'static>) -> (String, TlsAcceptor) {
    server_of("root", "http/1.1", Some(certificate))
}

fn server_of(
    name: &str,
    alpn: &str,
    client: Option<&CertificateDer<'static>>,
) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["probe.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder
        .with_single_cert(
            vec![CertificateDer::from(leaf)],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    (root.pem(), TlsAcceptor::from(Arc::new(config)))
}

pub(crate) fn settings(roots: &str, server_name: Option<&str>) -> UpstreamTls {
    UpstreamTls {
        server_name: server_name.map(Into::into),
        roots: Some(roots.into()),
        client_identity: None,
        insecure_skip_verify: false,
    }
}

fn spec(server: &Server, probe: Probe, tls: UpstreamTls, protocol: UpstreamProtocol) -> Spec {
    let mut spec = Spec::new(&[&server.address], probe);
    spec.connection.tls = Some(tls);
    spec.connection.protocol = protocol;
    spec
}

#[tokio::test]
async fn protocols_are_agreed_on() {
    for (alpn, version) in [
        ("http/1.1", http::Version::HTTP_11),
        ("h2", http::Version::HTTP_2),
    ] {
        let (root, acceptor) = authority("root", alpn);
        let server = Server::with(Some(acceptor), version).await;
        let only = match alpn {
            "h2" => UpstreamProtocol::Http2,
            _ => UpstreamProtocol::Http1,
        };
        for protocol in [only, UpstreamProtocol::Auto] {
            for probe in [http_probe(), tcp_probe()] {
                let tls = settings(&root, Some("probe.test"));
                let scene = Scene::start(&spec(&server, probe, tls, protocol));
                scene.becomes(&server.address, Health::Healthy).await;
            }
        }
    }
}

#[tokio::test]
async fn handshakes_are_few() {
    for (alpn, version) in [
        ("http/1.1", http::Version::HTTP_11),
        ("h2", http::Version::HTTP_2),
    ] {
        let (root, acceptor) = authority("root", alpn);
        let server = Server::with(Some(acceptor), version).await;
        let tls = settings(&root, Some("probe.test"));
        let scene = Scene::start(&spec(&server, patient(), tls, UpstreamProtocol::Auto));
        until(
            || server.requests() >= 12,
            || format!("{} checks", server.requests()),
        )
        .await;
        // The first, and one if the first of those that connect anew was among them.
        assert!(server.connections() <= 2, "{}", server.connections());
        scene.assert_no_failure();
    }
}

#[tokio::test]
async fn certificates_are_checked() {
    let (root, acceptor) = authority("root", "http/1.1");
    let (other, _) = authority("other", "http/1.1");
    let server = Server::with(Some(acceptor), http::Version::HTTP_11).await;
    let unusable = "no certificate in the PEM text";
    for (roots, name, problem) in [
        (&*other, Some("probe.test"), "UnknownIssuer"),
        (&*root, Some("other.test"), "not valid for name"),
        (&*root, None, "not valid for name"),
        ("", Some("probe.test"), unusable),
    ] {
        for probe in [http_probe(), tcp_probe()] {
            let spec = spec(
                &server,
                probe,
                settings(roots, name),
                UpstreamProtocol::Http1,
            );
            let (health, evidence) = Scene::start(&spec).endpoint_news().await;
            assert_eq!(health, Health::Unhealthy);
            assert!(
                evidence.contains("TLS failed: ") && evidence.contains(problem),
                "{evidence}"
            );
        }
    }
    let skipping = UpstreamTls {
        insecure_skip_verify: true,
        ..settings(&other, None)
    };
    let scene = Scene::start(&spec(
        &server,
        http_probe(),
        skipping,
        UpstreamProtocol::Http1,
    ));
    scene.becomes(&server.address, Health::Healthy).await;
}

#[tokio::test]
async fn a_plaintext_endpoint_fails_a_tls_probe() {
    let server = Server::start().await;
    let (root, _) = authority("root", "h2");
    let tls = settings(&root, Some("probe.test"));
    let spec = spec(&server, tcp_probe(), tls, UpstreamProtocol::Auto);
    let (health, evidence) = Scene::start(&spec).endpoint_news().await;
    assert_eq!(health, Health::Unhealthy);
    assert!(evidence.contains("TLS failed: "), "{evidence}");
}
