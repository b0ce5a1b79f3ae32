//! What policies for endpoints do to those who wait: a small world of servers with queues, asked by
//! several processes that know nothing of each other.
//!
//! Nobody is ejected and nothing is tried again: this is what the policies alone make of it. `cargo
//! nextest run -p tidegate-core --test balancing --run-ignored only --no-capture` prints the table of
//! docs/balancing.md.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::balance::prequal::Told;
use tidegate_core::balance::{self, Barred, Seek};
use tidegate_core::cell::{ErrorClass, InFlight, Outcome};
use tidegate_core::hash::xxh64;
use tidegate_core::plan::{Balance, Prequal};
use tidegate_core::{EndpointSet, RegionCell};

#[path = "support/mod.rs"]
mod support;

use support::{World, latency, policies};

const SERVERS: usize = 20;
/// Requests that one server works at at once; others wait.
const SLOTS: usize = 4;
const SERVICE_US: f64 = 20_000.0;
/// What all servers can do, in requests a second.
const CAPACITY: f64 = (SERVERS * SLOTS) as f64 * 1e6 / SERVICE_US;
/// Processes that balance.
const POPS: usize = 4;
const SECONDS: u64 = 10;
/// A request that takes longer has failed.
const DEADLINE_US: u64 = 1_000_000;
/// One way to a server and back.
const NETWORK_US: u64 = 500;

/// What is wrong with the first server, and how many ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nothing; 70 % of what all can do is asked for.
    Calm,
    /// It takes five times as long.
    Slow,
    /// It fails each request at once.
    FailsFast,
    /// Five servers are half as fast as the others, and load climbs from 50 % to 95 % of what all
    /// can do.
    Ramp,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Calm,
    Trouble::Slow,
    Trouble::FailsFast,
    Trouble::Ramp,
];

impl Trouble {
    /// How many times as long the server takes.
    fn factor(self, server: usize) -> f64 {
        match self {
            Self::Slow if server == 0 => 5.0,
            Self::Ramp if server < 5 => 2.0,
            _ => 1.0,
        }
    }

    fn load(self, at_us: u64) -> f64 {
        let servers = (0..SERVERS).map(|server| self.factor(server).recip());
        let possible = servers.sum::<f64>() / SERVERS as f64;
        match self {
            Self::Ramp => possible * (0.5 + 0.45 * at_us as f64 / (SECONDS * 1_000_000) as f64),
            Self::Calm | Self::Slow | Self::FailsFast => 0.7,
        }
    }
}

#[derive(Default)]
struct Server {
    working: usize,
    waiting: VecDeque<u64>,
    in_flight: u32,
    /// How many the last requests found in flight here, and how long they took, in microseconds.
    recent: VecDeque<(u32, u64)>,
}

impl Server {
    /// The median of those of the last requests that found about as many in flight as there are now.
    fn latency(&self) -> Option<Duration> {
        let mut near: Vec<_> = self.recent.iter().copied().collect();
        near.sort_unstable_by_key(|(found, _)| found.abs_diff(self.in_flight));
        near.truncate(9);
        near.sort_unstable_by_key(|(_, took)| *took);
        let (_, median) = near.get(near.len() / 2)?;
        Some(Duration::from_micros(*median))
    }
}

/// One process: its own view of the servers.
struct Pop {
    world: World,
    set: std::sync::Arc<EndpointSet>,
}

impl Pop {
    fn region(&self) -> &std::sync::Arc<RegionCell> {
        &self.world.live.upstreams[0].regions[0].cell
    }
}

struct Request {
    pop: usize,
    server: usize,
    began_us: u64,
    arrived_us: u64,
    found: u32,
    attempt: InFlight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Arrive(u64),
    Done(u64),
    Probed { pop: usize, at: usize },
}

/// What became of the requests of one run.
#[derive(Debug)]
struct Found {
    p50_ms: f64,
    p99_ms: f64,
    /// Of a thousand.
    errors: f64,
}

struct Run {
    trouble: Trouble,
    pops: Vec<Pop>,
    servers: Vec<Server>,
    requests: HashMap<u64, Request>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    numbers: u64,
    rng: Rng,
    /// Whether servers say anything when they are probed.
    speak: bool,
    took_us: Vec<u64>,
    errors: u64,
}

