//! The dimension `size`: CPU per request by size of body and protocol.

use std::path::Path;

use crate::bench::{Bench, Heading};
use crate::cell::{Cell, SIZE, Transfer};
use crate::error::BenchError;
use crate::figures::Round;
use crate::load;
use crate::peer::{Kind, Peer, Shape};
use crate::{Options, sample};

/// A round begins with this share of its requests that is not measured.
const WARM_UP: u64 = 10;

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let cells: Vec<_> = SIZE
        .iter()
        .filter(|cell| cell.name.contains(&options.only))
        .collect();
    if cells.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "CPU of the proxy per request";
    let mut bench = Bench::start("size", what, options, &Kind::ALL, cells.len())?;
    let file = tempfile::NamedTempFile::new().map_err(BenchError::io("the upload"))?;
    std::fs::write(file.path(), upload(&cells)).map_err(BenchError::io("the upload"))?;
    for cell in cells {
        let heading = Heading {
            cell: cell.name.to_owned(),
            unit: "us/req",
            also: &["req/s"],
        };
        let able = |peer: &Peer| peer.speaks(cell.wire);
        bench
            .cell(heading, able, async |bench, peer| {
                round(bench, cell, peer, file.path()).await
            })
            .await?;
    }
    bench.finish()
}

/// As many bytes as the largest upload of these cells has.
fn upload(cells: &[&Cell]) -> Vec<u8> {
    let size = |cell: &&Cell| match cell.transfer {
        Transfer::Up(bytes) => bytes as usize,
        Transfer::Down(_) => 0,
    };
    vec![b'u'; cells.iter().map(size).max().unwrap_or(0)]
}

/// One proxy, from its start to its end.
async fn round(
    bench: &Bench<'_>,
    cell: &Cell,
    peer: &Peer,
    upload: &Path,
) -> Result<Round, BenchError> {
    let mut process = bench.launch(peer, &Shape::default())?;
    sample::until_right(cell, &mut process, &bench.authority).await?;
    let percent = bench.options.percent;
    let requests = cell.requests(percent);
    let target = process.address(cell.wire.is_tls());
    load::run(cell, cell.requests(percent / WARM_UP), target, upload).await?;

    let (counted, cpu) = (bench.upstream.count().await?, process.cpu()?);
    let outcome = load::run(cell, requests, target, upload).await?;
    let cpu = process.cpu()?.saturating_sub(cpu);
    let counted = bench.upstream.count().await?.saturating_sub(counted);

    let miscounted =
        (counted != requests).then(|| format!("the upstream saw {counted} of {requests} requests"));
    if let Some(why) = outcome.fault(cell, requests).or(miscounted) {
        let (peer, cell) = (process.name(), cell.name);
        return Err(BenchError::Wrong { peer, cell, why });
    }
    sample::must_be_right(cell, &process, &bench.authority).await?;
    Ok(Round {
        value: cpu.as_secs_f64() * 1e6 / requests as f64,
        also: vec![outcome.per_second],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_have_a_body_and_downloads_none() {
        let [first, .., last] = SIZE.each_ref();
        assert!(upload(&[first]).is_empty());
        assert_eq!(upload(&[first, last]).len(), 1024 * 1024);
    }
}
