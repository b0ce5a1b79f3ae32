//! One scene: all proxies at once, the same load on each, the same fault at the same moment.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate_lab::Leaf;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::fault::{Change, Fault};
use super::figures::{self, Harm, Mishap, Return, Sample, Times};
use super::lane::{Books, Lane};
use super::sites::Near;
use crate::error::BenchError;
use crate::peer::Peer;

/// Between two samples.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happens in a scene.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) fault: Fault,
    /// Requests a second at each proxy.
    pub(super) rate: f64,
    /// Share of them that are POST.
    pub(super) posts: f64,
    pub(super) regions: usize,
    pub(super) endpoints: usize,
    /// Before the fault.
    pub(super) calm: Duration,
    /// Of the fault.
    pub(super) lasts: Duration,
    /// After its end.
    pub(super) watch: Duration,
}

/// A scene, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scene {
    pub(super) fault: Fault,
    pub(super) rate: f64,
    pub(super) posts: f64,
    pub(super) regions: usize,
    pub(super) endpoints: usize,
    pub(super) lasts_s: f64,
    pub(super) watch_s: f64,
    /// In the order in which they were started.
    pub(super) lanes: Vec<LaneReport>,
}

/// One proxy in a scene.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LaneReport {
    pub(super) peer: String,
    /// Requests sent by clients: GET, POST.
    pub(super) sent: [u64; 2],
    pub(super) harm: Harm,
    /// The slowest request of the scene, right or failed.
    pub(super) worst_ms: u64,
    /// Tries that went into the dead region during the fault; `None` where nothing can see them. Of
    /// links it is an estimate from bytes.
    pub(super) into_dead: Option<u64>,
    /// POSTs that arrived more than once.
    pub(super) twice: u64,
    #[serde(rename = "return")]
    pub(super) back: Return,
    /// Mishaps beyond what a client remembers: 0, or the counts are too low.
    pub(super) forgotten: u64,
    pub(super) times: Times,
    pub(super) samples: Vec<Sample>,
    pub(super) mishaps: Vec<Mishap>,
}

impl Scene {
    /// Its name in tables: the fault, and what is not as usual.
    pub(super) fn name(&self) -> String {
        match self.posts > 0.0 {
            true => format!("{}, {:.0} % POST", self.fault.name(), 100.0 * self.posts),
            false => self.fault.name().to_owned(),
        }
    }
}

/// When what happened, for all lanes alike.
#[derive(Clone, Copy)]
struct Moments {
    fault: Instant,
    heal: Instant,
    end: Instant,
}

/// Plays it. `tell` hears what happens now.
///
/// # Errors
/// When something cannot be started, or a proxy does not survive.
pub(super) async fn play(
    script: &Script,
    peers: &[Peer],
    leaf: &Leaf,
    mut tell: impl FnMut(&str),
) -> Result<Scene, BenchError> {
    let mut lanes = begin(script, peers, leaf, &mut tell).await?;
    tell("calm");
    watch(&mut lanes, Instant::now() + script.calm).await;
    let calm: Vec<_> = lanes.iter().map(Lane::at_near).collect();
    let fault = Instant::now();
    let mut dead = calm.clone();
    for (after, change) in script.fault.changes(script.lasts) {
        watch(&mut lanes, fault + after).await;
        tell("fault");
        dead = lanes.iter().map(Lane::at_near).collect();
        apply(&lanes, &change).await?;
    }
    let heal = Instant::now();
    tell("healed");
    watch(&mut lanes, heal + script.watch).await;
    let moments = Moments {
        fault,
        heal,
        end: Instant::now(),
    };
    tell("waits for the last answers");
    let mut reports = Vec::new();
    for (mut lane, near) in lanes.into_iter().zip(calm.into_iter().zip(dead)) {
        let books = lane.end().await?;
        reports.push(report(script.fault, lane, books, moments, near));
    }
    Ok(scene(script, reports))
}

