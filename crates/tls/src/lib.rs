//! TLS towards upstreams: one configuration per profile.
//!
//! Requests and probes must trust, and be trusted by, the same peers: an endpoint that is probed
//! otherwise than it is used is healthy for nobody. So both build their rustls configuration here,
//! from the same settings, with the one provider of cryptography, which listeners use as well.
//!
//! It never connects, keeps no configuration (sessions resume only within one, so whoever connects
//! keeps it) and reads no file but the system's root certificates: other PEM text comes with the plan.

mod config;
mod error;
mod name;
mod pem;
mod provider;
mod roots;
mod verifier;

pub use config::{alpn, client_config};
pub use error::{InvalidTls, Material};
pub use name::server_name;
pub use provider::provider;
