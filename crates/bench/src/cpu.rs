//! CPU time and memory of a process and its descendants, from `/proc` (proc(5)).
//!
//! Time of descendants that have ended is not counted: no proxy here ends a worker during a round.
//! The kernel's unit is a tick, usually 10 ms; most rounds are long enough that it does not show,
//! and for the others there is a count to the nanosecond, which forgets threads that have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::BenchError;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
    /// Of children that have ended.
    ticks_of_dead: u64,
}

impl Stat {
    /// Reads a line. The name, in parentheses, may contain anything, so fields count from its end.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
            ticks_of_dead: ticks(13)? + ticks(14)?,
        })
    }
}

/// User and system time that `root` and all its living descendants have used since they started.
///
/// # Errors
/// When `/proc` cannot be read or `root` is gone.
pub(crate) fn of_tree(root: u32) -> Result<Duration, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let gone = || std::io::Error::other(format!("process {root} is gone"));
    if !all.contains_key(&root) {
        return Err(BenchError::io("/proc")(gone()));
    }
    Ok(of_ticks(
        tree(&all, root).iter().map(|id| all[id].ticks).sum(),
    ))
}

/// The same and that of descendants that have ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn of_tree_and_its_dead(root: u32) -> Result<Duration, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let tree = tree(&all, root);
    let found = tree.iter().filter_map(|id| all.get(id));
    Ok(of_ticks(
        found.map(|stat| stat.ticks + stat.ticks_of_dead).sum(),
    ))
}

/// What the kernel's units are.
pub(crate) fn of_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// The same to the nanosecond, of threads that live now only.
///
/// # Errors
/// When `/proc` cannot be read or `root` is gone.
pub(crate) fn of_threads(root: u32) -> Result<Duration, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let ids = tree(&all, root);
    let threads = ids.iter().flat_map(|id| threads(*id));
    let nanoseconds: Vec<_> = threads.filter_map(|thread| ran(&thread)).collect();
    let gone = || std::io::Error::other(format!("process {root} is gone"));
    match nanoseconds.is_empty() {
        true => Err(BenchError::io("/proc")(gone())),
        false => Ok(Duration::from_nanos(nanoseconds.iter().sum())),
    }
}

/// The same of each thread, by its number; threads that end meanwhile are left out.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn by_thread(root: u32) -> Result<BTreeMap<u32, Duration>, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let threads = tree(&all, root).into_iter().flat_map(threads);
    let entry = |thread: std::path::PathBuf| {
        let number = thread.file_name()?.to_str()?.parse().ok()?;
        Some((number, Duration::from_nanos(ran(&thread)?)))
    };
    Ok(threads.filter_map(entry).collect())
}

/// The directories of a process' threads; none when it is gone.
fn threads(process: u32) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{process}/task"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Nanoseconds that a thread has run.
fn ran(thread: &std::path::Path) -> Option<u64> {
    let line = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    line.split(' ').next()?.parse().ok()
}

/// Memory of `root` and its living descendants in bytes. What several of them share counts once.
///
/// # Errors
/// When `/proc` cannot be read or `root` is gone.
pub(crate) fn memory(root: u32) -> Result<u64, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let shares = tree(&all, root).into_iter().filter_map(share);
    let shares: Vec<_> = shares.collect();
    let gone = || std::io::Error::other(format!("process {root} is gone"));
    match shares.is_empty() {
        true => Err(BenchError::io("/proc")(gone())),
        false => Ok(shares.iter().sum()),
    }
}

/// A process' own memory and its share of what it has in common with others, in bytes.
fn share(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// `root` and its living descendants.
///
/// # Errors
/// When `/proc` cannot be read or `root` is gone.
pub(crate) fn ids_of_tree(root: u32) -> Result<BTreeSet<u32>, BenchError> {
    let all = processes().map_err(BenchError::io("/proc"))?;
    let gone = || std::io::Error::other(format!("process {root} is gone"));
    match all.contains_key(&root) {
        true => Ok(tree(&all, root)),
        false => Err(BenchError::io("/proc")(gone())),
    }
}

fn processes() -> std::io::Result<BTreeMap<u32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        // A process may end between the listing and the reading.
        let line = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(stat) = Stat::parse(&line) {
            all.insert(id, stat);
        }
    }
    Ok(all)
}

fn tree(all: &BTreeMap<u32, Stat>, root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children = all.iter().filter(|(_, stat)| stat.parent == parent);
        next.extend(children.map(|(id, _)| *id).filter(|id| found.insert(*id)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let line = "7 (a) 9 (b) S 3 7 7 0 -1 4194560 1 2 3 4 50 25 8 9 20 0 1 0 100";
        let expected = Stat {
            parent: 3,
            ticks: 75,
            ticks_of_dead: 17,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("7 (short) S 3"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn every_thread_has_its_own_time() {
        let all = by_thread(std::process::id()).unwrap();
        let own = std::fs::read_link("/proc/thread-self").unwrap();
        let own: u32 = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(all[&own] > Duration::ZERO);
        assert!(by_thread(u32::MAX).unwrap().is_empty());
    }

    #[test]
    fn a_tree_has_grandchildren_and_no_strangers() {
        let stat = |parent| Stat {
            parent,
            ticks: 1,
            ticks_of_dead: 0,
        };
        let all = BTreeMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(0))]);
        assert_eq!(tree(&all, 1), BTreeSet::from([1, 2, 3]));
    }

    #[test]
    fn work_shows_and_the_dead_are_named() {
        let own = std::process::id();
        let before = of_tree(own).unwrap();
        let mut spun = 0_u64;
        while of_tree(own).unwrap() == before {
            spun = std::hint::black_box(spun + 1);
        }
        assert!(of_threads(own).unwrap() > Duration::ZERO);
        assert!(of_threads(u32::MAX).is_err());
        let error = of_tree(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
    }

    #[test]
    fn memory_grows_with_what_is_written_to() {
        let own = std::process::id();
        let before = memory(own).unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = memory(own).unwrap();
        assert!(after > before + (32 << 20), "{before} {after}");
        drop(block);
        assert!(memory(u32::MAX).is_err());
    }
}
