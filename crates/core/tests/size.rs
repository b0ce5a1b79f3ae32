//! What a plan is said to take is about what an allocator counts.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]
#![allow(
    unsafe_code,
    reason = "an allocator that weighs cannot be written without"
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tidegate_core::plan::{Plan, Policy};
use tidegate_core::route::{PathMatch, RouteMatch};

/// Counts the bytes that this thread has and has not given back.
struct Weighing;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn weigh(bytes: isize) {
    // A thread that ends has no count any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: everything is the system's; only a number of the thread's own is changed beside it.
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        weigh(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        weigh(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Weighing = Weighing;

/// What building it leaves behind, and what it says of itself.
fn weighed(make: impl FnOnce() -> Plan) -> (f64, f64) {
    let before = HELD.with(Cell::get);
    let plan = make();
    let held = HELD.with(Cell::get) - before + size_of::<Plan>() as isize;
    (plan.bytes() as f64, held as f64)
}

fn check(what: &str, routes: usize, make: impl Fn(usize) -> RouteMatch) {
    let (said, held) = weighed(|| {
        support::plan(
            Policy::priority().into(),
            &[3, 3],
            (0..routes).map(&make).collect(),
        )
    });
    let ratio = said / held;
    assert!((0.8..1.25).contains(&ratio), "{what}: {said} of {held}");
}

#[test]
fn a_plan_knows_about_how_many_bytes_it_takes() {
    let prefix = |number: usize| RouteMatch {
        path: Some(PathMatch::Prefix(format!("/r/{number}").into())),
        ..RouteMatch::default()
    };
    check("ten thousand prefixes", 10_000, prefix);
    check("hosts", 5_000, |number| RouteMatch {
        host: Some(format!("shop-{number}.example.com").into()),
        ..prefix(number)
    });
    check("methods", 2_000, |number| RouteMatch {
        methods: [http::Method::GET, http::Method::HEAD].into(),
        ..prefix(number)
    });
}
