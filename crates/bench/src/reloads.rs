//! The dimension `reloads`: a thousand reloads of a file with 10,000 routes, under a steady load.
//!
//! The same row of reloads as in `routes`, but fifty times as long, so that what leaks or grows shows:
//! memory is told after each hundred. Only Tidegate takes part unless all are asked for: a row takes
//! some two minutes, most of it reloads, and proxies that start new processes for each take longer.

use std::time::Duration;

use crate::Options;
use crate::bench::{Bench, Heading};
use crate::error::BenchError;
use crate::peer::{Kind, Peer};
use crate::routes::reload::{self, Row};

/// Compare with the others as well.
#[derive(clap::Args)]
pub(crate) struct Reloads {
    #[command(flatten)]
    options: Options,
    /// Measure nginx, HAProxy and Envoy as well: some four minutes more a round
    #[arg(long)]
    everybody: bool,
}

const ROW: Row = Row {
    routes: 10_000,
    reloads: 1_000,
    calm: Duration::from_secs(10),
    whole_story: true,
};

impl Reloads {
    /// Measures, prints and writes everything.
    ///
    /// # Errors
    /// The first thing that makes a figure worthless: nothing is written then.
    pub(crate) async fn run(&self) -> Result<(), BenchError> {
        let what = "a thousand reloads of 10,000 routes in a row, under load";
        let kinds: &[Kind] = match self.everybody {
            true => &Kind::PROXIES,
            false => &[Kind::Tidegate],
        };
        let mut bench = Bench::start("reloads", what, &self.options, kinds, 1)?;
        let heading = Heading {
            cell: format!("{} reloads, {} routes", ROW.reloads, ROW.routes),
            unit: "ms to serve",
            also: reload::ALSO_OF_MANY,
        };
        let measure = async |bench: &Bench<'_>, peer: &Peer| reload::round(bench, peer, ROW).await;
        bench.cell(heading, |_| true, measure).await?;
        bench.finish()
    }
}