impl Run {
    fn new(balance: &Balance, trouble: Trouble, seed: u64) -> Self {
        let pop = |_| {
            let world = World::changed(latency(0), &[SERVERS], |upstream| {
                upstream.balance = balance.clone();
            });
            let set = world.set(0);
            Pop { world, set }
        };
        Self {
            trouble,
            pops: (0..POPS).map(pop).collect(),
            servers: (0..SERVERS).map(|_| Server::default()).collect(),
            requests: HashMap::new(),
            events: BinaryHeap::new(),
            numbers: 0,
            rng: Rng::with_seed(seed),
            speak: true,
            took_us: Vec::new(),
            errors: 0,
        }
    }

    fn at(&mut self, us: u64, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((us, self.numbers, event)));
    }

    fn drawn(&mut self, mean_us: f64) -> u64 {
        (-mean_us * (1.0 - self.rng.f64()).ln()) as u64 + 1
    }

    fn run(mut self) -> Found {
        self.at(0, Event::Ask);
        while let Some(Reverse((us, _, event))) = self.events.pop() {
            match event {
                Event::Ask if us < SECONDS * 1_000_000 => self.ask(us),
                Event::Ask => {}
                Event::Arrive(request) => self.arrive(us, request),
                Event::Done(request) => self.done(us, request),
                Event::Probed { pop, at } => self.probed(us, pop, at),
            }
        }
        self.took_us.sort_unstable();
        let all = self.took_us.len();
        let percentile = |part: f64| self.took_us[(all as f64 * part) as usize] as f64 / 1e3;
        Found {
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            errors: self.errors as f64 / all as f64 * 1e3,
        }
    }

    fn ask(&mut self, us: u64) {
        let rate = CAPACITY * self.trouble.load(us);
        let next = us + self.drawn(1e6 / rate);
        self.at(next, Event::Ask);
        let (at, key) = (self.rng.usize(..POPS), self.rng.u64(..10_000));
        let pop = &self.pops[at];
        let now = moment(pop, us);
        let seek = Seek {
            barred: Barred::default(),
            hash: Some(xxh64(0, &key.to_le_bytes()))
                .filter(|_| pop.set.balance().hashing().is_some()),
            named: None,
            region: pop.region(),
            now,
        };
        let picked = balance::pick(&pop.set, &seek, &mut self.rng).expect("all are open");
        pop.set.taken(picked);
        let probes = pop.set.to_probe(picked.at, &seek, &mut self.rng);
        let request = Request {
            pop: at,
            server: picked.at,
            began_us: us,
            arrived_us: us + NETWORK_US,
            found: 0,
            attempt: InFlight::begin(
                pop.set.endpoints[picked.at].cell.clone(),
                pop.region().clone(),
            ),
        };
        for probe in probes {
            let event = Event::Probed { pop: at, at: probe };
            self.at(us + 2 * NETWORK_US, event);
        }
        let number = self.numbers;
        self.requests.insert(number, request);
        self.at(us + NETWORK_US, Event::Arrive(number));
    }

    fn fails(&self, server: usize) -> bool {
        self.trouble == Trouble::FailsFast && server == 0
    }

    fn arrive(&mut self, us: u64, number: u64) {
        let request = self.requests.get_mut(&number).expect("under way");
        let at = request.server;
        request.found = self.servers[at].in_flight;
        self.servers[at].in_flight += 1;
        match () {
            () if self.fails(at) => self.at(us + 100, Event::Done(number)),
            () if self.servers[at].working < SLOTS => self.work(us, at, number),
            () => self.servers[at].waiting.push_back(number),
        }
    }

    fn work(&mut self, us: u64, at: usize, number: u64) {
        self.servers[at].working += 1;
        let takes = self.drawn(SERVICE_US * self.trouble.factor(at));
        self.at(us + takes, Event::Done(number));
    }

    fn done(&mut self, us: u64, number: u64) {
        let request = self.requests.remove(&number).expect("under way");
        let at = request.server;
        let server = &mut self.servers[at];
        server.in_flight -= 1;
        server
            .recent
            .push_back((request.found, us - request.arrived_us));
        if server.recent.len() > 100 {
            server.recent.pop_front();
        }
        let failed = self.fails(at);
        if !failed {
            self.servers[at].working -= 1;
            if let Some(next) = self.servers[at].waiting.pop_front() {
                self.work(us, at, next);
            }
        }
        let heard = us + NETWORK_US;
        let took = heard - request.began_us;
        let now = moment(&self.pops[request.pop], heard);
        request.attempt.endpoint().record(
            match failed {
                true => Outcome::failed(ErrorClass::ServerError),
                false => Outcome::Answered(Duration::from_micros(took)),
            },
            now,
        );
        self.errors += u64::from(failed || took > DEADLINE_US);
        self.took_us.push(took);
    }

    fn probed(&mut self, us: u64, pop: usize, at: usize) {
        let server = &self.servers[at];
        let told = match self.speak {
            true => Told {
                in_flight: Some(server.in_flight),
                latency: server.latency(),
            },
            false => Told::default(),
        };
        let (draw, pop) = (self.rng.f64(), &self.pops[pop]);
        pop.set.probed(at, Some(told), draw, moment(pop, us));
    }
}

