//! The counting allocator counts; what holds the hot path to 0 stands on it.

use dwcp_benches::counting_allocator::{CountingAllocator, allocations_during};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

// One test only: the count is of the whole process, and tests of one file run side by side.
#[test]
fn allocations_are_counted() {
    let (count, text) = allocations_during(&ALLOCATOR, || {
        let mut text = Vec::with_capacity(1);
        text.extend_from_slice(&[1_u8; 4096]);
        text
    });
    assert_eq!((count, text.len()), (2, 4096), "one for the first byte, one to grow");
    let (count, sum) =
        allocations_during(&ALLOCATOR, || text.iter().map(|&byte| u64::from(byte)).sum::<u64>());
    assert_eq!((count, sum), (0, 4096));
    let before = ALLOCATOR.live_bytes();
    let mut grown = vec![0_u8; 1_000];
    grown.reserve_exact(2_000);
    assert_eq!(ALLOCATOR.live_bytes() - before, 3_000);
    drop(grown);
    assert_eq!(ALLOCATOR.live_bytes(), before);
}
