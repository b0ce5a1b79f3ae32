//! Configurations around the laboratory's regions, with limits that suit a short test.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tidegate_lab::World;
use tidegate_lab::tls::{Alpn, Authority, Leaf};
use tokio_rustls::rustls::ClientConfig;

/// The name that clients ask for.
pub(crate) const HOST: &str = "shop.example.com";

/// Notices a region's end within about two seconds, and its return at once. The limits leave room
/// for a busy machine: a probe that fails without need takes a region out.
const PROBE: &str = "{ http: /healthz, interval: 1s, timeout: 1s, rise: 1, fall: 3 }";

/// A region that is well again serves at once, with its whole share.
const FAILBACK: &str = "{ hold: 0s, probation: 100%, ramp: 0s }";

/// A configuration under construction. Fields are YAML, except the regions.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Name, endpoint and jurisdictions of each region, in order of preference.
    pub(crate) regions: Vec<(String, SocketAddr, &'static str)>,
    /// What else stands at the top.
    pub(crate) top: String,
    /// The value of `health.probe`.
    pub(crate) probe: String,
    /// The value of `health.failback`.
    pub(crate) failback: String,
    /// What else stands in `health`, each with a comma before it.
    pub(crate) health: String,
    /// The value of `retry`.
    pub(crate) retry: String,
    /// What else stands in the upstream, each line with its indent of four.
    pub(crate) upstream: String,
    /// The items of `routes`.
    pub(crate) routes: String,
    /// Whether there is a listener `https`, besides `http`.
    pub(crate) tls: bool,
}

impl Config {
    /// The regions of `world`, the first one preferred, all traffic to them.
    pub(crate) fn of(world: &World) -> Self {
        let endpoints = world.endpoints();
        Self::with(endpoints.map(|(name, address)| (name.to_owned(), address)))
    }

    /// The same around any regions.
    pub(crate) fn with(regions: impl IntoIterator<Item = (String, SocketAddr)>) -> Self {
        let regions = regions.into_iter();
        Self {
            regions: regions.map(|(name, address)| (name, address, "")).collect(),
            top: "shutdown_timeout: 10m\n".to_owned(),
            probe: PROBE.to_owned(),
            failback: FAILBACK.to_owned(),
            health: String::new(),
            retry: "{ attempts: 4, per_try: 1s }".to_owned(),
            upstream: "    steering: { policy: priority }\n".to_owned(),
            routes: "  - { name: all, upstream: shop, reveal: { region: true, attempts: true } }\n"
                .to_owned(),
            tls: false,
        }
    }

    /// With a listener `https` whose certificate is in `edge.pem` and `edge.key`.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With other routes.
    pub(crate) fn routes(mut self, routes: &str) -> Self {
        routes.clone_into(&mut self.routes);
        self
    }

    /// With regions in jurisdictions, in the order of the regions.
    pub(crate) fn jurisdictions(mut self, names: &[&'static str]) -> Self {
        for ((_, _, jurisdictions), name) in self.regions.iter_mut().zip(names) {
            *jurisdictions = name;
        }
        self
    }

    /// The file.
    pub(crate) fn yaml(&self) -> String {
        let (mut regions, mut endpoints) = (String::new(), String::new());
        for (name, address, jurisdictions) in &self.regions {
            regions += &format!("  {name}: {{ jurisdictions: [{jurisdictions}] }}\n");
            endpoints += &format!("      {name}: {{ endpoints: [\"{address}\"] }}\n");
        }
        let https = match self.tls {
            true => {
                "  - name: https\n    bind: 127.0.0.1:0\n    tls: { certificates: [{ chain: edge.pem, key: edge.key }] }\n"
            }
            false => "",
        };
        let Self {
            top,
            probe,
            failback,
            health,
            retry,
            upstream,
            routes,
            ..
        } = self;
        format!(
            "listeners:\n  - {{ name: http, bind: \"127.0.0.1:0\" }}\n{https}\
             admin: {{ bind: \"127.0.0.1:0\" }}\nthreads: 2\n{top}\
             regions:\n{regions}\
             upstreams:\n  shop:\n    regions:\n{endpoints}\
             \x20   health: {{ probe: {probe}, failback: {failback}{health} }}\n\
             \x20   retry: {retry}\n{upstream}\
             routes:\n{routes}"
        )
    }
}

/// A certificate authority of the test.
pub(crate) struct Keys(Authority);

impl Keys {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(Authority::new("test").unwrap())
    }

    /// Another certificate for the tests' host.
    pub(crate) fn issue(&self) -> Leaf {
        self.0.issue(&[HOST]).unwrap()
    }

    /// Issues one into `edge.pem` and `edge.key`, over what is there.
    pub(crate) fn write_to(&self, directory: &Path) -> Leaf {
        let leaf = self.issue();
        leaf.write_to(directory, "edge").unwrap();
        leaf
    }

    /// The authority's own certificate, for a trust file.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Settings of a client that trusts them.
    pub(crate) fn client(&self, alpn: Alpn) -> Arc<ClientConfig> {
        self.0.client_config(alpn).unwrap()
    }
}
