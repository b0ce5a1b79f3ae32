use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tempfile::NamedTempFile;
use tidegate_lab::{Alpn, Authority, Leaf, Region, RegionSpec};

use super::*;
use crate::peer::HOST;

/// A region of the laboratory in the place of a proxy.
struct World {
    region: Region,
    ca: NamedTempFile,
}

impl World {
    async fn start(tls: impl FnOnce(&Leaf) -> Option<Arc<ServerConfig>>) -> Self {
        let authority = Authority::new("bench").unwrap();
        let leaf = authority.issue(&[HOST]).unwrap();
        let spec = RegionSpec {
            tls: tls(&leaf),
            ..RegionSpec::new("only")
        };
        Self {
            region: Region::start(spec).await.unwrap(),
            ca: ca_file(&authority).unwrap(),
        }
    }

    fn call(&self) -> Call {
        Call {
            ca: Some(self.ca.path().to_owned()),
            ..Call::plain(self.region.addr())
        }
    }
}

fn any_tls(leaf: &Leaf) -> Option<Arc<ServerConfig>> {
    Some(leaf.server_config(Alpn::Both).unwrap())
}

/// Settings of a server that knows X25519 alone.
fn old_tls(leaf: &Leaf, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let provider = CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = builder.with_no_client_auth();
    let certified = builder.with_single_cert(leaf.chain(), leaf.private_key());
    let mut config = certified.unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Carries out all orders in turn, by the same lanes.
async fn all(call: &Call, orders: &[Order]) -> io::Result<()> {
    let mut lanes = lane::all(call)?;
    for order in orders {
        carry_out(*order, &mut lanes).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_way_to_call_works_and_every_request_is_counted() {
    let plain = World::start(|_| None).await;
    let tls = World::start(any_tls).await;
    let hybrid = Call {
        hybrid: true,
        ..tls.call()
    };
    let resuming = Call {
        resume: true,
        ..tls.call()
    };
    let h2 = Call {
        h2: true,
        ..tls.call()
    };
    let calls = [
        Call::plain(plain.region.addr()),
        tls.call(),
        hybrid,
        resuming,
        h2,
    ];
    for call in calls {
        let region = if call.ca.is_some() { &tls } else { &plain };
        let before = region.region.snapshot().requests_total();
        let orders = [
            Order::Visit(40),
            Order::Open(20),
            Order::Open(5),
            Order::Ask,
        ];
        all(&call, &orders)
            .await
            .unwrap_or_else(|error| panic!("{call:?}: {error}"));
        let counted = region.region.snapshot().requests_total() - before;
        assert_eq!(counted, 40 + 20 + 5 + 25, "{call:?}");
    }
}

#[tokio::test]
async fn a_handshake_of_another_kind_is_wrong() {
    let forgetful = World::start(|leaf| {
        let mut config = old_tls(leaf, &[&rustls::version::TLS13]);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Some(Arc::new(config))
    });
    let forgetful = forgetful.await;
    let resuming = Call {
        resume: true,
        ..forgetful.call()
    };
    let h2 = Call {
        h2: true,
        ..forgetful.call()
    };
    let hybrid = Call {
        hybrid: true,
        ..forgetful.call()
    };
    let table = [
        (resuming, "Resumed"),
        (h2, "NoApplicationProtocol"),
        (hybrid, "X25519MLKEM768"),
    ];
    for (call, words) in table {
        let error = all(&call, &[Order::Visit(2 * LANES)]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let old = World::start(|leaf| Some(Arc::new(old_tls(leaf, &[&rustls::version::TLS12])))).await;
    assert!(all(&old.call(), &[Order::Visit(1)]).await.is_err());
}

#[tokio::test]
async fn who_agrees_to_the_hybrid_is_found_out() {
    let new = World::start(any_tls).await;
    assert!(new.call().agrees_to_hybrid().await.unwrap());
    let old = World::start(|leaf| Some(Arc::new(old_tls(leaf, &[&rustls::version::TLS13])))).await;
    assert!(!old.call().agrees_to_hybrid().await.unwrap());
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_wrong() {
    let world = World::start(|_| None).await;
    let mut lanes = lane::all(&Call::plain(world.region.addr())).unwrap();
    carry_out(Order::Open(LANES), &mut lanes).await.unwrap();
    drop(world);
    assert!(carry_out(Order::Ask, &mut lanes).await.is_err());
}
