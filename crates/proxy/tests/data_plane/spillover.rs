//! What is beyond a region's capacity goes to the next one, and is told as that.

use std::time::Duration;

use tidegate_core::plan::Policy;
use tidegate_core::{Allotment, Dial};
use tidegate_lab::World;

use crate::harness::{Ask, Down, Rig, Setup, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

async fn two() -> (World, Rig) {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    setup.upstream().steering = Policy::default().into();
    for region in &mut setup.upstream().regions {
        region.capacity_rps = Some(1_000.0);
    }
    (world, setup.start())
}

/// What a look would leave: eu is near, us is far, and each takes so much of what it is offered.
fn take(rig: &Rig, [eu, us]: [f64; 2]) {
    for (region, take, ms) in [("eu", eu, 1), ("us", us, 100)] {
        let cell = rig.board.region("shop", region);
        cell.set_allotment(Allotment {
            take: Dial::new(take),
            latency: Some(Duration::from_millis(ms)),
            ..Allotment::default()
        });
    }
}

fn shed(rig: &Rig, region: &str) -> u64 {
    rig.metric(&format!(
        r#"tidegate_spillovers_total{{upstream="shop",region="{region}"}}"#
    ))
}

#[tokio::test]
async fn a_region_that_is_full_sheds_and_the_next_one_serves() {
    let (_world, rig) = two().await;
    let served = async |down: Down| {
        let got = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(got.status, 200);
        got.header("x-lab-region").to_owned()
    };
    take(&rig, [1.0, 1.0]);
    for down in BOTH {
        assert_eq!(served(down).await, "eu");
    }
    assert_eq!((shed(&rig, "eu"), shed(&rig, "us")), (0, 0));
    take(&rig, [0.0, 1.0]);
    for down in BOTH {
        assert_eq!(served(down).await, "us");
    }
    assert_eq!((shed(&rig, "eu"), shed(&rig, "us")), (2, 0));
    // Where all are full somebody serves all the same, and has shed nothing.
    take(&rig, [0.0, 0.0]);
    for down in BOTH {
        served(down).await;
    }
    assert_eq!(shed(&rig, "eu") + shed(&rig, "us"), 4);
    let log = rig.log(6).await;
    let shedding = |line: &&serde_json::Value| line["attempts"][0]["because"] == "shed";
    assert_eq!(log.iter().filter(shedding).count(), 2, "{log:#?}");
    let demand = |region: &str| rig.board.region("shop", region).demand().shed;
    assert_eq!(demand("eu"), shed(&rig, "eu"), "the board counts the same");
    assert_eq!(demand("us"), shed(&rig, "us"));
}
