//! The worlds that are shown in `docs/steering.md` and lived through in every test run.

use std::time::Duration;

use tidegate_core::plan::{Location, Policy, Spread, Standby};

use crate::scene::{Event, Scene};

/// A region dies without a word, and comes back, while demand swings.
pub(crate) fn latency() -> Scene {
    Scene::usual("latency", Policy::default())
        .about("nearest region; us-east falls silent at 100 s and is back at 160 s; demand swings by 40 % a day")
        .swinging(0.4)
        .at(100, Event::Silent(1))
        .at(160, Event::Up(1))
}

/// The way to the nearest region becomes a detour.
pub(crate) fn detour() -> Scene {
    Scene::usual("latency-detour", Policy::default())
        .about("a cable breaks at 100 s: from nyc it is 140 ms to us-east instead of 8; mended at 200 s")
        .regions(|_, region| region.told = false)
        .at(100, Event::Way(1, 1, 140.0))
        .at(200, Event::Way(1, 1, 8.0))
}

/// Two regions at about the same distance, and noise in what is measured.
pub(crate) fn tolerance() -> Scene {
    Scene::usual("latency-tolerance", Policy::default())
        .about("eu-west and us-east within the tolerance of 10 ms share by spare capacity; eu-west has half")
        .regions(|at, region| {
            if at == 0 {
                (region.capacity_rps, region.limit_rps) = (75.0, 95.0);
            }
        })
        .pops(|_, pop| pop.rtt_ms = vec![30.0, 34.0, 120.0])
        .alone(0, 150.0)
}

/// More demand than the nearest region has capacity for.
pub(crate) fn spill() -> Scene {
    Scene::usual("latency-spill", Policy::default())
        .about("one PoP, capacities of 150 a second each: demand doubles at 60 s, and doubles again at 160 s")
        .alone(0, 100.0)
        .at(60, Event::Demand(2.0))
        .at(160, Event::Demand(4.0))
        .at(240, Event::Demand(1.0))
}

/// Tiers, of which the first loses endpoints.
pub(crate) fn priority() -> Scene {
    Scene::usual("priority", Policy::priority())
        .about("eu-west, then us-east, then ap-south; eu-west loses four of its eight endpoints, then five, then all")
        .regions(|at, region| {
            region.tier = at as u16;
            region.endpoints = 8;
            region.told = false;
        })
        .alone(0, 90.0)
        .at(50, Event::Fewer(0, 0.5))
        .at(110, Event::Fewer(0, 0.625))
        .at(170, Event::Fewer(0, 1.0))
        .at(220, Event::Fewer(0, 0.0))
}

/// Weights, and a region that dies.
pub(crate) fn weighted() -> Scene {
    Scene::usual("weighted", Policy::weighted())
        .about("weights 5, 3 and 2; us-east dies at 100 s and is back at 180 s")
        .regions(|at, region| {
            region.weight = [5, 3, 2][at];
            region.told = false;
        })
        .alone(0, 120.0)
        .at(100, Event::Down(1))
        .at(180, Event::Up(1))
}

/// The same, each client by its hash.
pub(crate) fn weighted_by_hash() -> Scene {
    let mut scene = weighted();
    scene.name = "weighted-by-hash";
    scene.about =
        "the same by hash: 400 clients come back to their region, and only those of us-east move";
    scene.clients = Some(400);
    scene
}

/// The nearest region first, until it is full.
pub(crate) fn waterfall() -> Scene {
    Scene::usual(
        "capacity",
        Policy::Capacity {
            spread: Spread::Waterfall,
        },
    )
    .about("waterfall: demand swings between 60 and 340 a second over capacities of 150 each")
    .alone(0, 200.0)
    .swinging(0.7)
}

/// All regions at once.
pub(crate) fn spray() -> Scene {
    Scene::usual(
        "capacity-spray",
        Policy::Capacity {
            spread: Spread::Spray,
        },
    )
    .about("spray over capacities of 150, 100 and 50; ap-south dies at 120 s and is back at 200 s")
    .regions(|at, region| {
        (region.capacity_rps, region.limit_rps) =
            [(150.0, 190.0), (100.0, 127.0), (50.0, 63.0)][at];
    })
    .alone(0, 180.0)
    .at(120, Event::Down(2))
    .at(200, Event::Up(2))
}

/// The region nearest to the client.
pub(crate) fn geo() -> Scene {
    let places = [(50.1, 8.7), (40.7, -74.0), (1.3, 103.8)];
    Scene::usual(
        "geo",
        Policy::Geo {
            rules: Box::default(),
        },
    )
    .about("by distance from the client; eu-west dies at 100 s and is back at 180 s")
    .pops(|at, pop| {
        let (latitude, longitude) = places[at];
        pop.clients = Some(Location {
            latitude,
            longitude,
        });
    })
    .at(100, Event::Down(0))
    .at(180, Event::Up(0))
}

/// By load; one region becomes half as large.
pub(crate) fn least_load() -> Scene {
    Scene::usual("least_load", Policy::LeastLoad)
        .about(
            "by attempts under way against capacity; us-east loses half of its endpoints at 100 s",
        )
        .regions(|_, region| region.endpoints = 8)
        .alone(0, 220.0)
        .at(100, Event::Fewer(1, 0.5))
        .at(200, Event::Fewer(1, 0.0))
}

/// Dials that an operator turns.
pub(crate) fn dial() -> Scene {
    Scene::usual("dial", Policy::default())
        .about("an operator dials eu-west, the nearest, to 50 %, 10 %, 0 % and back")
        .alone(0, 100.0)
        .at(60, Event::Dial(0, 0.5))
        .at(120, Event::Dial(0, 0.1))
        .at(180, Event::Dial(0, 0.0))
        .at(240, Event::Dial(0, 1.0))
}

/// A region that stands by.
pub(crate) fn standby() -> Scene {
    Scene::usual("standby", Policy::default())
        .about("eu-west stands by although it is nearest; us-east dies at 100 s, ap-south at 150 s, both are back at 220 s")
        .regions(|at, region| {
            if at == 0 {
                region.standby = Standby::Warm;
            }
        })
        .alone(0, 80.0)
        .at(100, Event::Down(1))
        .at(150, Event::Down(2))
        .at(220, Event::Up(1))
        .at(220, Event::Up(2))
}

/// Everything that users meet in a bad week, for the comparison with others.
pub(crate) fn week() -> Scene {
    let mut scene = Scene::usual("week", Policy::default())
        .pops(|_, pop| pop.rate = 90.0)
        .about("demand swings by 50 %; us-east falls silent; half of eu-west's endpoints die; a launch doubles demand")
        .swinging(0.5)
        .at(200, Event::Silent(1))
        .at(380, Event::Up(1))
        .at(600, Event::Fewer(0, 0.5))
        .at(760, Event::Fewer(0, 0.0))
        .at(900, Event::Demand(1.5))
        .at(1_050, Event::Demand(1.0));
    scene.length = Duration::from_secs(1_200);
    scene
}

/// All that `docs/steering.md` shows.
pub(crate) fn shown() -> Vec<Scene> {
    vec![
        latency(),
        detour(),
        tolerance(),
        spill(),
        priority(),
        weighted(),
        weighted_by_hash(),
        waterfall(),
        spray(),
        geo(),
        least_load(),
        dial(),
        standby(),
    ]
}
