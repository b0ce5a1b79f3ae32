//! Whether the machine was quiet: how much of the two cores somebody else has used meanwhile.
//!
//! All CPU time of the cores by `/proc/stat` (proc(5)), interrupts included and what the hypervisor
//! took, less that of this process and of all its descendants, the ended ones too. Both sides count
//! what the network costs to whom it interrupts, so they agree within a hundredth at full load.

use std::time::{Duration, Instant};

use crate::cpu;
use crate::error::BenchError;

/// Share of the two cores that others may use; below, it is noise.
const FOREIGN_MAX: f64 = 0.05;

/// The cores that are watched: those of proxy and load.
const CORES: [u32; 2] = [crate::PROXY_CORE, crate::LOAD_CORE];

/// User, nice, system, irq, softirq and steal among the fields of a core; not idle and iowait.
const BUSY_FIELDS: [usize; 6] = [0, 1, 2, 5, 6, 7];

/// Two sums of CPU time at one moment.
pub(crate) struct Watch {
    since: Instant,
    busy: Duration,
    own: Duration,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn start() -> Result<Self, BenchError> {
        Ok(Self {
            since: Instant::now(),
            busy: busy()?,
            own: cpu::of_tree_and_its_dead(std::process::id())?,
        })
    }

    /// Whether others have left the cores alone since then.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn was_quiet(&self) -> Result<bool, BenchError> {
        let now = Self::start()?;
        let elapsed = now.since - self.since;
        let busy = now.busy.saturating_sub(self.busy);
        let own = now.own.saturating_sub(self.own);
        Ok(foreign(elapsed, busy, own) <= FOREIGN_MAX)
    }
}

/// The share of the cores' time that was not ours; 0 of no time.
fn foreign(elapsed: Duration, busy: Duration, own: Duration) -> f64 {
    let all = elapsed.as_secs_f64() * CORES.len() as f64;
    let others = busy.saturating_sub(own).as_secs_f64();
    if all > 0.0 { others / all } else { 0.0 }
}

fn busy() -> Result<Duration, BenchError> {
    let text = std::fs::read_to_string("/proc/stat").map_err(BenchError::io("/proc/stat"))?;
    let ticks: Option<Vec<_>> = CORES.iter().map(|core| busy_ticks(&text, *core)).collect();
    let strange = || BenchError::io("/proc/stat")(std::io::Error::other("a core is missing"));
    let ticks = ticks.ok_or_else(strange)?;
    Ok(cpu::of_ticks(ticks.iter().sum()))
}

fn busy_ticks(text: &str, core: u32) -> Option<u64> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    let fields: Vec<_> = line.split_whitespace().collect();
    BUSY_FIELDS
        .iter()
        .map(|field| fields.get(*field)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_with_all_but_waiting() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 100 100 8 16 32 64 64\ncpu1 0 0 0 9 9 0 0 0 0 0\n";
        assert_eq!(busy_ticks(text, 0), Some(63));
        assert_eq!(busy_ticks(text, 1), Some(0));
        assert_eq!(busy_ticks(text, 2), None);
        assert_eq!(busy_ticks("cpu0 1 2", 0), None);
    }

    #[test]
    fn what_others_use_is_a_share_of_both_cores() {
        let ms = Duration::from_millis;
        let table = [
            (ms(1_000), ms(2_000), ms(2_000), 0.0),
            (ms(1_000), ms(1_500), ms(1_000), 0.25),
            (ms(1_000), ms(1_000), ms(1_010), 0.0),
            (ms(0), ms(10), ms(0), 0.0),
        ];
        for (elapsed, busy, own, expected) in table {
            let share = foreign(elapsed, busy, own);
            assert!((share - expected).abs() < 1e-9, "{share} {expected}");
        }
    }

    #[test]
    fn this_machine_can_be_watched() {
        assert!(busy().unwrap() > Duration::ZERO);
        Watch::start().unwrap().was_quiet().unwrap();
    }
}
