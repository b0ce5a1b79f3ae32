//! The time from the start of a program to its first right answer.

use std::time::{Duration, Instant};

use crate::drive::{self, Connection};
use crate::error::BenchError;
use crate::peer::Process;

/// How long a proxy may take; the largest configurations are read for seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often is asked.
const PAUSE: Duration = Duration::from_millis(1);

/// Asks for the last route until the answer is right; how long that took since the start.
///
/// # Errors
/// [`BenchError::NotServing`] when it took too long, or the process has ended.
pub(crate) async fn until_right(
    mut process: Process,
    routes: u32,
) -> Result<(Process, Duration), BenchError> {
    let request = drive::last_route(routes);
    let target = process.address(false);
    let until = process.started() + PATIENCE;
    drive::on_load_core(move || async move {
        loop {
            let why = match ask(target, &request).await {
                Ok(true) => {
                    let took = process.started().elapsed();
                    return Ok((process, took));
                }
                Ok(false) => "a wrong answer".to_owned(),
                Err(error) => error.to_string(),
            };
            if process.has_ended() || Instant::now() > until {
                let (peer, words) = (process.name(), process.words());
                let why = format!("{why} after {PATIENCE:?} or its end; {words}");
                return Err(BenchError::NotServing { peer, why });
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

async fn ask(target: std::net::SocketAddr, request: &[u8]) -> std::io::Result<bool> {
    let mut connection = Connection::open(target).await?;
    let answer = connection.ask(request).await?;
    Ok(drive::is_right(&answer))
}
