use dwcp_core::Endpoint;

use super::super::Kind;
use super::*;
use crate::service::{codes, json};

/// `a` sends a file of `bytes`, which are all the same, to a receiver that is made by hand: it says that it is ready, and then
/// `answers` to the offer.
async fn copy_to(
    bytes: u64,
    answers: Reply,
    then: impl FnOnce(Sender),
) -> (Result<CopyReport, ServiceError>, Vec<CopyProgress>) {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("file");
    std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    let kind = Kind::of_file(&std::fs::metadata(&path).unwrap());
    let sources = vec![Source { path, name: "file".into(), root: None, kind }];
    let walk = Walk { sources, ..Walk::default() };
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.unwrap();
    let receiving = async {
        let session = b.accept().await.unwrap();
        let (mut sender, mut receiver) = session.accept().await.unwrap().split();
        assert!(matches!(hear(&mut receiver).await, b'b'));
        let ready = Reply::Ready { version: VERSION, room_bytes: Some(1 << 50) };
        sender.send(json(&ready)).await.unwrap();
        assert!(matches!(hear(&mut receiver).await, b'o'));
        sender.send(json(&answers)).await.unwrap();
        then(sender);
        // It takes what comes until there is no more.
        while receiver.recv().await.is_ok_and(|message| message.is_some()) {}
    };
    let mut states = Vec::new();
    let mut progress = |state| states.push(state);
    let options = CopyOptions::default();
    let sending = send(&session, walk, "in", options, &mut progress);
    let patience = Duration::from_secs(60);
    let sent = tokio::time::timeout(patience, async { tokio::join!(sending, receiving).0 }).await;
    (sent.expect("it ends"), states)
}

/// The tag of the next message.
async fn hear(receiver: &mut Receiver) -> u8 {
    receiver.recv().await.unwrap().unwrap()[0]
}

#[tokio::test]
async fn a_copy_ends_also_while_its_sender_reads_what_the_receiver_has() {
    let bytes = 1 << 40;
    let has = Reply::Has { name: "file".into(), bytes };
    let (result, states) = copy_to(bytes, has, |mut sender| sender.reset(codes::FAILED)).await;
    assert!(matches!(result, Err(ServiceError::Channel(_))), "{result:?}");
    assert!(states.iter().all(|state| state.bytes == 0 && state.bytes_compared < bytes));
}
