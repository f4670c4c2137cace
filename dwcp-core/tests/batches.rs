//! Short messages by every way in and out, while others take the session's lock: each comes once, whole and in order.
#![cfg(feature = "tokio")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dwcp_core::{ChannelOptions, Endpoint, Receiver, Sender, Session, TryRecvError};

const MESSAGES: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Message `number`: as long as nothing, short, or longer than a batch takes.
fn message(number: u64) -> Vec<u8> {
    let length = match Numbers(number).below(40) {
        0 => 8 + Numbers(number + 1).below(30_000),
        1..4 => 8 + Numbers(number + 1).below(9_000),
        _ => 8 + Numbers(number + 1).below(200),
    };
    let mut bytes = vec![number as u8; length as usize];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

async fn send_all(mut sender: Sender) -> Sender {
    let mut numbers = Numbers(1);
    for number in 0..MESSAGES {
        let bytes = message(number);
        match numbers.below(4) {
            0 => sender.send(Bytes::from(bytes)).await.expect("open"),
            1 => match sender.try_send_copy(&bytes) {
                Ok(()) => {}
                Err(_) => sender.send_copy(&bytes).await.expect("open"),
            },
            _ => sender.send_copy(&bytes).await.expect("open"),
        }
        match numbers.below(2_000) {
            0 => sender.flush(),
            1 => tokio::time::sleep(Duration::from_micros(200)).await,
            2 => assert_eq!(sender.counts().committed, number + 1, "all of them count"),
            _ => {}
        }
    }
    sender.finish();
    sender
}

/// Takes some of what comes, by one of the ways there are. False at the end.
async fn take_some(receiver: &mut Receiver, numbers: &mut Numbers, next: &mut u64) -> bool {
    let mut seen = |bytes: &[u8]| {
        assert!(bytes == message(*next), "message {next}");
        *next += 1;
    };
    match numbers.below(4) {
        0 => match receiver.recv().await.expect("intact") {
            Some(message) => seen(&message),
            None => return false,
        },
        1 => match receiver.try_recv() {
            Ok(Some(message)) => seen(&message),
            Ok(None) => return false,
            Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        },
        2 => {
            let mut whole = Vec::new();
            loop {
                let Some(chunk) = receiver.recv_chunk().await.expect("intact") else {
                    return false;
                };
                whole.extend_from_slice(&chunk.bytes);
                if chunk.is_last {
                    break;
                }
            }
            seen(&whole);
        }
        _ => {
            let Some(mut batch) = receiver.recv_batch().await.expect("intact") else {
                return false;
            };
            // What is left comes next.
            for _ in 0..numbers.below(300) {
                match batch.next_message() {
                    Some(message) => seen(message),
                    None => break,
                }
            }
        }
    }
    true
}

/// Takes the session's lock again and again, as drivers and those who ask do.
fn ask(session: &Session, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let unacked = session.unacked_messages();
        assert!(unacked <= MESSAGES);
        std::thread::sleep(Duration::from_micros(unacked % 50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_message_comes_once_whichever_way_it_is_sent_and_taken() {
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.expect("b answers");
    let far = b.accept().await.expect("a dialled");
    let is_over = Arc::new(AtomicBool::new(false));
    let asking = {
        let (session, is_over) = (session.clone(), is_over.clone());
        std::thread::spawn(move || ask(&session, &is_over))
    };
    let channel = session.open("all", ChannelOptions::default()).expect("room");
    let sending = async {
        let (sender, receiver) = channel.split();
        let sent = tokio::spawn(send_all(sender)).await.expect("all were sent");
        sent.acked().await.expect("they arrive");
        assert_eq!(sent.counts().acked, MESSAGES);
        (sent, receiver)
    };
    let taking = async {
        let mut theirs = far.accept().await.expect("a channel");
        let (mut numbers, mut next) = (Numbers(7), 0);
        while take_some(&mut theirs.receiver, &mut numbers, &mut next).await {}
        assert_eq!(next, MESSAGES);
        theirs
    };
    let both = async { tokio::join!(sending, taking) };
    tokio::time::timeout(PATIENCE, both).await.expect("all is through in time");
    is_over.store(true, Ordering::Relaxed);
    asking.join().expect("nothing broke for those who asked");
}

#[tokio::test]
async fn a_message_that_a_sender_has_at_hand_leaves_although_it_does_nothing_more() {
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.expect("b answers");
    let far = b.accept().await.expect("a dialled");
    let mut near = session.open("few", ChannelOptions::default()).expect("room");
    let mut sent = 0;
    let mut theirs = None;
    for round in 0..200_u64 {
        // The first leaves at once; those behind it wait for the driver, and nobody calls it again.
        for _ in 0..=round % 7 {
            near.sender.try_send_copy(&u64::to_le_bytes(sent)).expect("room");
            sent += 1;
        }
        let theirs = match &mut theirs {
            Some(theirs) => theirs,
            none => none.insert(far.accept().await.expect("a channel")),
        };
        for number in sent - (round % 7 + 1)..sent {
            let received = tokio::time::timeout(PATIENCE, theirs.receiver.recv());
            let received = received.await.expect("in time").expect("intact").expect("more");
            assert_eq!(received[..], u64::to_le_bytes(number));
        }
    }
}

#[tokio::test]
async fn what_a_batch_has_left_is_not_lost_with_it() {
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.expect("b answers");
    let far = b.accept().await.expect("a dialled");
    let mut near = session.open("few", ChannelOptions::default()).expect("room");
    for number in 0..3_u8 {
        near.sender.send_copy(&[number]).await.expect("open");
    }
    near.sender.finish();
    let mut theirs = far.accept().await.expect("a channel");
    // A batch that is never looked at, one that is looked at in part.
    drop(theirs.receiver.recv_batch().await.expect("intact").expect("more"));
    let mut batch = theirs.receiver.recv_batch().await.expect("intact").expect("more");
    assert_eq!(batch.next_message(), Some(&[0][..]));
    drop(batch);
    assert_eq!(theirs.receiver.recv().await.expect("intact").expect("more")[..], [1]);
    assert_eq!(theirs.receiver.recv().await.expect("intact").expect("more")[..], [2]);
    assert!(theirs.receiver.recv_batch().await.expect("intact").is_none());
}
