//! The scheduling policy of a thread (`sched(7)`).

use std::io;

use rustix::process::Pid;
use rustix::thread::gettid;

/// Whoever wakes up goes before this thread.
pub(super) fn idle(thread: Pid) -> io::Result<()> {
    set(thread, libc::SCHED_IDLE)
}

/// The policy of all threads that asked for none.
///
/// # Errors
/// The kernel lets a thread that was [`idle`] come back only with `CAP_SYS_NICE`, or within the limit of niceness
/// (`RLIMIT_NICE`) of its process.
pub(super) fn usual(thread: Pid) -> io::Result<()> {
    set(thread, libc::SCHED_OTHER)
}

/// Whether a thread as nice as this one comes back from [`idle`]: tried on one that ends.
pub(super) fn can_be_undone() -> bool {
    // A thread inherits niceness.
    let there_and_back = || idle(gettid()).and_then(|()| usual(gettid()));
    std::thread::spawn(there_and_back)
        .join()
        .is_ok_and(|done| done.is_ok())
}

fn set(thread: Pid, policy: libc::c_int) -> io::Result<()> {
    // All that the kernel's `sched_param` has; these two policies know no priority.
    let priority: libc::c_int = 0;
    let thread = thread.as_raw_nonzero().get();
    let call = libc::SYS_sched_setscheduler;
    #[expect(unsafe_code, reason = "rustix does not know the call")]
    // SAFETY: the kernel reads one number, which outlives the call.
    let done = unsafe { libc::syscall(call, thread, policy, &raw const priority) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The policy of the thread that asks.
#[cfg(test)]
pub(super) fn of_this_thread() -> libc::c_int {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    // Field 41 of proc(5); the name is the second.
    let field = after_name.split_whitespace().nth(38);
    field.unwrap().parse().unwrap()
}
