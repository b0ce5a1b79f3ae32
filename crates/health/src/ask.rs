//! What is asked of one endpoint.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{HttpProbe, Probe, ProbeKind, UpstreamProtocol};

use crate::error::ProbeError;
use crate::grpc;
use crate::request::{Parts, Request};

/// Who is asked, and for what; made once for all checks of the endpoint.
pub(crate) struct Ask {
    address: Arc<str>,
    request: Option<Result<Request, ProbeError>>,
}

/// How the connections are that it is asked over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// What they may speak.
    pub(crate) protocol: UpstreamProtocol,
}

impl Ask {
    /// What `probe` asks the endpoint at `address` (`host:port`).
    pub(crate) fn new(address: &Arc<str>, probe: &Probe, manner: Manner) -> Self {
        let address = match probe.port {
            Some(port) => format!("{}:{port}", host(address)).into(),
            None => address.clone(),
        };
        Self {
            request: prepare(&address, &probe.kind, probe.timeout, manner),
            address,
        }
    }

    /// `host:port` to connect to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The host of it. An IPv6 address keeps its brackets.
    pub(crate) fn host(&self) -> &str {
        host(&self.address)
    }

    /// The request that every check sends; none for probes that ask nothing, or something else each time.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub(crate) fn request(&self) -> Option<Result<&Request, ProbeError>> {
        let request = self.request.as_ref()?;
        Some(request.as_ref().map_err(Clone::clone))
    }
}

fn prepare(
    address: &str,
    kind: &ProbeKind,
    timeout: Duration,
    manner: Manner,
) -> Option<Result<Request, ProbeError>> {
    let Manner { scheme, protocol } = manner;
    match kind {
        ProbeKind::Http(probe) => Some(plain(probe, address, manner)),
        ProbeKind::Grpc { service, host } => {
            let host = host.as_deref().unwrap_or(address);
            debug_assert_eq!(protocol, UpstreamProtocol::Http2);
            Some(grpc::call(service, scheme, host, timeout))
        }
        ProbeKind::Tcp | ProbeKind::Steps(_) => None,
    }
}

fn plain(probe: &HttpProbe, address: &str, manner: Manner) -> Result<Request, ProbeError> {
    let host = probe.host.as_deref().unwrap_or(address);
    Request::new(&Parts::of(probe, manner.scheme, host), manner.protocol)
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_may_have_a_port_of_its_own() {
        let check = |address: &str, port, expected: &str| {
            let probe = Probe {
                port,
                ..Probe::new(ProbeKind::Http(HttpProbe::default()))
            };
            let manner = Manner {
                scheme: "http",
                protocol: UpstreamProtocol::Http1,
            };
            let ask = Ask::new(&address.into(), &probe, manner);
            assert_eq!(ask.address(), expected);
            let sent = ask.request().unwrap().unwrap().http1().unwrap().to_vec();
            let host = format!("\r\nhost: {expected}\r\n");
            assert!(String::from_utf8(sent).unwrap().contains(&host));
        };
        check("10.0.0.1:80", None, "10.0.0.1:80");
        check("10.0.0.1:80", Some(8_081), "10.0.0.1:8081");
        check("[2001:db8::1]:443", Some(1), "[2001:db8::1]:1");
        check("shop.internal:443", Some(65_535), "shop.internal:65535");
    }
}
