//! nginx: one worker, upstream connections kept, bodies streamed, otherwise its defaults.
//!
//! Its limit of 1,000 requests a connection is lifted: the others have none. By default it would put
//! an upload into a file before passing it on, and what a slow client leaves of an answer too; no
//! other proxy here does, and an upload would cost it about twice as much.

use std::ffi::OsString;

use super::{HOST, Site};
use crate::error::BenchError;

/// Writes the configuration and returns the arguments that name it.
pub(super) fn arguments(site: &Site<'_>) -> Result<Vec<OsString>, BenchError> {
    let file = site.write("nginx.conf", &configuration(site))?;
    let directory = site.directory.as_os_str().to_owned();
    Ok(vec!["-p".into(), directory, "-c".into(), file])
}

fn configuration(site: &Site<'_>) -> String {
    let directory = site.directory.display();
    let (http, https, upstream) = (site.http, site.https, site.regions[0]);
    let (chain, key) = (site.chain.display(), site.key.display());
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream shop {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {http};
        listen {https} ssl http2;
        server_name {HOST};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_request_buffering off;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"
    )
}
