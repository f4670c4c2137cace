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
}
