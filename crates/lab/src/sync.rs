//! One way to take a lock.
//!
//! The lab keeps plain counters and maps behind its mutexes, each valid after every statement, so a panic in
//! another thread (a failing test, say) must not turn every later reading into a second panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, and goes on with the value if a holder panicked.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
