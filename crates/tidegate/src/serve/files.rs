//! How many files the process may open. A connection is one, on both sides of the proxy.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one: shells and service managers start programs with a soft
/// limit of 1,024 for the sake of those that use `select(2)`, which nothing here does.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("cannot raise the limit of open files beyond {limit:?}: {error}");
    }
}
