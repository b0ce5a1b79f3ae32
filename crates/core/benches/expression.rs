//! What an expression costs beside the plain condition that asks the same, and beside none.
//!
//! Each is the only condition of the only route of a table, and met. The allocator counts.

use divan::{AllocProfiler, Bencher, black_box};
use tidegate_core::route::RouteTable;

#[path = "../tests/support/expressions.rs"]
mod expressions;
#[path = "../tests/support/matching.rs"]
mod matching;

use expressions::{EQUALS, OTHERS, asking};
use matching::{CONDITIONS, conditional, meeting};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn no_condition(bencher: Bencher<'_, '_>) {
    let (table, request) = (RouteTable::new([&conditional(CONDITIONS[0])]), meeting());
    bencher.bench_local(|| black_box(table.find(black_box(&request))));
}

#[divan::bench(args = EQUALS)]
fn plain(bencher: Bencher<'_, '_>, name: &str) {
    let (table, request) = (RouteTable::new([&conditional(name)]), meeting());
    bencher.bench_local(|| black_box(table.find(black_box(&request))));
}

#[divan::bench(args = EQUALS.into_iter().chain(OTHERS))]
fn expression(bencher: Bencher<'_, '_>, name: &str) {
    let (table, request) = (RouteTable::new([&asking(name)]), meeting());
    bencher.bench_local(|| black_box(table.find(black_box(&request))));
}
