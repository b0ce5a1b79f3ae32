//! One connection through a link, from accept to its end.
//!
//! Both sockets are set to reset when they are let go, and only an orderly end clears that: whatever goes wrong,
//! an order to reset, a panic or the drop of the whole link then looks to both peers like a path that died.

use std::sync::Arc;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::pump::{Pump, Torn};
use super::shared::{Direction, Open, Order, Shared};

/// Carries `client` to the upstream and back until it ends or is ordered to.
pub(super) async fn carry(client: TcpStream, open: Open, shared: Arc<Shared>) {
    let mut orders = shared.subscribe();
    tokio::select! {
        biased;
        _ = orders.wait_for(|order| order.mode.resets()) => {}
        () = forward(client, &shared) => {}
    }
    drop(open);
}

async fn forward(mut client: TcpStream, shared: &Shared) {
    let established = shared.established_at(Instant::now());
    tokio::time::sleep_until(established).await;
    if passing(shared.subscribe()).await.is_err() {
        return;
    }
    let Ok(upstream) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    let _ = upstream.set_zero_linger();
    let _ = upstream.set_nodelay(true);
    match exchange(&client, &upstream, shared, established).await {
        Ok(()) => {
            let _ = SockRef::from(&upstream).set_linger(None);
            let _ = SockRef::from(&client).set_linger(None);
        }
        Err(Torn::Cut) => {
            drop(upstream);
            swallow(&mut client, shared).await;
        }
        Err(Torn::Broken) => {}
    }
}

/// Waits until the link lets bytes pass: the handshake of a black-holed connection is under way as well.
async fn passing(mut orders: watch::Receiver<Order>) -> Result<(), watch::error::RecvError> {
    orders
        .wait_for(|order| order.mode.passes())
        .await
        .map(|_| ())
}

/// Both directions at once. The upstream's first bytes also wait for the client's half of the handshake.
async fn exchange(
    client: &TcpStream,
    upstream: &TcpStream,
    shared: &Shared,
    established: Instant,
) -> Result<(), Torn> {
    let upward = Pump::new(Direction::ToUpstream, client, upstream, shared, established);
    let answered = shared.due(Direction::ToUpstream, 0, established);
    let downward = Pump::new(Direction::ToClient, upstream, client, shared, answered);
    tokio::try_join!(upward.run(), downward.run()).map(|_| ())
}

/// After a cut the client has our FIN; closing with its bytes unread would turn that into a reset.
async fn swallow(client: &mut TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = client.read(&mut buffer).await {
        shared.counters.dropped(n);
    }
    let _ = SockRef::from(&*client).set_linger(None);
}
