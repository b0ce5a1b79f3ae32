//! Routes are found by everything that a match may ask of a request and its connection. Each route
//! answers by itself, with its name.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use tempfile::TempDir;
use tidegate_lab::tls::{Alpn, Authority};

use crate::harness::{Session, Tidegate};

/// Listeners: clients of `http` may speak for others, those of `plain` may not; `https` lets anybody in,
/// `mutual` only who has a certificate.
const LISTENERS: &str = "\
listeners:
  - { name: http, bind: 127.0.0.1:0, trusted: [127.0.0.0/8] }
  - { name: plain, bind: 127.0.0.1:0 }
  - name: https
    bind: 127.0.0.1:0
    tls: { certificates: [{ chain: edge.pem, key: edge.key }] }
  - name: mutual
    bind: 127.0.0.1:0
    tls: { certificates: [{ chain: edge.pem, key: edge.key }], client_ca: clients.pem }
admin: { bind: 127.0.0.1:0 }
threads: 2
";

/// The proxy, and who vouches for the certificates on both sides.
struct Routed {
    tidegate: Tidegate,
    servers: Authority,
    clients: Authority,
}

impl Routed {
    /// Routes by name and match, and one for the rest.
    async fn new(routes: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [servers, clients] = ["servers", "clients"].map(|name| Authority::new(name).unwrap());
        let leaf = servers
            .issue(&["shop.example.com", "*.example.com"])
            .unwrap();
        leaf.write_to(directory.path(), "edge").unwrap();
        std::fs::write(directory.path().join("clients.pem"), clients.pem()).unwrap();
        Self {
            tidegate: start(directory, routes).await,
            servers,
            clients,
        }
    }

    async fn plain(&self, listener: &str) -> Session {
        Session::h1(self.tidegate.listener(listener)).await
    }

    /// A session over TLS that asks for `name`.
    async fn asking(&self, name: &'static str, alpn: Alpn) -> Session {
        let config = self.servers.client_config(alpn).unwrap();
        Session::tls_to(self.tidegate.listener("https"), name, config).await
    }

    /// A session of a client whose certificate has this common name.
    async fn known_as(&self, name: &str, alpn: Alpn) -> Session {
        let leaf = self.clients.issue(&[name]).unwrap();
        let config = self.servers.client_config_as(&leaf, alpn).unwrap();
        Session::tls(self.tidegate.listener("mutual"), config).await
    }
}

async fn start(directory: TempDir, routes: &[(&str, &str)]) -> Tidegate {
    let mut yaml = LISTENERS.to_owned() + "routes:\n  - { name: rest, respond: { body: rest } }\n";
    for (name, matches) in routes {
        yaml += &format!(
            "  - {{ name: {name}, match: {{ {matches} }}, respond: {{ body: {name} }} }}\n"
        );
    }
    Tidegate::start_in(directory, &yaml).await
}

/// The route that took a request.
async fn taken(session: &mut Session, path: &str, fields: &[(&str, &str)]) -> String {
    let reply = session.send(Method::GET, path, fields, "").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{path}");
    reply.text().to_owned()
}

#[tokio::test]
async fn paths_are_exact_then_templates_then_prefixes_then_patterns() {
    let routed = Routed::new(&[
        ("any-user", "path: \"/users/{id}\""),
        ("me", "path: /users/me"),
        ("orders", "path: \"/users/{id}/orders\""),
        ("users", "path: /users/**"),
        ("versions", "path: '~^/v[0-9]+/'"),
        ("files", "path: \"/files/{rest=**}\""),
    ])
    .await;
    for mut session in [
        routed.plain("http").await,
        routed.asking("shop.example.com", Alpn::H2).await,
    ] {
        for (path, expected) in [
            ("/users/7", "any-user"),
            ("/users/me", "me"),
            ("/users/me/orders?x=/y", "orders"),
            ("/users/7/orders/1", "users"),
            ("/users/", "users"),
            ("/v12/x", "versions"),
            ("/vx/x", "rest"),
            ("/files/a/b", "files"),
        ] {
            assert_eq!(taken(&mut session, path, &[]).await, expected, "{path}");
        }
    }
}

/// A path, the fields that are sent, and the route that they take.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

