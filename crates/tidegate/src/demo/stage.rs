//! Three regions behind links, and Tidegate in front of them, in one process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tidegate_config::{Disk, Loaded};
use tidegate_control::{DrainOrder, OrderTerms, Shared};
use tidegate_core::{Health, LiveRegion};
use tidegate_health::Prober;
use tidegate_lab::tls::{Alpn, Authority};
use tidegate_lab::{Mode, World, wait_until};
use tidegate_proxy::{Proxy, ProxyOptions, Running};
use tidegate_telemetry::AccessLog;

use crate::exit::Failure;
use crate::serve::start_prober;

/// Name and round trip of every region, nearest first. The script acts on the first.
pub(super) const REGIONS: [(&str, Duration); 3] = [
    ("eu-west", Duration::from_millis(10)),
    ("us-east", Duration::from_millis(80)),
    ("ap-south", Duration::from_millis(160)),
];

/// The name that clients ask for.
pub(super) const HOST: &str = "shop.example.com";

/// All regions must have been probed within this.
const WARM_UP_MAX: Duration = Duration::from_secs(20);

/// Everything that the demonstration runs on. Dropping it ends it and leaves nothing behind.
pub(super) struct Stage {
    world: World,
    shared: Shared,
    proxy: Running,
    authority: Authority,
    _prober: Prober,
    _files: TempDir,
}

/// A region as the proxy sees it.
pub(super) struct Seen {
    pub(super) name: &'static str,
    pub(super) rtt: Duration,
    pub(super) health: Health,
    pub(super) draining: bool,
}

impl Stage {
    pub(super) async fn build() -> Result<Self, Failure> {
        let files = tempfile::tempdir().map_err(Failure::no)?;
        let authority = Authority::new("tidegate demo").map_err(Failure::no)?;
        let leaf = authority.issue(&[HOST, "localhost", "127.0.0.1"]);
        let leaf = leaf.map_err(Failure::no)?;
        leaf.write_to(files.path(), "edge").map_err(Failure::no)?;
        let world = world().await?;
        let shared = Shared::new(Instant::now());
        let loaded = compile(files.path(), &configuration(&world))?;
        shared.plan.activate(loaded.plan, &shared.board);
        let proxy = Proxy::start(ProxyOptions {
            listeners: loaded.settings.listeners,
            threads: loaded.settings.threads,
            plan: shared.plan.clone(),
            news: shared.board.news().clone(),
            metrics: shared.metrics.clone(),
            records: shared.records.clone(),
            access: AccessLog::off(),
        });
        Ok(Self {
            proxy: proxy.map_err(Failure::no)?,
            _prober: start_prober(&shared),
            world,
            shared,
            authority,
            _files: files,
        })
    }

    /// Waits until every region is known to be well.
    pub(super) async fn warmed_up(&self) -> Result<(), Failure> {
        let well = || async {
            self.seen()
                .iter()
                .all(|region| region.health == Health::Healthy)
        };
        let waited = wait_until("every region is healthy", WARM_UP_MAX, well).await;
        waited.map_err(Failure::no)
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        let first = self.proxy.addresses().first().map(|(_, address)| *address);
        first.ok_or_else(|| Failure::no("the demonstration has no listener"))
    }

    /// TLS settings of a client that trusts the self-made certificate.
    pub(super) fn client_tls(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        self.authority
            .client_config(Alpn::Both)
            .map_err(Failure::no)
    }

    /// Switches the link to the nearest region.
    pub(super) async fn set_link(&self, mode: Mode) -> Result<(), Failure> {
        let site = self.world.site(REGIONS[0].0).map_err(Failure::no)?;
        site.link.set(mode).await.map_err(Failure::no)
    }

    /// Begins or ends the drain of the nearest region, as an operator would.
    pub(super) fn set_draining(&self, draining: bool) -> Result<(), Failure> {
        let (region, now) = (REGIONS[0].0, SystemTime::now());
        let (shared, terms) = (&self.shared, OrderTerms::default());
        let drained = match draining {
            true => (shared.orders).drain(region, DrainOrder::default(), &terms, shared, now),
            false => (shared.orders).undrain(region, &terms.author, shared, now),
        };
        drained.map(|_| ()).map_err(Failure::no)
    }

