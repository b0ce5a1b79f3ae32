//! A whole map.

use std::time::Duration;

use tidegate_lab::{Client, ClientSpec, RequestSpec, World};

use crate::support::get_path;

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn sites_are_found_by_name_and_reached_through_their_links() {
    let world = World::builder()
        .region("eu-west", 2 * MS)
        .region("us-east", 4 * MS)
        .start()
        .await
        .unwrap();
    let names: Vec<_> = world.endpoints().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["eu-west", "us-east"]);
    for (name, addr) in world.endpoints() {
        assert_eq!(get_path(addr, "/").await.json()["region"], name);
    }
    let site = world.site("us-east").unwrap();
    assert_eq!(site.link.shape().delay_one_way, 2 * MS);
    assert_eq!(
        (site.region.snapshot().requests_total(), world.sites().len()),
        (1, 2)
    );
}

#[tokio::test]
async fn a_wrong_name_lists_the_right_ones() {
    let world = World::builder()
        .region("eu-west", MS)
        .start()
        .await
        .unwrap();
    let error = world.site("eu-wst").err().unwrap().to_string();
    assert_eq!(error, "no region eu-wst in this world; there are: eu-west");
}

#[tokio::test]
async fn names_are_unique() {
    let twice = World::builder()
        .region("eu", MS)
        .region("eu", MS)
        .start()
        .await;
    assert_eq!(
        twice.err().unwrap().to_string(),
        "region eu is in the world twice"
    );
}

#[tokio::test]
async fn the_ledgers_of_client_and_regions_agree() {
    let world = World::builder().region("eu", MS).start().await.unwrap();
    let mut spec = ClientSpec::new(world.sites()[0].addr(), "lab.test");
    spec.requests = Some(100);
    spec.mix = vec![RequestSpec::content(2_000), RequestSpec::digest(2_000)];
    let client = Client::start(spec).unwrap();
    let ids: Vec<_> = (0..100).map(|number| client.id_of(number)).collect();
    let report = client.finish().await;
    assert_eq!(
        (report.ok(), report.regions["eu"]),
        (100, 100),
        "{:?}",
        report.outcomes
    );
    assert!(ids.iter().all(|id| world.times_seen(id) == 1));
    let seen = world.sites()[0].region.snapshot();
    assert_eq!(
        (seen.requests_total(), seen.ids, seen.duplicates),
        (100, 100, 0)
    );
}
