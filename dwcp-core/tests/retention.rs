//! What is committed is kept until it is acked, and no longer.

use bytes::Bytes;
use dwcp_core::{ChannelOptions, Endpoint, SendError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_an_acked_message_is_the_applications_again() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let mut near = session.open("lent", ChannelOptions::default()).expect("room");
    let lent = Bytes::from(vec![7; 100_000]);
    let message = lent.clone();
    // A thread that sends once and then does nothing for DWCP, but lives on.
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let (sent, is_sent) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        near.sender.try_send(message).expect("room");
        assert!(sent.send(near).is_ok(), "the test waits");
        is_over.recv().expect_err("the test is over");
    });
    let near = is_sent.await.expect("it sends");
    let mut far = peer.accept().await.expect("a channel");
    let message = far.receiver.recv().await.expect("intact").expect("more");
    assert!(message[..] == lent);
    near.sender.acked().await.expect("it arrived");
    assert!(lent.is_unique(), "something still holds an acked message");
    drop(over);
    thread.join().expect("no panic");
}

#[tokio::test]
async fn copies_of_every_size_arrive_and_are_refused_like_messages() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let mut near = session.open("copies", ChannelOptions::default()).expect("room");
    let sizes = [0, 1, 127, 128, 8_192, 8_193, 30_000];
    for size in sizes {
        near.sender.send_copy(&vec![size as u8; size]).await.expect("open");
    }
    let mut far = peer.accept().await.expect("a channel");
    for size in sizes {
        let message = far.receiver.recv().await.expect("intact").expect("more");
        assert!(message[..] == vec![size as u8; size], "{size} bytes");
    }
    near.sender.try_send_copy(b"last").expect("room");
    near.sender.finish();
    assert!(matches!(near.sender.try_send_copy(b"late"), Err(SendError::Closed)));
    let last = far.receiver.recv().await.expect("intact").expect("more");
    assert_eq!(last[..], *b"last");
    assert!(far.receiver.recv().await.expect("intact").is_none());
}