/// Starts all proxies, then the load of all.
async fn begin(
    script: &Script,
    peers: &[Peer],
    leaf: &Leaf,
    tell: &mut impl FnMut(&str),
) -> Result<Vec<Lane>, BenchError> {
    let mut lanes = Vec::new();
    for peer in peers {
        tell(&format!("starts {}", peer.kind.name()));
        lanes.push(Lane::start(peer, script.regions, script.endpoints, leaf).await?);
    }
    for lane in &mut lanes {
        lane.begin(script.rate, script.posts)?;
    }
    Ok(lanes)
}

fn scene(script: &Script, lanes: Vec<LaneReport>) -> Scene {
    Scene {
        fault: script.fault,
        rate: script.rate,
        posts: script.posts,
        regions: script.regions,
        endpoints: script.endpoints,
        lasts_s: script.lasts.as_secs_f64(),
        watch_s: script.watch.as_secs_f64(),
        lanes,
    }
}

/// Samples all lanes until then.
async fn watch(lanes: &mut [Lane], until: Instant) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::sleep_until(until.into());
    tokio::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            _ = beat.tick() => lanes.iter_mut().for_each(Lane::look),
        }
    }
    lanes.iter_mut().for_each(Lane::look);
}

/// Changes the near region of every proxy at once; the last link has switched when this returns.
async fn apply(lanes: &[Lane], change: &Change) -> Result<(), BenchError> {
    let mut switching = JoinSet::new();
    for lane in lanes {
        lane.sites.change(change, &mut switching);
    }
    while let Some(switched) = switching.join_next().await {
        switched.map_err(|error| BenchError::Load(error.to_string()))??;
    }
    Ok(())
}

fn report(
    fault: Fault,
    lane: Lane,
    books: Books,
    moments: Moments,
    (calm, dead): (Near, Near),
) -> LaneReport {
    let times = Times {
        fault_ms: lane.at_ms(moments.fault),
        heal_ms: lane.at_ms(moments.heal),
        end_ms: lane.at_ms(moments.end),
    };
    LaneReport {
        peer: lane.kind.name().to_owned(),
        sent: books.sent,
        harm: figures::harm(&books.mishaps, times),
        worst_ms: books.worst_ms,
        into_dead: into_dead(fault, calm, dead),
        twice: books.twice,
        back: figures::come_back(&lane.samples, times),
        forgotten: books.forgotten,
        times,
        samples: lane.samples,
        mishaps: books.mishaps,
    }
}

/// Tries that went into the dead region: requests that its service saw, or connections that were
/// opened to it and, on older ones, bytes that its links took, by the bytes of a request before the
/// fault. The few of active checks are among them. A closed port and a dropped SYN tell nobody.
fn into_dead(fault: Fault, calm: Near, dead: Near) -> Option<u64> {
    let bytes = dead.bytes.saturating_sub(calm.bytes);
    let opened = dead.connections.saturating_sub(calm.connections);
    let of_request = calm
        .bytes
        .checked_div(calm.requests)
        .filter(|bytes| *bytes > 0);
    match fault {
        Fault::Refuse | Fault::Flapping => None,
        Fault::Reset => Some(opened),
        Fault::BlackHole | Fault::Unreachable => {
            of_request.map(|of_request| opened + bytes / of_request)
        }
        Fault::Errors | Fault::HiddenErrors | Fault::Slow | Fault::Grey => {
            Some(dead.requests.saturating_sub(calm.requests))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_into_the_dead_are_counted_where_they_show() {
        let calm = Near {
            requests: 100,
            bytes: 20_000,
            connections: 10,
        };
        let dead = Near {
            requests: 130,
            bytes: 28_100,
            connections: 60,
        };
        let table = [
            (Fault::Refuse, None),
            (Fault::Reset, Some(50)),
            (Fault::BlackHole, Some(90)),
            (Fault::Slow, Some(30)),
        ];
        for (fault, expected) in table {
            assert_eq!(into_dead(fault, calm, dead), expected, "{fault:?}");
        }
        assert_eq!(into_dead(Fault::BlackHole, Near::default(), dead), None);
    }
}
