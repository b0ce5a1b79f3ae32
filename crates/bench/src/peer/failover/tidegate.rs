//! Tidegate for region failover: its defaults, the nearest region first, `/healthz` as the probe.

use super::{Demands, Regions, Secured};
use crate::peer::site::{Site, lines};

/// For tables.
pub(super) const KNOBS: &str = "its defaults; steering: priority, probe: /healthz";

/// The configuration.
pub(super) fn configuration(site: &Site, regions: &Regions) -> String {
    let http = site.http;
    let names: Vec<_> = regions
        .all
        .iter()
        .map(|(name, _)| format!("{name}: {{}}"))
        .collect();
    let names = names.join(", ");
    let all = lines(regions.all.iter(), |_, (name, to)| {
        let to: Vec<_> = to.iter().map(|to| format!("\"{to}\"")).collect();
        format!("      {name}: {{ endpoints: [{}] }}", to.join(", "))
    });
    let secured = regions.secured.as_ref().map_or_else(String::new, secured);
    let demanded = demanded(regions.demands);
    format!(
        "listeners:
  - {{ name: http, bind: \"{http}\" }}
admin: {{ bind: \"127.0.0.1:0\" }}
threads: 1
access_log: off
regions: {{ {names} }}
upstreams:
  shop:
    regions:
{all}    steering: {{ policy: priority }}
    health: {{ probe: {{ http: /healthz }} }}
{secured}{demanded}routes:
  - {{ name: all, upstream: shop }}
"
    )
}

/// What is not its default.
fn demanded(demands: Demands) -> String {
    let patience = match demands.try_s {
        1 => String::new(),
        seconds => format!("    retry: {{ per_try: {seconds}s }}\n"),
    };
    let gather = match demands.uploads {
        true => "    body: { gather: 1MiB }\n",
        false => "",
    };
    patience + gather
}

fn secured(how: &Secured) -> String {
    let warm = how.warm_standby.map_or_else(String::new, |count| {
        format!("    connection: {{ warm_standby: {count} }}\n")
    });
    let (ca, host) = (how.ca.display(), crate::peer::HOST);
    format!("    protocol: http2\n    tls: {{ server_name: {host}, ca: \"{ca}\" }}\n{warm}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::regions;
    use super::*;
    use crate::peer::Shape;
    use crate::peer::site::tests::site;

    #[test]
    fn regions_are_in_line_and_secured_when_asked() {
        let site = site(Shape::default());
        let plain = configuration(&site, &regions(2));
        let near = "      near: { endpoints: [\"127.0.0.1:11\", \"127.0.0.1:12\"] }\n      far:";
        assert!(plain.contains(near), "{plain}");
        assert!(!plain.contains("tls:"));
        let secured = Regions {
            secured: Some(Secured {
                ca: PathBuf::from("/ca.pem"),
                warm_standby: Some(2),
            }),
            ..regions(1)
        };
        let text = configuration(&site, &secured);
        assert!(text.contains("protocol: http2") && text.contains("ca: \"/ca.pem\""));
        assert!(text.contains("warm_standby: 2"));
    }
}
