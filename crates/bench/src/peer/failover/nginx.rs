//! nginx for region failover: the near region serves, the others are backups, failures seen on
//! requests take servers out for a while.
//!
//! By its documentation of the modules `ngx_http_upstream_module` (`backup`, `max_fails`,
//! `fail_timeout`, `zone`) and `ngx_http_proxy_module` (`proxy_next_upstream`): a request that fails
//! tries every server of the near region before a backup; a POST that was sent is not sent again.
//! Active checks and slow start are in its commercial version alone. Backups share load by weight,
//! so the last region gets next to none of it.

use super::{Endpoint, Regions};
use crate::peer::site::{Site, lines};

/// For tables.
pub(super) const KNOBS: &str = "near servers, all others backup (far by weight 100 to 1); \
    max_fails=5 fail_timeout=5s; proxy_next_upstream error timeout invalid_header http_500 502 503 \
    504, tries 4, read timeout 1 s, connect timeout 0.5 s; no active checks";

/// The configuration.
pub(super) fn configuration(site: &Site, regions: &Regions) -> String {
    let (directory, http) = (site.directory().display(), site.http);
    let try_s = regions.demands.try_s;
    let servers = lines(regions.endpoints(), |_, endpoint| server(&endpoint));
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
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
    upstream shop {{
        zone shop 256k;
{servers}        keepalive 512;
    }}
    server {{
        listen {http};
        location / {{
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_connect_timeout 500ms;
            proxy_send_timeout 1s;
            proxy_read_timeout {try_s}s;
            proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504;
            proxy_next_upstream_tries 4;
        }}
    }}
}}
"
    )
}

fn server(endpoint: &Endpoint) -> String {
    let standing = match endpoint.place {
        0 => "",
        1 => " weight=100 backup",
        _ => " backup",
    };
    let to = endpoint.to;
    format!("        server {to} max_fails=5 fail_timeout=5s{standing};")
}

#[cfg(test)]
mod tests {
    use super::super::tests::regions;
    use super::*;
    use crate::peer::Shape;
    use crate::peer::site::tests::site;

    #[test]
    fn all_but_the_nearest_stand_by() {
        let text = configuration(&site(Shape::default()), &regions(1));
        assert!(text.contains("127.0.0.1:11 max_fails=5 fail_timeout=5s;"));
        assert!(text.contains("127.0.0.1:21 max_fails=5 fail_timeout=5s weight=100 backup;"));
        assert_eq!(text.matches(" backup;").count(), 2);
    }
}
