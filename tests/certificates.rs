//! Certificates change with their files: new handshakes see the new one, connections that are open
//! notice nothing, and files that cannot be used change nothing.

use std::time::Duration;

use http::StatusCode;
use tidegate_lab::World;
use tidegate_lab::tls::{Alpn, Leaf};

use crate::harness::{Config, Keys, Session, Tidegate, until};

struct Secured {
    _world: World,
    keys: Keys,
    first: Leaf,
    tidegate: Tidegate,
}

impl Secured {
    async fn new() -> Self {
        let builder = World::builder().region("eu-west", Duration::from_millis(2));
        let world = builder.start().await.unwrap();
        let keys = Keys::new();
        let directory = tempfile::tempdir().unwrap();
        let first = keys.write_to(directory.path());
        let config = Config::of(&world).tls().yaml();
        let tidegate = Tidegate::start_in(directory, &config).await;
        Self {
            _world: world,
            keys,
            first,
            tidegate,
        }
    }

    async fn session(&self, alpn: Alpn) -> Session {
        // Settings of their own: nothing is resumed, every handshake is a whole one.
        Session::tls(self.tidegate.listener("https"), self.keys.client(alpn)).await
    }

    async fn shows(&self, leaf: &Leaf) -> bool {
        self.session(Alpn::H1).await.certificate() == leaf.chain().first()
    }
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_handshakes() {
    let secured = Secured::new().await;
    assert!(secured.shows(&secured.first).await);
    let mut open = [
        secured.session(Alpn::H1).await,
        secured.session(Alpn::H2).await,
    ];
    for session in &mut open {
        session.get("/").await;
    }
    let second = secured.keys.write_to(secured.tidegate.directory());
    until("a handshake sees the new certificate", || {
        secured.shows(&second)
    })
    .await;
    for session in &mut open {
        assert_eq!(session.get("/").await.status, StatusCode::OK);
    }
    let told = secured.tidegate.events("certificates_reloaded").await;
    assert!(!told.is_empty());
    assert_eq!(secured.tidegate.status().await["generation"], 1);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let secured = Secured::new().await;
    let Secured {
        keys,
        first,
        tidegate,
        ..
    } = &secured;
    let [chain, key] = ["edge.pem", "edge.key"].map(|name| tidegate.directory().join(name));
    let other = keys.issue();
    let broken: [(&str, &str, &str); 3] = [
        ("not PEM", "certificate", first.key_pem()),
        ("another's key", first.chain_pem(), other.key_pem()),
        ("half a chain", &first.chain_pem()[..200], first.key_pem()),
    ];
    for (what, chain_pem, key_pem) in broken {
        std::fs::write(&chain, chain_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
        assert!(reply.text().contains("edge."), "{what}: {reply:?}");
        assert!(secured.shows(first).await, "{what}");
    }
    std::fs::remove_file(&chain).unwrap();
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(secured.shows(first).await);
    let third = keys.write_to(tidegate.directory());
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert!(secured.shows(&third).await);
}
