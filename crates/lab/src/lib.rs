//! The laboratory: simulated regions, emulated WAN links, and a client that accounts for every request.
//!
//! The demo, the integration tests and the benches stand on it; a serving crate never imports it. It speaks
//! HTTP through hyper on purpose: the proxy has its own HTTP/1.1 codec, and two ends that share code also share
//! its mistakes. Everything listens on loopback at a port the kernel picks, is bounded, and dies with its handle.
//!
//! Start with [`World`] for a whole map, or take the parts: [`Region`], [`Link`], [`Client`], [`RawUpstream`].

pub mod behaviour;
pub mod client;
pub mod content;
pub mod death;
pub mod geo;
pub mod link;
pub mod raw;
pub mod region;
pub mod tls;
pub mod wait;
pub mod world;

mod content_body;
mod sync;
mod tasks;

pub use behaviour::{Behaviour, EtagScheme, Latency, SlowBody};
pub use client::{Client, ClientSpec, Expect, Leave, Pace, Protocol, RequestSpec, Snapshot};
pub use death::{Cut, Death, Ending};
pub use geo::GeoDatabase;
pub use link::{Link, LinkSpec, Mode};
pub use raw::{Action, RawUpstream};
pub use region::{Region, RegionSpec};
pub use tls::{Alpn, Authority, Leaf};
pub use wait::wait_until;
pub use world::World;

/// Request header that names one request of one client. Regions count how often they saw each value.
pub const ID_HEADER: &str = "x-lab-id";

/// Response header that names the region that served the request.
pub const REGION_HEADER: &str = "x-lab-region";
