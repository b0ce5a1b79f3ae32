//! The data plane of Tidegate: it accepts clients, speaks TLS and HTTP with them, and carries each
//! request to an endpoint of the region that steering chose, or to the next one when that fails.
//!
//! Two halves, both of concrete types: the protocols (`h1`, `h2`, `tls`) turn bytes into requests
//! and answers; the `pipeline` decides, attempts, retries and answers, and knows no protocol. Every
//! connection lives on the thread that accepted it (see `worker`); what threads share is the plan,
//! the board, metric handles, TLS configurations and the directory of idle connections.
//!
//! It never reads configuration files and knows neither the admin listener nor the probes: what it
//! is to do comes as [`ProxyOptions`] and through `PlanHandle`, what it learns goes to the `Board`.

mod accept;
mod action;
mod admit;
mod affinity;
mod answer;
mod attempt;
mod body;
mod buffers;
mod clock;
mod conn;
mod connection;
mod context;
mod deadline;
mod download;
mod drive;
mod exchange;
mod facts;
mod finish;
mod forward;
mod frames;
mod gather;
mod grpc;
mod h1;
mod h2;
mod handshake;
mod head;
mod hedge;
mod held;
mod hold;
mod homing;
mod io;
mod keys;
mod leave;
mod listener;
mod mirror;
mod named;
mod orca;
mod origin;
mod outbound;
mod passed_over;
mod patience;
mod pipeline;
mod probing;
mod problem;
mod record;
mod recorder;
mod request_id;
mod resume;
mod said;
mod seat;
mod server;
mod tally;
mod tap;
mod tcp;
mod tls;
mod tunnel;
mod upstream;
mod wheel;
mod worker;

pub use server::{Drained, Proxy, ProxyOptions, Running, StartError};
pub use tap::Tap;
pub use tls::{CertificateHandle, LoadedCertificate, TlsError};
