//! Memory of a process and its descendants, from `/proc` (proc(5)).
//!
//! Anonymous and shared pages: those of its own in full, those that workers share by their share.
//! Pages of files are left out: programs and libraries cost the same with and without connections,
//! and their share changes with whoever else runs the same program. The kernel's part, such as the
//! buffers of sockets, is not in it either.

use crate::cpu;
use crate::error::BenchError;

/// Bytes that `root` and all its living descendants hold.
///
/// # Errors
/// When `/proc` cannot be read or `root` is gone.
pub(crate) fn of_tree(root: u32) -> Result<u64, BenchError> {
    let mut kib = 0;
    for id in cpu::ids_of_tree(root)? {
        let file = format!("/proc/{id}/smaps_rollup");
        let text = std::fs::read_to_string(&file).map_err(BenchError::io(&file))?;
        let strange = || BenchError::io(&file)(std::io::Error::other("no line Pss_Anon"));
        kib += held_kib(&text).ok_or_else(strange)?;
    }
    Ok(kib * 1024)
}

fn held_kib(rollup: &str) -> Option<u64> {
    let of = |name| {
        let mut lines = rollup.lines();
        let value: &str = lines.find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(of("Pss_Anon:")? + of("Pss_Shmem:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_files_do_not_count() {
        let text = "55-7f ---p 0 00:00 0 [rollup]\nPss: 720 kB\n\
                    Pss_Anon:   500 kB\nPss_File: 200 kB\nPss_Shmem:  20 kB\n";
        assert_eq!(held_kib(text), Some(520));
        assert_eq!(held_kib("Pss_Anon: 5 kB\n"), None);
        assert_eq!(held_kib("Pss_Anon: many kB\nPss_Shmem: 1 kB\n"), None);
    }

    #[test]
    fn what_is_touched_shows() {
        let own = std::process::id();
        let before = of_tree(own).unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let grown = of_tree(own).unwrap().saturating_sub(before);
        drop(held);
        // Other tests of this process come and go.
        assert!(grown > 32 << 20, "{grown}");
        assert!(of_tree(u32::MAX).is_err());
    }
}