#[tokio::test]
async fn what_the_request_says_decides() {
    let routed = Routed::new(&[
        ("gold", "path: /h, headers: { x-plan: gold }"),
        (
            "prefixed",
            "path: /h, headers: { x-plan: { prefix: gold- } }",
        ),
        (
            "german",
            "path: /h, headers: { accept-language: { regex: '^de\\b' } }",
        ),
        ("debug", "path: /q, query: { debug: { present: true } }"),
        ("page", "path: /q, query: { page: '2' }"),
        ("beta", "path: /c, cookies: { beta: '1' }"),
        ("first", "path: /c, cookies: { session: { absent: true } }"),
    ])
    .await;
    for mut session in [
        routed.plain("http").await,
        routed.asking("shop.example.com", Alpn::H2).await,
    ] {
        let cases: [Case; 14] = [
            ("/h", &[("x-plan", "gold")], "gold"),
            ("/h", &[("x-plan", "free"), ("x-plan", "gold")], "gold"),
            ("/h", &[("x-plan", "Gold")], "rest"),
            ("/h", &[("x-plan", "gold-9")], "prefixed"),
            ("/h", &[("accept-language", "de-AT,en")], "german"),
            ("/h", &[("accept-language", "den")], "rest"),
            ("/q?debug", &[], "debug"),
            ("/q?a=debug", &[], "rest"),
            ("/q?page=1&page=2", &[], "page"),
            ("/q?page=%32", &[], "rest"),
            ("/c", &[("cookie", "session=x; beta=1")], "beta"),
            (
                "/c",
                &[("cookie", "session=x"), ("cookie", "beta=1")],
                "beta",
            ),
            ("/c", &[("cookie", "beta=2")], "first"),
            ("/c", &[("cookie", "session=x")], "rest"),
        ];
        for (path, fields, expected) in cases {
            let found = taken(&mut session, path, fields).await;
            assert_eq!(found, expected, "{path} {fields:?}");
        }
    }
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_speaks_for() {
    let routed = Routed::new(&[
        ("office", "clients: [192.0.2.0/24, '2001:db8::/32']"),
        ("local", "clients: [127.0.0.1]"),
    ])
    .await;
    let (mut trusted, mut stranger) = (routed.plain("http").await, routed.plain("plain").await);
    for (told, expected) in [
        ("192.0.2.7", "office"),
        ("2001:db8::1", "office"),
        ("192.0.2.7, 198.51.100.1", "rest"),
        ("198.51.100.1, 192.0.2.7", "office"),
        ("192.0.2.7, 127.0.0.9", "office"),
    ] {
        let fields = [("x-forwarded-for", told)];
        let found = taken(&mut trusted, "/", &fields).await;
        assert_eq!(found, expected, "{told}");
        assert_eq!(taken(&mut stranger, "/", &fields).await, "local", "{told}");
    }
    assert_eq!(taken(&mut trusted, "/", &[]).await, "local");
}

#[tokio::test]
async fn the_name_of_the_handshake_decides() {
    let routed = Routed::new(&[
        ("shop", "server_name: shop.example.com"),
        ("others", "server_name: '*.example.com'"),
    ])
    .await;
    for alpn in [Alpn::H1, Alpn::H2] {
        for (name, expected) in [
            ("shop.example.com", "shop"),
            ("admin.example.com", "others"),
        ] {
            let mut session = routed.asking(name, alpn).await;
            assert_eq!(taken(&mut session, "/", &[]).await, expected, "{name}");
        }
    }
    let mut plain = routed.plain("http").await;
    assert_eq!(taken(&mut plain, "/", &[]).await, "rest");
}

#[tokio::test]
async fn the_subject_of_a_certificate_decides() {
    let routed = Routed::new(&[
        ("billing", "client_certificate: { subject: CN=billing }"),
        (
            "robots",
            "client_certificate: { subject: { regex: '^CN=robot-[0-9]+$' } }",
        ),
        (
            "nobody",
            "client_certificate: { subject: { absent: true } }",
        ),
    ])
    .await;
    for alpn in [Alpn::H1, Alpn::H2] {
        for (name, expected) in [
            ("billing", "billing"),
            ("robot-7", "robots"),
            ("robot-x", "rest"),
            ("billing,O=x", "rest"),
            ("x,CN=billing", "rest"),
        ] {
            let mut session = routed.known_as(name, alpn).await;
            assert_eq!(taken(&mut session, "/", &[]).await, expected, "{name}");
            assert_eq!(taken(&mut session, "/again", &[]).await, expected, "{name}");
        }
        let mut session = routed.asking("shop.example.com", alpn).await;
        assert_eq!(taken(&mut session, "/", &[]).await, "nobody");
    }
}

/// `HH:MM` so many hours from now, in UTC.
fn hours_from_now(hours: u64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let minutes = since.as_secs() / 60 + hours * 60;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

#[tokio::test]
async fn the_time_of_the_request_decides() {
    let (before, after) = (hours_from_now(18), hours_from_now(6));
    let routed = Routed::new(&[
        (
            "now",
            &format!("path: /a, time: {{ from: '{before}', to: '{after}' }}"),
        ),
        (
            "not-now",
            &format!("path: /b, time: {{ from: '{after}', to: '{before}' }}"),
        ),
    ])
    .await;
    let mut session = routed.plain("http").await;
    assert_eq!(taken(&mut session, "/a", &[]).await, "now");
    assert_eq!(taken(&mut session, "/b", &[]).await, "rest");
}

#[tokio::test]
async fn what_names_stand_for_can_be_put_into_a_redirect() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = "\
listeners: [{ name: http, bind: 127.0.0.1:0 }]
admin: { bind: 127.0.0.1:0 }
routes:
  - match: { path: \"/old/{id}/{rest=**}\" }
    redirect: { path: \"/new/{rest}/{id}\" }
";
    let tidegate = Tidegate::start_in(directory, yaml).await;
    let mut session = Session::h1(tidegate.http()).await;
    let reply = session.get("/old/7/a/b").await;
    assert_eq!(reply.status, StatusCode::PERMANENT_REDIRECT);
    assert!(
        reply.header("location").ends_with("/new/a/b/7"),
        "{reply:?}"
    );
}