fn moment(pop: &Pop, us: u64) -> Instant {
    pop.world.now + Duration::from_micros(us)
}

fn found(balance: &Balance, trouble: Trouble) -> Found {
    Run::new(balance, trouble, 1).run()
}

fn row(found: impl Fn(Trouble) -> Found) -> String {
    let cell = |trouble| {
        let Found {
            p50_ms,
            p99_ms,
            errors,
        } = found(trouble);
        format!(" {p50_ms:.0} / {p99_ms:.0} / {errors:.1} |")
    };
    TROUBLES.map(cell).concat() + "\n"
}

/// With probes that are answered with nothing.
fn silent(trouble: Trouble) -> Found {
    let mut run = Run::new(&prequal(), trouble, 1);
    run.speak = false;
    run.run()
}

fn prequal() -> Balance {
    Balance::Prequal(Prequal::new("/load"))
}

#[test]
#[ignore = "prints figures, and asserts nothing"]
fn a_table_of_policies() {
    let mut table = String::new();
    for balance in policies().into_iter().chain([prequal()]) {
        let bounded = balance
            .hashing()
            .is_some_and(|hashing| hashing.balance_factor.is_some());
        let bounded = if bounded { " bounded" } else { "" };
        table += &format!("| `{}`{bounded} |", balance.as_str());
        table += &row(|trouble| found(&balance, trouble));
    }
    table += "| `prequal`, told nothing |";
    table += &row(silent);
    println!("{table}");
}

#[test]
fn who_looks_sees_what_is_slow() {
    let blind = found(&Balance::RoundRobin, Trouble::Slow);
    let least = Balance::LeastRequest { choice_count: 2 };
    for balance in [Balance::PeakEwma, least, prequal()] {
        let seeing = found(&balance, Trouble::Slow);
        let word = balance.as_str();
        assert!(
            seeing.p99_ms < blind.p99_ms / 3.0,
            "{word} {seeing:?} {blind:?}"
        );
        assert_eq!(seeing.errors, 0.0, "{word}");
    }
}

#[test]
fn who_fails_fast_is_left_by_those_who_count_failures() {
    let counts_nothing = found(
        &Balance::LeastRequest { choice_count: 2 },
        Trouble::FailsFast,
    );
    for balance in [Balance::PeakEwma, prequal()] {
        let counts = found(&balance, Trouble::FailsFast);
        let word = balance.as_str();
        assert!(
            counts.errors < counts_nothing.errors / 10.0,
            "{word} {counts:?} {counts_nothing:?}"
        );
    }
}

#[test]
fn near_the_limit_probes_see_what_a_process_of_many_does_not() {
    let (blind, seeing) = (
        found(&Balance::Random, Trouble::Ramp),
        found(&prequal(), Trouble::Ramp),
    );
    assert!(seeing.p99_ms < blind.p99_ms / 3.0, "{seeing:?} {blind:?}");
}

#[test]
fn where_servers_say_nothing_what_is_known_here_stands_in() {
    for trouble in [Trouble::Slow, Trouble::Ramp] {
        let (blind, seeing) = (found(&Balance::Random, trouble), silent(trouble));
        assert!(seeing.p99_ms < blind.p99_ms / 3.0, "{seeing:?} {blind:?}");
    }
}
