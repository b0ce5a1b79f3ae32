//! Where the cases play: a near region for each way to die, a far one that is well, and a process
//! with an upstream and a route for each case.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tidegate_lab::{Behaviour, Client, ClientSpec, Link, LinkSpec, Mode, Protocol, Region};
use tidegate_lab::{Death, RegionSpec, Snapshot};

use super::case::Case;
use super::oracle::{self, End};
use crate::harness::Tidegate;

/// Longer than every limit of the configuration together.
const CLIENT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// What all upstreams say. Nothing that happened to one request may help the next: the case is what
/// one request does by itself.
const UPSTREAM: &str = "    steering: { policy: priority }
    health: { probe: off, region: { silence: off } }
    circuit_breaker: { ejection: off }
    connection: { warm_standby: 0 }
    retry: { attempts: 4, per_try: 4s }
    body: { replay: 64KiB, spool: 256MiB }
";

/// The parts, and where each case's near region is.
pub(super) struct Stage {
    pub(super) cases: Vec<Case>,
    near: Vec<(Death, Region)>,
    refusing: Link,
    pub(super) far: Region,
}

/// What came of one case.
#[derive(Clone)]
pub(super) struct Played {
    pub(super) case: Case,
    pub(super) name: String,
    pub(super) end: End,
    pub(super) region: Option<String>,
    /// How often the near regions and the far one saw it.
    pub(super) seen: [u64; 2],
    told: String,
}

impl Stage {
    pub(super) async fn set(cases: Vec<Case>) -> Self {
        let far = Region::start(RegionSpec::new("far")).await.unwrap();
        let refusing = Link::start(far.addr(), LinkSpec::default()).await.unwrap();
        refusing.set(Mode::Refuse).await.unwrap();
        let mut near: Vec<(Death, Region)> = Vec::new();
        for death in cases.iter().filter_map(|case| case.death()) {
            if !near.iter().any(|(known, _)| *known == death) {
                near.push((death, dying(death).await));
            }
        }
        Self {
            cases,
            near,
            refusing,
            far,
        }
    }

    fn near(&self, case: Case) -> SocketAddr {
        match case.death() {
            None => self.refusing.addr(),
            Some(death) => self.region_of(death).addr(),
        }
    }

    fn region_of(&self, death: Death) -> &Region {
        let found = self.near.iter().find(|(known, _)| *known == death);
        &found.unwrap().1
    }

    /// The configuration. Each case is a host of its own.
    pub(super) fn yaml(&self) -> String {
        let mut upstreams = String::new();
        let mut routes = String::new();
        for (at, case) in self.cases.iter().enumerate() {
            let name = name(at);
            let (near, far) = (self.near(*case), self.far.addr());
            let protocol = match case.up {
                Protocol::H1 => "http1",
                Protocol::H2 => "http2",
            };
            write!(
                upstreams,
                "  {name}:\n    regions:\n      near: {{ endpoints: [\"{near}\"] }}\n\
                 \x20     far: {{ endpoints: [\"{far}\"] }}\n    protocol: {protocol}\n{UPSTREAM}"
            )
            .unwrap();
            let route = case.route();
            writeln!(
                routes,
                "  - {{ name: {name}, match: {{ host: {name}.test }}, upstream: {name}, {route} \
                 timeout: 12s, idle_timeout: 4s }}"
            )
            .unwrap();
        }
        format!(
            "listeners:\n  - {{ name: http, bind: \"127.0.0.1:0\" }}\n\
             admin: {{ bind: \"127.0.0.1:0\" }}\nthreads: 2\nmetrics: {{ max_series: 100000 }}\n\
             replay: {{ spool_dir: spool }}\n\
             regions:\n  near: {{}}\n  far: {{}}\nupstreams:\n{upstreams}routes:\n{routes}"
        )
    }

    /// Starts the process, with a directory for spooled bodies that is its own.
    pub(super) async fn open(&self) -> Tidegate {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("spool")).unwrap();
        Tidegate::start_in(directory, &self.yaml()).await
    }

    /// Sends the request of one case, once.
    pub(super) async fn play(&self, at: usize, http: SocketAddr) -> Played {
        let case = self.cases[at];
        let name = name(at);
        let spec = ClientSpec {
            protocol: case.down,
            requests: Some(1),
            concurrency: 1,
            timeout: CLIENT_PATIENCE,
            mix: vec![case.request()],
            ..ClientSpec::new(http, &format!("{name}.test"))
        };
        let client = Client::start(spec).unwrap();
        let id = client.id_of(0);
        let books = client.finish().await;
        books.check_balance().unwrap();
        let incident = books.incidents.first();
        let problem = incident.and_then(|incident| incident.problem.as_deref());
        let outcome = *books.outcomes.keys().next().unwrap();
        Played {
            case,
            name,
            end: oracle::end(outcome, problem),
            region: answered_by(&books),
            seen: [self.seen_near(case, &id), self.far.times_seen(&id)],
            told: format!("{outcome:?} {}", problem.unwrap_or_default()),
        }
    }

    fn seen_near(&self, case: Case, id: &str) -> u64 {
        case.death()
            .map_or(0, |death| self.region_of(death).times_seen(id))
    }
}

impl Played {
    /// What is wrong with it, if anything.
    pub(super) fn complaint(&self) -> Option<String> {
        let right = oracle::right_ends(self.case);
        let fine = right.contains(&self.end) && oracle::may_be_seen(self.case, self.seen);
        let Self {
            case, name, told, ..
        } = self;
        let seen = self.seen;
        (!fine).then(|| format!("{name} {case:?}: {told}, seen {seen:?}; right: {right:?}"))
    }
}

fn name(at: usize) -> String {
    format!("c{at}")
}

async fn dying(death: Death) -> Region {
    let behaviour = Behaviour {
        death: Some(death),
        ..Behaviour::default()
    };
    let spec = RegionSpec {
        behaviour,
        ..RegionSpec::new("near")
    };
    Region::start(spec).await.unwrap()
}

fn answered_by(books: &Snapshot) -> Option<String> {
    books.regions.keys().next().cloned()
}
