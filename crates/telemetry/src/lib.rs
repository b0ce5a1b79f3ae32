//! What Tidegate tells about itself: metrics, the access log, the history of events, diagnostics.
//!
//! The hot path pays for a few atomic additions per request and for one formatted line if the
//! access log is on; everything else happens when somebody asks. Names and labels of metrics live
//! in one [`catalogue`], from which `docs/metrics.md` is generated. `core` never imports this
//! crate, and nothing here decides anything.

pub mod access;
pub mod catalogue;
pub mod events;
mod exposition;
pub mod labels;
pub mod metrics;
pub mod tracing_setup;

pub use access::{AccessLog, AccessRecord, AccessWriter};
pub use events::{Event, EventKind, Events};
pub use labels::AttemptOutcome;
pub use metrics::{Metrics, PlanSeries};
