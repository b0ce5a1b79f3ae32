//! Micro-benchmarks of a whole decision; filled in with the algorithms.
fn main() {
    divan::main();
}
