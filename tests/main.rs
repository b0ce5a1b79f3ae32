//! Integration tests of the real binary and guards over the repository: one binary, one module per
//! topic.

mod architecture;
