//! What steering does to traffic: a seeded virtual world of PoPs and regions over the pure core, with
//! demand that swings, capacities that end, regions that die and operators who turn dials.
//!
//! Every policy lives through its world with many seeds: nothing flaps, nobody is overloaded while
//! another has room, and what changed settles in time. `make sim` writes a picture of each, and
//! compares the same worlds under models of Envoy's priorities and of DNS.

mod ledger;
mod others;
mod picture;
mod pop;
mod scene;
mod scenes;
mod site;
mod steerer;
#[path = "../support/mod.rs"]
mod support;
mod versus;
mod world;

use ledger::Ledger;
use pop::Tidegate;
use scene::Scene;
use world::World;

/// Seeds for each world in every test run.
const SEEDS: u64 = 10;

/// As many seeds as `TIDEGATE_SIM_SEEDS` says.
fn seeds() -> u64 {
    let wanted = std::env::var("TIDEGATE_SIM_SEEDS").ok();
    wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// Names the seed when its world disappoints.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn live(scene: &Scene, seed: u64) -> Ledger {
    World::new(scene, seed, |scene, pop| {
        let (tidegate, origin) = Tidegate::new(scene, &scene.pops[pop]);
        (Box::new(tidegate), origin)
    })
    .run()
}

/// Lives through `scene` with every seed; `expect` says what is wrong, if anything is.
fn check(scene: &Scene, expect: impl Fn(&Ledger)) {
    for seed in 0..seeds() {
        let _named = Named(format!("{} with seed {seed}", scene.name));
        let ledger = live(scene, seed);
        assert!(ledger.requests > 1_000, "nothing happened");
        expect(&ledger);
    }
}

#[track_caller]
fn near(what: &str, is: f64, expected: f64, within: f64) {
    assert!(
        (is - expected).abs() <= within,
        "{what}: {is:.3}, not {expected:.3}"
    );
}

#[test]
fn latency_moves_with_the_dead_and_with_nothing_else() {
    check(&scenes::latency(), |ledger| {
        assert_eq!(ledger.lost, 0);
        // Out and back again, of the one PoP whose nearest region it is.
        let switches = ledger.switches();
        assert!(switches.len() <= 4, "{switches:?}");
        assert!(
            switches.iter().all(|(_, pop, ..)| *pop == 1),
            "{switches:?}"
        );
        assert!(
            ledger.overload(0) <= 3,
            "{} s of overload",
            ledger.overload(0)
        );
    });
}

#[test]
fn a_detour_moves_traffic_once_there_and_once_back() {
    check(&scenes::detour(), |ledger| {
        let switches = ledger.switches();
        assert_eq!(switches.len(), 2, "{switches:?}");
        let (there, back) = (switches[0], switches[1]);
        assert_eq!((there.1, there.2, there.3), (1, 1, 0));
        assert!((100..=125).contains(&there.0), "{there:?}");
        assert!((200..=245).contains(&back.0), "{back:?}");
        assert_eq!(ledger.lost, 0);
    });
}

#[test]
fn noise_moves_nobody() {
    let mut scene = scenes::tolerance().regions(|_, region| {
        (region.told, region.limit_rps) = (false, 400.0);
    });
    // 20 and 36 ms with 10 % of noise: far enough for the tolerance, near enough to be mixed up.
    scene.pops[0].rtt_ms = vec![20.0, 36.0, 120.0];
    scene.noise = 0.1;
    check(&scene, |ledger| {
        // What is measured first is as good as one sample is.
        let mut late = ledger.switches().into_iter().filter(|(at, ..)| *at >= 10);
        assert_eq!(late.next(), None);
        assert!(
            ledger.share(0, 30..300) > 0.95,
            "{}",
            ledger.share(0, 30..300)
        );
    });
}

#[test]
fn equally_near_regions_share_by_spare_capacity() {
    check(&scenes::tolerance(), |ledger| {
        // 150 a second over 75 and 150: each as full as the other.
        near(
            "share of the small one",
            ledger.share(0, 60..300),
            1.0 / 3.0,
            0.05,
        );
        assert_eq!(ledger.lost, 0);
        assert!(
            ledger.overload(10) <= 3,
            "{} s of overload",
            ledger.overload(10)
        );
    });
}

