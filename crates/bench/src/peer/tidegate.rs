//! Tidegate as users run it: 100 routes, three regions of which two stand by, probes, metrics,
//! retries and deadlines on.

use std::ffi::OsString;

use super::{HOST, Site};
use crate::error::BenchError;

/// Routes that the load does not take.
const OTHER_ROUTES: u32 = 99;

/// Writes the configuration and returns the arguments that name it.
pub(super) fn arguments(site: &Site<'_>, logging: bool) -> Result<Vec<OsString>, BenchError> {
    let file = site.write("tidegate.yaml", &configuration(site, logging))?;
    Ok(vec!["run".into(), file])
}

fn configuration(site: &Site<'_>, logging: bool) -> String {
    let (http, https, [near, far, farther]) = (site.http, site.https, site.regions);
    let log = match logging {
        true => format!("{{ file: \"{}/access.log\" }}", site.directory.display()),
        false => "off".to_owned(),
    };
    let routes = routes();
    format!(
        "listeners:
  - {{ name: http, bind: \"{http}\" }}
  - name: https
    bind: \"{https}\"
    tls: {{ certificates: [{{ chain: edge.pem, key: edge.key }}] }}
admin: {{ bind: \"127.0.0.1:0\" }}
threads: 1
access_log: {log}
regions: {{ near: {{}}, far: {{}}, farther: {{}} }}
upstreams:
  shop:
    regions:
      near: {{ endpoints: [\"{near}\"] }}
      far: {{ endpoints: [\"{far}\"] }}
      farther: {{ endpoints: [\"{farther}\"] }}
    steering: {{ policy: priority }}
    health: {{ probe: {{ http: /healthz, interval: 2s }} }}
    retry: {{ attempts: 3, per_try: 5s }}
routes:
{routes}  - {{ name: load, match: {{ host: {HOST} }}, upstream: shop, timeout: 10s }}
"
    )
}

fn routes() -> String {
    let route = |n| {
        format!(
            "  - {{ name: other-{n}, match: {{ host: {HOST}, path: \"/other/{n}/**\" }}, \
             upstream: shop, timeout: 10s }}\n"
        )
    };
    (0..OTHER_ROUTES).map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_hundred_routes() {
        assert_eq!(routes().lines().count() + 1, 100);
    }
}
