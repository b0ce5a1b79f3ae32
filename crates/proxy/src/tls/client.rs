//! TLS and everything else that is needed to connect to an upstream: its profile.
//!
//! A profile's identity is its TLS material and protocol. Plans come and go; as long as one of them
//! has an upstream with the same identity, its client configuration stays the same object, so that
//! sessions resume and pooled connections stay usable across reloads.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tidegate_core::plan::{ConnectionPolicy, UpstreamProtocol, UpstreamTls};
use tidegate_tls::{InvalidTls, alpn, client_config, server_name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

use super::Buffered;
use crate::upstream::gate::Allowed;

/// TLS sessions remembered per profile, two or so for each endpoint.
const SESSIONS: usize = 1024;

/// How to connect to the endpoints of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The same for the same TLS material and protocol, and for nothing else: connections of equal
    /// `id` are interchangeable.
    pub(crate) id: u64,
    /// The protocol to speak.
    pub(crate) protocol: UpstreamProtocol,
    /// TLS, if the upstream speaks it; or why its material cannot be used, which fails every
    /// connection with these words.
    pub(crate) tls: Option<MaybeTls>,
    /// TCP and TLS set-up must be done within this.
    pub(crate) connect_timeout: Duration,
    /// Idle connections are closed after this.
    pub(crate) idle_timeout: Duration,
    /// Idle connections kept for one endpoint by one thread.
    pub(crate) idle_max: u32,
    /// How many connections may be open.
    pub(crate) allowed: Allowed,
}

/// An upstream's stream under TLS, over a socket `S`.
pub(crate) type UpstreamStream<S> = client::TlsStream<Buffered<S>>;

/// The TLS half of a profile.
#[derive(Clone, Debug)]
pub(crate) struct TlsProfile {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// TLS, or the reason why there is none, shared by all who ask.
type MaybeTls = Result<TlsProfile, Arc<InvalidTls>>;

/// Every profile in use. Shared by all threads; asked once per thread and plan.
#[derive(Debug, Default)]
pub(crate) struct Profiles(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Identity, (u64, Option<MaybeTls>)>,
    last: u64,
}

type Identity = (UpstreamProtocol, Option<UpstreamTls>);

impl Profiles {
    /// The profile for `policy`, with as many connections as `allowed`. Its client configuration is made at most once per identity.
    pub(crate) fn get(&self, policy: &ConnectionPolicy, allowed: Allowed) -> Arc<Profile> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, tls) = table.get(policy);
        Arc::new(Profile {
            id,
            protocol: policy.protocol,
            tls,
            connect_timeout: policy.connect_timeout,
            idle_timeout: policy.idle_timeout,
            idle_max: policy.idle_max,
            allowed,
        })
    }
}

impl Table {
    fn get(&mut self, policy: &ConnectionPolicy) -> (u64, Option<MaybeTls>) {
        let identity = (policy.protocol, policy.tls.clone());
        if let Some(known) = self.known.get(&identity) {
            return known.clone();
        }
        self.forget_unused();
        self.last += 1;
        let tls = policy
            .tls
            .as_ref()
            .map(|tls| TlsProfile::new(tls, policy.protocol).map_err(Arc::new));
        self.known.insert(identity, (self.last, tls.clone()));
        (self.last, tls)
    }

    /// Keeps the table from growing with every reload that changes a certificate.
    fn forget_unused(&mut self) {
        self.known.retain(|_, (_, tls)| match tls {
            None => true,
            Some(Ok(tls)) => Arc::strong_count(&tls.config) > 1,
            Some(Err(_)) => false,
        });
    }
}

impl TlsProfile {
    fn new(tls: &UpstreamTls, protocol: UpstreamProtocol) -> Result<Self, InvalidTls> {
        let server_name = tls.server_name.as_deref().map(server_name).transpose()?;
        let mut config = client_config(tls, alpn(protocol))?;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    /// Shakes hands over `stream`; `host` is the endpoint's, sent and checked unless the profile
    /// names another. No deadline of its own. Whether h2 was agreed on: [`is_h2`].
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<UpstreamStream<S>> {
        TlsConnector::from(self.config.clone())
            .connect(self.name(host)?, Buffered::new(stream))
            .await
    }

    /// The same, but offering HTTP/1.1 alone, for requests that switch protocols.
    pub(crate) async fn connect_h1<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<UpstreamStream<S>> {
        let connector = TlsConnector::from(self.config.clone());
        let alpn = alpn(UpstreamProtocol::Http1);
        connector
            .with_alpn(alpn)
            .connect(self.name(host)?, Buffered::new(stream))
            .await
    }

    fn name(&self, host: &str) -> io::Result<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host).map_err(io::Error::other),
        }
    }
}