#[test]
fn beyond_capacity_only_the_excess_spills() {
    check(&scenes::spill(), |ledger| {
        near("before", ledger.share(0, 10..60), 1.0, 0.01);
        let spilled = ledger.rate(0, 90..160);
        assert!(
            (130.0..=155.0).contains(&spilled),
            "{spilled} a second at the nearest"
        );
        near("next", ledger.rate(1, 90..160), 200.0 - spilled, 6.0);
        // 400 over 450: all of them nearly full, none beyond.
        for region in 0..3 {
            let rate = ledger.rate(region, 190..240);
            assert!(rate <= 165.0, "{rate} a second at {region}");
        }
        near("back", ledger.share(0, 270..300), 1.0, 0.02);
        assert_eq!(ledger.lost, 0);
        assert!(
            ledger.overload(0) <= 26,
            "{} s of overload",
            ledger.overload(0)
        );
    });
}

#[test]
fn tiers_spill_what_their_endpoints_cannot_carry() {
    check(&scenes::priority(), |ledger| {
        near("whole", ledger.share(0, 10..50), 1.0, 0.005);
        near("half", ledger.share(0, 80..110), 0.7, 0.04);
        near("three of eight", ledger.share(0, 140..170), 0.525, 0.04);
        near("none", ledger.share(1, 185..220), 1.0, 0.02);
        assert_eq!(ledger.lost, 0);
    });
}

#[test]
fn shares_follow_weights_and_the_dead_are_shared_out() {
    check(&scenes::weighted(), |ledger| {
        near("5 of 10", ledger.share(0, 0..100), 0.5, 0.03);
        near("3 of 10", ledger.share(1, 0..100), 0.3, 0.03);
        near("5 of 7", ledger.share(0, 110..180), 5.0 / 7.0, 0.04);
        near("again", ledger.share(1, 250..300), 0.3, 0.04);
        assert_eq!(ledger.lost, 0);
    });
}

#[test]
fn by_hash_only_those_move_whose_region_died() {
    let mut calm = scenes::weighted_by_hash();
    calm.events.clear();
    check(&calm, |ledger| assert_eq!(ledger.moved, 0));
    check(&scenes::weighted_by_hash(), |ledger| {
        near("5 of 10", ledger.share(0, 0..100), 0.5, 0.08);
        assert_eq!(ledger.lost, 0);
        // Each of the 30 % once there and once back, and some more while the ramp lasts.
        let per_client = ledger.moved as f64 / 400.0;
        assert!(
            (0.4..1.6).contains(&per_client),
            "{per_client} moves a client"
        );
    });
}

#[test]
fn a_waterfall_fills_one_region_after_the_other() {
    check(&scenes::waterfall(), |ledger| {
        // The top of the day: 340 over 450.
        near("first", ledger.rate(0, 60..90), 145.0, 16.0);
        let last = ledger.rate(2, 60..90);
        assert!((20.0..90.0).contains(&last), "{last} a second at the last");
        // The bottom: 60.
        near("night", ledger.share(0, 210..240), 1.0, 0.02);
        assert_eq!(ledger.lost, 0);
        assert!(
            ledger.overload(0) <= 5,
            "{} s of overload",
            ledger.overload(0)
        );
        assert!(ledger.switches().len() <= 2, "{:?}", ledger.switches());
    });
}

#[test]
fn a_spray_shares_by_capacity() {
    check(&scenes::spray(), |ledger| {
        near("150 of 300", ledger.share(0, 10..120), 0.5, 0.03);
        near("50 of 300", ledger.share(2, 10..120), 1.0 / 6.0, 0.03);
        near("150 of 250", ledger.share(0, 135..200), 0.6, 0.04);
        assert_eq!(ledger.lost, 0);
        assert!(
            ledger.overload(0) <= 3,
            "{} s of overload",
            ledger.overload(0)
        );
    });
}

