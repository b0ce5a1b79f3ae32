//! The closed loop: each connection sends its next request when it has the answer to the last.

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Asked, Connection, Requests, Tally, expected};
use crate::error::BenchError;

/// Sends `requests` over `connections`, to random routes.
///
/// # Errors
/// When the load itself breaks; wrong answers are in the tally.
pub(crate) async fn closed(
    asked: Asked,
    connections: u32,
    requests: u64,
) -> Result<Tally, BenchError> {
    let expected = expected();
    let all = u64::from(connections.max(1));
    let mut lanes = JoinSet::new();
    for lane in 0..all {
        let share = requests / all + u64::from(lane < requests % all);
        lanes.spawn(run(asked, lane, share, expected.clone()));
    }
    let mut tally = Tally::default();
    while let Some(lane) = lanes.join_next().await {
        tally.take(lane.map_err(|error| BenchError::Load(error.to_string()))?);
    }
    Ok(tally)
}

/// A connection that breaks ends its lane: the tally is short then, which is a fault.
async fn run(asked: Asked, lane: u64, share: u64, expected: Bytes) -> Tally {
    let mut tally = Tally::default();
    let mut requests = Requests::new(asked.routes, lane);
    let mut connection = match Connection::open(asked.target).await {
        Ok(connection) => connection,
        Err(error) => {
            tally.count(&Err(error), &expected);
            return tally;
        }
    };
    for _ in 0..share {
        let answer = connection.ask(&requests.next()).await;
        tally.count(&answer, &expected);
        if answer.is_err() {
            break;
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_request_is_sent_once_and_checked() {
        let target = crate::upstream::start().await.unwrap().http1[0];
        let asked = Asked { target, routes: 50 };
        let tally = closed(asked, 4, 103).await.unwrap();
        assert_eq!(tally.fault(103), None);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_a_fault() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let tally = closed(Asked { target, routes: 1 }, 2, 10).await.unwrap();
        assert_eq!((tally.right, tally.lost), (0, 2));
        assert!(tally.fault(10).is_some());
    }
}