    /// The regions as the proxy sees them now.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let live = self.shared.plan.newest();
        let regions = live.iter().flat_map(|live| &live.upstreams[0].regions);
        let told = REGIONS.iter().zip(regions);
        told.map(|((name, rtt), live)| seen(name, *rtt, live))
            .collect()
    }

    /// The sum of all series of a counter of the proxy.
    pub(super) fn counted(&self, metric: &str) -> u64 {
        let text = self.shared.metrics.render(None);
        let of_metric = |line: &&str| {
            let rest = line.strip_prefix(metric);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let lines = text.lines().filter(of_metric);
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// What is there to see, in a few lines.
    pub(super) fn introduction(&self) -> String {
        let address = self.address().map(|address| address.to_string());
        let regions = REGIONS.map(|(name, rtt)| format!("{name} {} ms away", rtt.as_millis()));
        format!(
            "Tidegate on https://{} with {}.\nHTTP/1.1 and HTTP/2, GET and PUT, every body checked. \
             Look in: curl -k https://{0}/\n",
            address.unwrap_or_default(),
            regions.join(", "),
        )
    }
}

fn seen(name: &'static str, rtt: Duration, live: &LiveRegion) -> Seen {
    Seen {
        name,
        rtt,
        health: live.cell.health(),
        draining: live.cell.draining(),
    }
}

async fn world() -> Result<World, Failure> {
    let builder = REGIONS.iter().fold(World::builder(), |world, (name, rtt)| {
        world.region(name, *rtt)
    });
    builder.start().await.map_err(Failure::no)
}

fn compile(directory: &Path, text: &str) -> Result<Loaded, Failure> {
    let source = directory.join("demo.yaml").display().to_string();
    let loaded = tidegate_config::compile(&source, text, &Disk, SystemTime::now());
    loaded.map_err(|report| crate::terminal::refused(&report))
}

/// The configuration that anybody would write, with limits fit for a short show.
fn configuration(world: &World) -> String {
    let names = REGIONS
        .map(|(name, _)| format!("  {name}: {{}}\n"))
        .concat();
    let regions: String = world
        .endpoints()
        .map(|(name, address)| format!("      {name}: {{ endpoints: [\"{address}\"] }}\n"))
        .collect();
    format!(
        "pop: {{ name: demo }}
listeners:
  - name: https
    bind: 127.0.0.1:0
    tls: {{ certificates: [{{ chain: edge.pem, key: edge.key }}] }}
threads: 2
regions:
{names}upstreams:
  shop:
    regions:
{regions}    steering: {{ policy: latency, tolerance: 10ms }}
    health:
      probe: {{ http: /healthz, interval: 500ms, timeout: 450ms, rise: 2, fall: 2 }}
      failback: {{ hold: 500ms, hold_max: 1s, probation: 25%, ramp: 2s }}
    retry: {{ attempts: 4, per_try: 400ms }}
    connection: {{ connect_timeout: 400ms }}
    body: {{ replay: 1MiB }}
routes:
  - {{ name: shop, upstream: shop, timeout: 8s, reveal: {{ region: true }} }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration of the demonstration is right for whatever ports the world gets.
    #[tokio::test]
    async fn the_configuration_loads() {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new("test").unwrap();
        let leaf = authority.issue(&[HOST]).unwrap();
        leaf.write_to(files.path(), "edge").unwrap();
        let text = configuration(&world().await.unwrap());
        let loaded = compile(files.path(), &text);
        let loaded = loaded.unwrap_or_else(|failure| panic!("{failure:?}\n{text}"));
        assert_eq!(loaded.warnings, [], "{text}");
        assert_eq!(loaded.plan.upstreams[0].regions.len(), REGIONS.len());
    }
}
