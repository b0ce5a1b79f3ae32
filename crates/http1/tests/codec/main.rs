//! The codec as its users see it: streams of bytes in, messages out, and never another meaning
//! than the one that a second implementation finds in the same bytes.

mod corpus;
mod differential;
mod generated;
mod neighbours;
mod properties;
mod transcript;