/// Whether ALPN chose HTTP/2.
pub(crate) fn is_h2<S>(stream: &UpstreamStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::tls::server::ServerTls;
    use crate::tls::testing::{Authority, accept, settings};

    fn policy(protocol: UpstreamProtocol, tls: Option<UpstreamTls>) -> ConnectionPolicy {
        ConnectionPolicy {
            protocol,
            tls,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            idle_max: 8,
            warm_standby: 0,
        }
    }

    fn get(profiles: &Profiles, policy: &ConnectionPolicy) -> Arc<Profile> {
        profiles.get(policy, Allowed::default())
    }

    fn trusting(authority: &Authority) -> UpstreamTls {
        UpstreamTls {
            server_name: None,
            roots: Some(authority.pem().into()),
            client_identity: None,
            insecure_skip_verify: false,
        }
    }

    fn config(profile: &Profile) -> &Arc<ClientConfig> {
        &profile.tls.as_ref().unwrap().as_ref().unwrap().config
    }

    #[test]
    fn one_identity_keeps_one_configuration() {
        let (profiles, authority) = (Profiles::default(), Authority::new());
        let tls = trusting(&authority);
        let first = get(
            &profiles,
            &policy(UpstreamProtocol::Auto, Some(tls.clone())),
        );
        let mut other_limits = policy(UpstreamProtocol::Auto, Some(tls.clone()));
        other_limits.idle_max = 1;
        let same = get(&profiles, &other_limits);
        assert_eq!((first.id, first.idle_max, same.idle_max), (same.id, 8, 1));
        assert!(Arc::ptr_eq(config(&first), config(&same)));

        let named = UpstreamTls {
            server_name: Some("b.test".into()),
            ..tls.clone()
        };
        let others = [
            policy(UpstreamProtocol::Http2, Some(tls.clone())),
            policy(UpstreamProtocol::Auto, Some(named)),
            policy(UpstreamProtocol::Http1, None),
            policy(UpstreamProtocol::Http2, None),
        ];
        let mut ids: Vec<u64> = others
            .iter()
            .map(|policy| get(&profiles, policy).id)
            .collect();
        ids.push(first.id);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5, "each identity has its own number");
    }

    #[test]
    fn what_no_plan_uses_is_forgotten() {
        let (profiles, authority) = (Profiles::default(), Authority::new());
        let kept = get(
            &profiles,
            &policy(UpstreamProtocol::Auto, Some(trusting(&authority))),
        );
        for i in 0..20 {
            let named = Some(format!("{i}.test").into());
            let tls = UpstreamTls {
                server_name: named,
                ..trusting(&authority)
            };
            get(&profiles, &policy(UpstreamProtocol::Auto, Some(tls)));
        }
        assert_eq!(
            profiles.0.lock().unwrap().known.len(),
            2,
            "the used one and the last"
        );
        let again = get(
            &profiles,
            &policy(UpstreamProtocol::Auto, Some(trusting(&authority))),
        );
        assert_eq!(again.id, kept.id);
    }

    #[test]
    fn unusable_settings_say_why() {
        let authority = Authority::new();
        let check = |tls: UpstreamTls, expected: &str| {
            let profile = get(
                &Profiles::default(),
                &policy(UpstreamProtocol::Auto, Some(tls)),
            );
            let why = profile.tls.as_ref().unwrap().as_ref().unwrap_err();
            assert!(why.to_string().contains(expected), "{why}");
        };
        let tls = trusting(&authority);
        let untrusting = UpstreamTls {
            roots: Some("".into()),
            ..tls.clone()
        };
        check(untrusting, "no certificate");
        let misnamed = UpstreamTls {
            server_name: Some("a b".into()),
            ..tls
        };
        check(misnamed, "`a b`");
    }

    /// Connects to a server for `a.test` as `tls` says; returns what ALPN chose.
    async fn connect_to(
        server: &ServerTls,
        tls: UpstreamTls,
        protocol: UpstreamProtocol,
        host: &str,
    ) -> io::Result<Option<&'static str>> {
        let profile = get(&Profiles::default(), &policy(protocol, Some(tls)));
        let profile = profile.tls.as_ref().unwrap().as_ref().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, connected) =
            tokio::join!(accept(server, &listener), profile.connect(host, stream));
        let (mut connected, (_, facts)) = (connected?, accepted.map_err(io::Error::other)?);
        connected.write_all(b"x").await?;
        assert_eq!(is_h2(&connected), facts.alpn == Some("h2"));
        Ok(facts.alpn)
    }

    #[tokio::test]
    async fn upstreams_are_checked_and_protocols_agreed_on() {
        let (authority, other) = (Authority::new(), Authority::new());
        let certificate = authority.issue("a", &["a.test", "127.0.0.1"]);
        let server = ServerTls::new(&settings(&[&certificate])).unwrap();
        let tls = trusting(&authority);
        let check = async |tls: &UpstreamTls, protocol, host: &str, expected: Option<&str>| {
            let agreed = connect_to(&server, tls.clone(), protocol, host).await;
            assert_eq!(
                agreed.ok().flatten(),
                expected,
                "{host} {protocol:?} {tls:?}"
            );
        };
        let auto = UpstreamProtocol::Auto;
        check(&tls, auto, "a.test", Some("h2")).await;
        check(&tls, auto, "127.0.0.1", Some("h2")).await;
        check(&tls, UpstreamProtocol::Http2, "a.test", Some("h2")).await;
        check(&tls, UpstreamProtocol::Http1, "a.test", Some("http/1.1")).await;
        check(&tls, auto, "b.test", None).await;
        check(&trusting(&other), auto, "a.test", None).await;
        let named = UpstreamTls {
            server_name: Some("a.test".into()),
            ..tls
        };
        check(&named, auto, "b.test", Some("h2")).await;
        let skipping = UpstreamTls {
            insecure_skip_verify: true,
            ..trusting(&other)
        };
        check(&skipping, auto, "b.test", Some("h2")).await;
    }
}
