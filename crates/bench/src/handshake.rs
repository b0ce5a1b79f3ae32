//! The dimension `handshake`.

use crate::Options;
use crate::error::BenchError;

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(_options: &Options) -> Result<(), BenchError> {
    Err(BenchError::NotYet("handshake"))
}
