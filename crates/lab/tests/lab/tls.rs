//! Certificates that one run makes and only that run trusts.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tidegate_lab::client::{Fault, Outcome};
use tidegate_lab::{
    Alpn, Authority, Client, ClientSpec, Protocol, Region, RegionSpec, RequestSpec,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn secure_region(authority: &Authority, alpn: Alpn) -> Region {
    let leaf = authority.issue(&["shop.test", "127.0.0.1"]).unwrap();
    let mut spec = RegionSpec::new("eu");
    spec.tls = Some(leaf.server_config(alpn).unwrap());
    Region::start(spec).await.unwrap()
}

async fn agreed(region: &Region, authority: &Authority, offer: Alpn) -> Option<Vec<u8>> {
    let connector = TlsConnector::from(authority.client_config(offer).unwrap());
    let stream = TcpStream::connect(region.addr()).await.unwrap();
    let name = ServerName::try_from("shop.test").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
}

#[tokio::test]
async fn alpn_is_negotiated() {
    let authority = Authority::new("root").unwrap();
    let region = secure_region(&authority, Alpn::Both).await;
    assert_eq!(
        agreed(&region, &authority, Alpn::Both).await.as_deref(),
        Some(&b"h2"[..])
    );
    assert_eq!(
        agreed(&region, &authority, Alpn::H1).await.as_deref(),
        Some(&b"http/1.1"[..])
    );
    assert_eq!(agreed(&region, &authority, Alpn::Absent).await, None);
}

fn spec(region: &Region, trusted: &Authority, protocol: Protocol) -> ClientSpec {
    let mut spec = ClientSpec::new(region.addr(), "shop.test");
    spec.tls = Some(trusted.client_config(Alpn::Both).unwrap());
    spec.protocol = protocol;
    spec.requests = Some(20);
    spec.mix = vec![RequestSpec::content(5_000), RequestSpec::echo(5_000)];
    spec
}

#[tokio::test]
async fn the_client_speaks_both_versions_over_tls() {
    let authority = Authority::new("root").unwrap();
    let region = secure_region(&authority, Alpn::Both).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let report = Client::start(spec(&region, &authority, protocol))
            .unwrap()
            .finish()
            .await;
        assert_eq!(
            (report.ok(), report.failed()),
            (20, 0),
            "{protocol:?}: {:?}",
            report.outcomes
        );
    }
}

async fn only_outcome(spec: ClientSpec) -> Outcome {
    let report = Client::start(spec).unwrap().finish().await;
    report.check_balance().unwrap();
    assert_eq!(report.outcomes.len(), 1, "{:?}", report.outcomes);
    *report.outcomes.keys().next().unwrap()
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let (authority, stranger) = (
        Authority::new("root").unwrap(),
        Authority::new("other").unwrap(),
    );
    let region = secure_region(&authority, Alpn::Both).await;
    let outcome = only_outcome(spec(&region, &stranger, Protocol::H1)).await;
    assert_eq!(outcome, Outcome::Transport(Fault::Tls));
    let mut misnamed = spec(&region, &authority, Protocol::H1);
    misnamed.host = "bank.test".to_owned();
    assert_eq!(only_outcome(misnamed).await, Outcome::Transport(Fault::Tls));
}

#[tokio::test]
async fn h2_needs_an_agreement() {
    let authority = Authority::new("root").unwrap();
    let region = secure_region(&authority, Alpn::Absent).await;
    let outcome = only_outcome(spec(&region, &authority, Protocol::H2)).await;
    assert_eq!(outcome, Outcome::Transport(Fault::Negotiation));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new("root").unwrap();
    let leaf = authority.issue(&["shop.test"]).unwrap();
    let roots = Arc::new(authority.roots().unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(leaf.chain(), leaf.private_key())
        .unwrap();
    let mut region = RegionSpec::new("eu");
    region.tls = Some(Arc::new(server));
    let region = Region::start(region).await.unwrap();
    let mut known = spec(&region, &authority, Protocol::H1);
    let card = authority.issue(&["client.test"]).unwrap();
    known.tls = Some(authority.client_config_as(&card, Alpn::H1).unwrap());
    assert_eq!(only_outcome(known).await, Outcome::Ok);
    let unknown = only_outcome(spec(&region, &authority, Protocol::H1)).await;
    assert_ne!(unknown, Outcome::Ok);
}

#[test]
fn pem_files_are_written() {
    let directory = std::env::temp_dir().join(format!("tidegate-lab-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let leaf = Authority::new("root")
        .unwrap()
        .issue(&["shop.test"])
        .unwrap();
    let (chain, key) = leaf.write_to(&directory, "edge").unwrap();
    assert_eq!(std::fs::read_to_string(chain).unwrap(), leaf.chain_pem());
    assert_eq!(std::fs::read_to_string(key).unwrap(), leaf.key_pem());
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(leaf.write_to(&directory, "edge").is_err());
}
