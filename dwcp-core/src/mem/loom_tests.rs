//! Every order in which threads may share, drop and reuse slots. Run by `.ci/rooms/mem`.

use loom::thread;

use super::{CLASS_BYTES, Pool};

/// Room for one slot of the smallest class.
fn pool_of_one() -> Pool {
    Pool::new(CLASS_BYTES[0])
}

#[test]
fn loom_a_slot_is_reused_only_after_its_last_reader() {
    loom::model(|| {
        let pool = pool_of_one();
        let mut slot = pool.take(1).expect("room");
        slot.extend(b"a");
        let slot = slot.freeze();
        let other = slot.clone();
        let reader = thread::spawn(move || assert_eq!(&other[..], b"a"));
        drop(slot);
        // Free here only if the reader is done; then writing must not race with its reading.
        if let Some(mut next) = pool.take(1) {
            next.extend(b"b");
        }
        reader.join().expect("reader");
        assert_eq!(pool.stats().used_bytes, 0);
        assert!(pool.take(1).is_some(), "it came back once");
    });
}

#[test]
fn loom_two_takers_never_get_the_same_slot() {
    loom::model(|| {
        let pool = pool_of_one();
        let theirs = pool.clone();
        let taker = thread::spawn(move || theirs.take(1));
        let ours = pool.take(1);
        let theirs = taker.join().expect("taker");
        assert_eq!(u32::from(ours.is_some()) + u32::from(theirs.is_some()), 1);
        drop((ours, theirs));
        assert_eq!(pool.stats().used_bytes, 0);
    });
}

#[test]
fn loom_the_pool_lives_as_long_as_its_last_slot() {
    loom::model(|| {
        let pool = pool_of_one();
        let slot = pool.take(1).expect("room").freeze();
        let other = slot.clone();
        let dropper = thread::spawn(move || drop(other));
        drop(pool);
        assert!(slot.is_empty());
        drop(slot);
        dropper.join().expect("dropper");
    });
}
