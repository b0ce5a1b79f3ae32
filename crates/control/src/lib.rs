//! What an operator changes and asks while Tidegate runs: reloads, drains, the admin listener.
//!
//! There is one path by which a configuration comes to serve ([`Reloader`]), whoever asks for it: a
//! changed file, a signal or the admin listener. It ends in a single swap of the plan, or in words
//! that say why not. The data plane never imports this crate and never waits for it: with all of
//! this dead, the last good plan goes on serving. Nothing here knows the proxy; what it must reach
//! there (certificates) comes in as a trait.

pub mod admin;
mod call;
mod candidate;
mod certificates;
mod changes;
mod deadlines;
mod diff;
mod generations;
mod launch;
mod named;
mod orders;
mod origin;
mod outcome;
mod places;
mod proof;
mod question;
mod quiet;
mod readiness;
mod regression;
mod reload;
mod remote;
mod restart;
mod retire;
pub mod say;
mod shared;
mod signals;
mod stamp;
mod standby;
mod state;
mod vigil;
mod watch;

pub use admin::{Admin, AdminError, AdminOptions};
pub use candidate::{
    Broken, Candidates, Compared, Guard, InvalidLimit, InvalidTerms, Limits, NoTraffic, StageTerms,
    Terms, Traffic, Unwanted,
};
pub use certificates::{Certificate, Certificates, NoCertificates};
pub use changes::{Changes, Difference};
pub use deadlines::Deadlines;
pub use diff::{Barred, Change, Diff, Field, Moved, Requests, RouteChange, Shift, What};
pub use generations::{Entry, Fate, Generations, Instead, NoGeneration, Why};
pub use launch::Launch;
pub use named::{Kind, UnknownName};
pub use orders::{
    Bereft, DialOrder, Dialed, DrainOrder, Drained, InvalidDial, Left, Orders, Refused,
    Terms as OrderTerms, parse_dial,
};
pub use origin::{Author, Cause, InvalidAuthor, Origin};
pub use outcome::{CertificateOutcome, Keeping, Outcome, Restored, Verdict};
pub use proof::Proof;
pub use question::{InvalidQuestion, Question, Told};
pub use readiness::{Readiness, State};
pub use reload::{Document, Opened, Reloader, Source, Staged};
pub use remote::{InvalidAddress, Remote, RemoteError};
pub use shared::Shared;
pub use signals::{Signal, Signals};
pub use standby::Starter;
pub use state::{StateDir, StateError};
pub use vigil::Vigil;
pub use watch::{WatchError, Watcher};
