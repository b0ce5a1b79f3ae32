//! Promises 1, 2 and 6 while requests are in flight: every way in which a region fails, at every
//! place of a request, with every kind of request and both protocols on both sides. Each case has an
//! upstream of its own, so none learns from another; all of them share one process.

mod bodies;
mod case;
mod declared;
mod grpc;
mod hedge;
mod matrix;
mod oracle;
mod resume;
mod stage;
mod storm;
