//! An allocator that counts, for tests of how much memory something takes and how often it asks for it. The allocator
//! counts for the whole process, so a test file that uses it holds a single test.

#![allow(dead_code, reason = "each file uses some of the counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; counting touches no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's own promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's own promise: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were allocated at once while `work` ran, beyond those that were allocated before.
pub(crate) fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed).saturating_sub(before)
}

/// What was allocated: the number of allocations, and their bytes. Memory that grows counts as a new allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocated {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

/// What was allocated while `work` ran.
pub(crate) fn allocated(work: impl FnOnce()) -> Allocated {
    let (calls, bytes) = (CALLS.load(Relaxed), BYTES.load(Relaxed));
    work();
    Allocated { calls: CALLS.load(Relaxed) - calls, bytes: BYTES.load(Relaxed) - bytes }
}
