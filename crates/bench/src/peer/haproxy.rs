//! HAProxy: upstream connections shared among clients, routes in a map file, active checks.
//!
//! A map searched by prefix is its fastest way to many routes: a tree, read anew at a reload. The
//! master keeps the process id over reloads and hands the listeners on, so that none is closed.

use std::ffi::OsString;

use super::HOST;
use super::site::{Site, lines};
use crate::error::BenchError;

/// For tables.
pub(super) const KNOBS: &str = "one thread a core, http-reuse always, routes in a map searched by \
    map_beg, httpchk /healthz every 2 s, master-worker with expose-fd listeners, \
    prefer-client-ciphers, no log";

/// Writes the configuration, the map, and chain and key in the one file that it wants.
pub(super) fn write(site: &Site) -> Result<(), BenchError> {
    let read = |path| std::fs::read_to_string(path).map_err(BenchError::io("the certificate"));
    let both = format!("{}{}", read(&site.chain)?, read(&site.key)?);
    site.write("both.pem", &both)?;
    site.write(
        "routes.map",
        &lines(site.prefixes(), |_, path| format!("{path} shop")),
    )?;
    site.write("haproxy.cfg", &configuration(site))
}

/// The arguments that name the configuration.
pub(super) fn arguments(site: &Site) -> Vec<OsString> {
    vec![
        "-W".into(),
        "-db".into(),
        "-f".into(),
        site.file("haproxy.cfg"),
    ]
}

fn configuration(site: &Site) -> String {
    let directory = site.directory().display();
    let (http, https, threads) = (site.http, site.https, site.shape.threads);
    // h2load does not count an HTTP/1.1 status without a reason, and HTTP/2 has none.
    let (protocol, reason) = match site.shape.h2c {
        true => (
            " proto h2",
            "    http-response set-status 200 reason OK if { status 200 }\n",
        ),
        false => ("", ""),
    };
    let (option, check) = match site.shape.checks {
        true => ("    option httpchk GET /healthz\n", " check inter 2s"),
        false => ("", ""),
    };
    let servers = lines(site.endpoints(), |n, to| {
        format!("    server s{n} {to}{protocol}{check}")
    });
    format!(
        "global
    nbthread {threads}
    maxconn 12000
    no strict-limits
    stats socket {directory}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 60s
    option forwardfor
frontend edge
    bind {http}
    bind {https} ssl crt {directory}/both.pem alpn h2,http/1.1 prefer-client-ciphers
    use_backend %[path,map_beg({directory}/routes.map)] if {{ hdr(host),field(1,:) -m str {HOST} }}
    default_backend none
backend none
    http-request return status 404
backend shop
    http-reuse always
{reason}{option}{servers}"
    )
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
            endpoints: 4,
            checks: true,
            h2c: true,
        };
        let site = site(shape);
        write(&site).unwrap();
        let read = |name| std::fs::read_to_string(site.file(name)).unwrap();
        assert!(read("routes.map").ends_with("/r/0/ shop\n/r/1/ shop\n/r/2/ shop\n"));
        let text = read("haproxy.cfg");
        assert!(text.contains("nbthread 2"));
        assert!(
            text.ends_with("server s3 127.0.0.4:4 proto h2 check inter 2s\n"),
            "{text}"
        );
    }
}
