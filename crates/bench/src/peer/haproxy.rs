//! HAProxy: one thread, upstream connections shared among clients, an active check.

use std::ffi::OsString;

use super::Site;
use crate::error::BenchError;

/// Writes the configuration and returns the arguments that name it.
pub(super) fn arguments(site: &Site<'_>) -> Result<Vec<OsString>, BenchError> {
    let read = |path| std::fs::read_to_string(path).map_err(BenchError::io("the certificate"));
    // It wants chain and key in one file.
    let both = format!("{}{}", read(site.chain)?, read(site.key)?);
    site.write("both.pem", &both)?;
    let file = site.write("haproxy.cfg", &configuration(site))?;
    Ok(vec!["-db".into(), "-f".into(), file])
}

fn configuration(site: &Site<'_>) -> String {
    let directory = site.directory.display();
    let (http, https, upstream) = (site.http, site.https, site.regions[0]);
    format!(
        "global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
frontend edge
    bind {http}
    bind {https} ssl crt {directory}/both.pem alpn h2,http/1.1
    default_backend shop
backend shop
    http-reuse always
    server one {upstream} check
"
    )
}
