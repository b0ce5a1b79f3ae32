//! Clients that leave: nobody waits for the answer any more, so the attempt is cancelled on the wire
//! and nothing stays in flight, whatever the client was waiting for.

use http::Request;

use crate::harness::{Ask, Down, H1, H2, HOST, Setup, answering, raw, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

/// Before the head.
#[tokio::test]
async fn a_client_that_leaves_takes_its_attempt_along() {
    for down in BOTH {
        for h2_up in [false, true] {
            let world = world(&["eu"]).await;
            let mut setup = Setup::world(&world);
            setup.h2_up(h2_up);
            let rig = setup.start();
            let region = &world.site("eu").unwrap().region;
            let path = "/slow/600000";
            let arrived = || region.snapshot().in_flight == 1;
            match down {
                Down::H1 => {
                    let mut client = H1::connect(rig.addr()).await;
                    client
                        .send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"))
                        .await;
                    until("the request's arrival", arrived).await;
                }
                Down::H2 => {
                    let mut client = H2::connect(rig.addr()).await;
                    let request = Request::get(format!("http://{HOST}{path}"))
                        .body(())
                        .unwrap();
                    let mut sending = client.open(request, true).await;
                    until("the request's arrival", arrived).await;
                    // The stream alone is given up; its connection stays.
                    sending.upload.send_reset(h2::Reason::CANCEL);
                    rig.until_idle().await;
                }
            }
            rig.until_idle().await;
            until("the region's release", || region.snapshot().in_flight == 0).await;
            let log = &rig.log(1).await[0];
            assert_eq!(log["reason"], "client_gone", "{down:?} {h2_up} {log}");
            assert_eq!(log["attempts"][0]["outcome"], "abandoned", "{log}");
            assert_eq!(rig.total("tidegate_requests_lost_total"), 0);
        }
    }
}

/// A client that leaves while its answer streams, or stands still, takes the attempt along.
#[tokio::test]
async fn a_client_that_leaves_within_its_answer_takes_its_attempt_along() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for down in BOTH {
        let upstream = raw(vec![answering(head)]).await;
        let rig = Setup::to(upstream.addr()).start();
        match down {
            Down::H1 => {
                let mut client = H1::connect(rig.addr()).await;
                client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
                client.head().await;
            }
            Down::H2 => {
                let mut client = H2::connect(rig.addr()).await;
                let request = Request::get(format!("http://{HOST}/")).body(()).unwrap();
                let answer = client.open(request, true).await.response.await.unwrap();
                drop(answer);
            }
        }
        until("the upstream's release", || upstream.peer_ended(0)).await;
        rig.until_idle().await;
        assert_eq!(rig.log(1).await[0]["reason"], "client_gone", "{down:?}");
    }
}

/// In the middle of an upload: the upstream sees a break, not half a request as a whole one.
#[tokio::test]
async fn a_client_that_leaves_within_its_upload_leaves_no_request() {
    for down in BOTH {
        for h2_up in [false, true] {
            let world = world(&["eu"]).await;
            let mut setup = Setup::world(&world);
            setup.h2_up(h2_up);
            let rig = setup.start();
            let region = &world.site("eu").unwrap().region;
            let arrived = || region.snapshot().in_flight == 1;
            match down {
                Down::H1 => {
                    let mut client = H1::connect(rig.addr()).await;
                    let head = "POST /sha256 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\n";
                    client.send(format!("{head}half")).await;
                    until("the request's arrival", arrived).await;
                }
                Down::H2 => {
                    let mut client = H2::connect(rig.addr()).await;
                    let request = Request::post(format!("http://{HOST}/sha256"))
                        .body(())
                        .unwrap();
                    let mut sending = client.open(request, false).await;
                    sending.upload.send_data("half".into(), false).unwrap();
                    until("the request's arrival", arrived).await;
                }
            }
            rig.until_idle().await;
            until("the region's release", || region.snapshot().in_flight == 0).await;
            let log = &rig.log(1).await[0];
            assert_eq!(log["reason"], "client_gone", "{down:?} {h2_up} {log}");
            assert_eq!(log["attempts"].as_array().unwrap().len(), 1, "{log}");
        }
    }
}

/// One stream that is given up does not disturb its neighbours on the same connections.
#[tokio::test]
async fn neighbours_stay_undisturbed() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.h2_up(true);
    let rig = setup.start();
    let mut client = H2::connect(rig.addr()).await;
    let slow = || {
        Request::get(format!("http://{HOST}/slow/600000"))
            .body(())
            .unwrap()
    };
    let mut leaving = client.open(slow(), true).await;
    until("the request's arrival", || rig.in_flight() == 1).await;
    let ask = Ask::get("/slow-body/20480/20");
    let (staying, ()) = tokio::join!(client.ask(&ask), async {
        until("both requests", || rig.in_flight() == 2).await;
        leaving.upload.send_reset(h2::Reason::CANCEL);
    });
    assert!(
        staying.is_whole() && staying.body.len() == 20_480,
        "{:?}",
        staying.end
    );
    rig.until_idle().await;
}
