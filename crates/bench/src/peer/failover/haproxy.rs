//! HAProxy for region failover: the near region serves, the others are backups in their order.
//!
//! By its configuration manual: section 5.2 for `check`, `fastinter`, `observe layer7`,
//! `error-limit`, `on-error mark-down`, `slowstart` and `backup`; section 4.2 for `retry-on`,
//! `option redispatch`, `retries` and `http-request disable-l7-retry`. Without `option allbackups`
//! the first backup that is up serves alone, which keeps the regions' order.
//!
//! Tried both ways, and what harms its clients left out: `on-marked-down shutdown-sessions` turns
//! requests in flight into errors where a retry saves them, and with three retries a request can meet
//! nothing but the dead region. `observe` does not see an answer that `retry-on` takes back, so the
//! limit of errors is low.

use super::{Endpoint, Regions};
use crate::peer::site::{Site, lines};

/// For tables.
pub(super) const KNOBS: &str = "near servers, all others backup in order; check inter 1s fastinter \
    250ms fall 2 rise 2, observe layer7 error-limit 3 on-error mark-down, slowstart 30s; retries 10, \
    option redispatch 1, retry-on all-retryable-errors (not for POST), http-reuse always, timeout \
    server 1 s, connect 0.5 s";

/// What is to be sent again has to fit into one buffer (section 4.2, `retry-on`).
const UPLOAD_BUFFERS: &str = "    tune.bufsize 524288\n";

/// Bodies are read before a server is chosen (section 4.2).
const UPLOAD_GATHER: &str = "    option http-buffer-request\n    timeout http-request 30s\n";

/// The configuration.
pub(super) fn configuration(site: &Site, regions: &Regions) -> String {
    let http = site.http;
    let try_s = regions.demands.try_s;
    let (buffers, gather) = match regions.demands.uploads {
        true => (UPLOAD_BUFFERS, UPLOAD_GATHER),
        false => ("", ""),
    };
    let servers = lines(regions.endpoints(), |_, endpoint| server(&endpoint));
    format!(
        "global
    nbthread 1
    maxconn 12000
    no strict-limits
{buffers}defaults
    mode http
    timeout connect 500ms
    timeout client 60s
    timeout server {try_s}s
    timeout check 1s
    option forwardfor
{gather}frontend edge
    bind {http}
    default_backend shop
backend shop
    balance roundrobin
    http-reuse always
    retries 10
    option redispatch 1
    retry-on all-retryable-errors
    http-request disable-l7-retry if METH_POST
    option httpchk GET /healthz
    default-server check inter 1s fastinter 250ms downinter 1s fall 2 rise 2 observe layer7 \
         error-limit 3 on-error mark-down slowstart 30s
{servers}"
    )
}

fn server(endpoint: &Endpoint) -> String {
    let Endpoint { place, name, to } = endpoint;
    let standing = if *place == 0 { "" } else { " backup" };
    format!("    server {name} {to}{standing}")
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
        let servers = "    server near-1 127.0.0.1:11\n    server far-1 127.0.0.1:21 backup\n";
        assert!(text.contains(servers), "{text}");
    }
}
