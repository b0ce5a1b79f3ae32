//! What recording must not cost: memory. Counted on the thread that records.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tidegate_core::ids::{RouteIdx, UpstreamIdx};
use tidegate_core::{RegionIdx, Termination};
use tidegate_telemetry::access::AccessLog;
use tidegate_telemetry::{AttemptOutcome, Metrics};

use crate::access::full_record;
use crate::support::plan;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting in a
// const-initialised thread-local without a destructor allocates nothing.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn recording_a_request_allocates_nothing() {
    let metrics = Metrics::new();
    let series = metrics.route_series(&plan(&["eu", "us"], &["api"], 10));
    let request = || {
        series
            .route(RouteIdx(0))
            .get(Some(RegionIdx(1)))
            .record(Some(http::StatusCode::OK), Duration::ZERO);
        series
            .upstream(UpstreamIdx(0))
            .region(1)
            .attempted(AttemptOutcome::Answered);
        series
            .route(RouteIdx(0))
            .rescued(RegionIdx(0), RegionIdx(1), AttemptOutcome::Reset);
        metrics.terminated(Termination::Completed);
    };
    assert!(
        allocations(request) > 0,
        "the first request resolves its names"
    );
    assert_eq!(allocations(|| (0..1_000).for_each(|_| request())), 0);
}

#[test]
fn an_access_record_allocates_only_to_grow_the_buffer() {
    let log = AccessLog::to(std::io::sink(), Metrics::new()).unwrap();
    let mut writer = log.thread();
    let at = SystemTime::now();
    let mut records =
        |count| (0..count).for_each(|_| full_record(at, |record| writer.write(record)));
    records(1_000);
    // The calendar is asked, and a buffer may double a few times after a swap; records do not.
    assert!(allocations(|| records(1_000)) < 100);
}
