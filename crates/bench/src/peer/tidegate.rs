//! Tidegate as users run it: routes, three regions of which two stand by, probes, metrics, retries
//! and deadlines on.

use std::ffi::OsString;

use super::HOST;
use super::site::{Site, lines};
use crate::error::BenchError;

/// For tables.
pub(super) const KNOBS: &str = "one thread a core, three regions (two stand by), probe /healthz \
    every 2 s, metrics, three attempts, deadlines, access log off or to a file";

/// Where the access log lies: not beside the configuration, whose directory is watched.
const LOGS: &str = "logs";

/// Writes the configuration.
pub(super) fn write(site: &Site, logging: bool) -> Result<(), BenchError> {
    if logging {
        let logs = site.directory().join(LOGS);
        std::fs::create_dir_all(&logs).map_err(BenchError::io(logs.display().to_string()))?;
    }
    site.write("tidegate.yaml", &configuration(site, logging))
}

/// The arguments that name the configuration.
pub(super) fn arguments(site: &Site) -> Vec<OsString> {
    vec!["run".into(), site.file("tidegate.yaml")]
}

fn configuration(site: &Site, logging: bool) -> String {
    let (http, https, [_, far, farther]) = (site.http, site.https, site.regions());
    let log = match logging {
        true => format!(
            "{{ file: \"{}/{LOGS}/access.log\" }}",
            site.directory().display()
        ),
        false => "off".to_owned(),
    };
    let probe = match site.shape.checks {
        true => "{ http: /healthz, interval: 2s }",
        false => "off",
    };
    let protocol = if site.shape.h2c { "http2" } else { "http1" };
    let (threads, routes) = (site.shape.threads, routes(site));
    let near: Vec<_> = site.endpoints().map(|to| format!("\"{to}\"")).collect();
    let near = near.join(", ");
    format!(
        "listeners:
  - {{ name: http, bind: \"{http}\" }}
  - name: https
    bind: \"{https}\"
    tls: {{ certificates: [{{ chain: edge.pem, key: edge.key }}] }}
admin: {{ bind: \"127.0.0.1:0\" }}
threads: {threads}
access_log: {log}
regions: {{ near: {{}}, far: {{}}, farther: {{}} }}
upstreams:
  shop:
    regions:
      near: {{ endpoints: [{near}] }}
      far: {{ endpoints: [\"{far}\"] }}
      farther: {{ endpoints: [\"{farther}\"] }}
    protocol: {protocol}
    steering: {{ policy: priority }}
    health: {{ probe: {probe} }}
    retry: {{ attempts: 3, per_try: 5s }}
routes:
{routes}"
    )
}

fn routes(site: &Site) -> String {
    lines(site.prefixes(), |n, prefix| {
        let below = if prefix.ends_with('/') { "**" } else { "" };
        format!(
            "  - {{ name: r-{n}, match: {{ host: {HOST}, path: \"{prefix}{below}\" }}, \
             upstream: shop, timeout: 10s }}"
        )
    })
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
            checks: false,
            h2c: true,
        };
        let site = site(shape);
        assert_eq!(routes(&site).matches("/r/").count(), 3);
        let text = configuration(&site, false);
        assert!(text.contains("threads: 2") && text.contains("protocol: http2"));
        assert!(text.contains("near: { endpoints: [\"127.0.0.1:4\", \"127.0.0.2:4\"] }"));
        assert!(text.contains("probe: off") && text.contains("path: \"/r/2/**\""));
    }
}
