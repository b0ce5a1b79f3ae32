//! nginx: upstream connections kept, bodies streamed, otherwise its defaults.
//!
//! Its limit of 1,000 requests a connection is lifted: the others have none. By default it would put
//! an upload into a file before passing it on, and what a slow client leaves of an answer too; no
//! other proxy here does, and an upload would cost it about twice as much. It has no active checks
//! and speaks HTTP/2 to upstreams for gRPC only. Prefix locations are its fastest way to many routes.

use std::ffi::OsString;

use super::HOST;
use super::site::{Site, lines};
use crate::error::BenchError;

/// For tables.
pub(super) const KNOBS: &str = "one worker a core (reuseport if two), prefix locations, upstream \
    keepalive, proxy_request_buffering off, no temporary files, keepalive_requests unlimited, \
    shared session cache, access_log off; no active checks";

/// Writes the configuration.
pub(super) fn write(site: &Site) -> Result<(), BenchError> {
    site.write("nginx.conf", &configuration(site))
}

/// The arguments that name the configuration.
pub(super) fn arguments(site: &Site) -> Vec<OsString> {
    vec![
        "-p".into(),
        site.directory().into(),
        "-c".into(),
        site.file("nginx.conf"),
    ]
}

fn configuration(site: &Site) -> String {
    let directory = site.directory().display();
    let (http, https, threads) = (site.http, site.https, site.shape.threads);
    let (chain, key) = (site.chain.display(), site.key.display());
    let pass = match site.shape.h2c {
        true => "grpc_pass grpc://shop;",
        false => "proxy_pass http://shop;",
    };
    // One worker has nobody to share a port with.
    let reuseport = if threads > 1 { " reuseport" } else { "" };
    let servers = lines(site.endpoints(), |_, to| format!("        server {to};"));
    // Every endpoint may keep what one connection of the load needs.
    let kept = 512 + 2 * site.shape.endpoints;
    let locations = lines(site.prefixes(), |_, path| {
        format!("        location {path} {{ {pass} }}")
    });
    format!(
        "daemon off;
user root;
worker_processes {threads};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:edge:10m;
    upstream shop {{
{servers}        keepalive {kept};
        keepalive_requests 1000000000;
    }}
    server {{
        listen {http} default_server{reuseport};
        listen {https} ssl http2 default_server{reuseport};
        return 404;
    }}
    server {{
        listen {http};
        listen {https} ssl http2;
        server_name {HOST};
        proxy_http_version 1.1;
        proxy_max_temp_file_size 0;
        proxy_request_buffering off;
        proxy_set_header Connection \"\";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        grpc_set_header Host $host;
        grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
{locations}        location / {{ return 404; }}
    }}
}}
"
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
            ..Shape::default()
        };
        let text = configuration(&site(shape));
        assert!(text.contains("worker_processes 2;") && text.contains(" reuseport;"));
        assert!(text.contains("location /r/2/ { proxy_pass") && !text.contains("/r/3/"));
        assert!(text.contains("server 127.0.0.4:1;") && !text.contains("127.0.0.5"));
        let h2c = Shape { h2c: true, ..shape };
        assert!(configuration(&site(h2c)).contains("location /sink { grpc_pass grpc://shop; }"));
    }
}