#[test]
fn geo_goes_by_the_clients_place() {
    check(&scenes::geo(), |ledger| {
        near("a third each", ledger.share(0, 0..100), 1.0 / 3.0, 0.03);
        near("while it is down", ledger.share(0, 105..180), 0.0, 0.01);
        assert_eq!(ledger.lost, 0);
        assert!(ledger.switches().len() <= 2, "{:?}", ledger.switches());
    });
}

#[test]
fn load_is_levelled() {
    check(&scenes::least_load(), |ledger| {
        assert_eq!((ledger.lost, ledger.overload(0)), (0, 0));
        let half = ledger.share(1, 120..200);
        assert!(
            half < ledger.share(0, 120..200),
            "{half} at what is half as large"
        );
    });
}

#[test]
fn a_dial_takes_what_it_says() {
    check(&scenes::dial(), |ledger| {
        for (seconds, share) in [
            (5..60, 1.0),
            (65..120, 0.5),
            (125..180, 0.1),
            (185..240, 0.0),
        ] {
            near("dialed", ledger.share(0, seconds), share, 0.03);
        }
        near("again", ledger.share(0, 245..300), 1.0, 0.01);
        assert_eq!(ledger.lost, 0);
    });
}

#[test]
fn a_standby_serves_when_nothing_else_does() {
    check(&scenes::standby(), |ledger| {
        near("calm", ledger.share(0, 0..150), 0.0, 0.005);
        near("alone", ledger.share(0, 155..220), 1.0, 0.02);
        near("after", ledger.share(0, 270..300), 0.0, 0.01);
        assert_eq!(ledger.lost, 0);
    });
}

/// What happens may move the main region of each PoP, there and back; nothing else may, day or night.
#[test]
fn nothing_flaps() {
    for scene in scenes::shown() {
        let most = scene.events.len() * scene.pops.len() + 1;
        check(&scene, |ledger| {
            let switches = ledger.switches();
            assert!(switches.len() <= most, "{switches:?}, at most {most}");
        });
    }
}

/// A whole day without any event but the swing of demand.
#[test]
fn a_calm_day_moves_only_what_has_no_room() {
    for mut scene in scenes::shown() {
        scene.events.clear();
        scene.swing = 0.5;
        check(&scene, |ledger| {
            assert_eq!(ledger.lost, 0);
            assert!(ledger.switches().len() <= 2, "{:?}", ledger.switches());
            assert!(
                ledger.overload(0) <= 12,
                "{} s of overload",
                ledger.overload(0)
            );
        });
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = || {
        let ledger = live(&scenes::spill(), 3);
        (ledger.requests, ledger.rescued, ledger.took, ledger.moved)
    };
    assert_eq!(told(), told());
}

#[test]
fn tidegate_loses_nothing_where_others_do() {
    let scene = scenes::week();
    let [ours, envoy, dns] = versus::all(&scene, 1);
    assert_eq!(ours.lost, 0, "of {}", ours.requests);
    assert!(dns.lost > 0, "the models that lose must lose");
    assert!(ours.overload(0) < envoy.overload(0).min(dns.overload(0)));
}

/// Writes the pictures of `docs/steering.md` where `TIDEGATE_SIM_PICTURES` says, and the comparison.
#[test]
#[ignore = "writes pictures: make sim"]
fn report() {
    let directory =
        std::env::var("TIDEGATE_SIM_PICTURES").unwrap_or_else(|_| "../../docs/steering".into());
    std::fs::create_dir_all(&directory).expect("a directory");
    for scene in scenes::shown() {
        let ledger = live(&scene, 1);
        let picture = picture::draw(&scene, &ledger);
        std::fs::write(format!("{directory}/{}.svg", scene.name), picture).expect("a picture");
        println!(
            "{:20} {:6} requests, {:5} rescued, {} lost, {:3} s of overload, {} switches",
            scene.name,
            ledger.requests,
            ledger.rescued,
            ledger.lost,
            ledger.overload(0),
            ledger.switches().len()
        );
    }
    versus::print(&scenes::week(), seeds());
}
