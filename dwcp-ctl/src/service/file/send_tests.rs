use dwcp_core::Endpoint;

use super::super::Kind;
use super::*;
use crate::service::{codes, json};

/// `a` sends a file of `bytes`, which are all the same, to a receiver that is made by hand: it says that it is ready, and then
/// gives `answer` to the offer.
async fn copy_to(
    bytes: u64,
    answer: &Reply,
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
        assert_eq!(hear(&mut receiver).await, b'b');
        let ready = Reply::Ready { version: VERSION, room_bytes: Some(1 << 50) };
        sender.send(json(&ready)).await.unwrap();
        assert_eq!(hear(&mut receiver).await, b'o');
        sender.send(json(answer)).await.unwrap();
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
    let (result, states) = copy_to(bytes, &has, |mut sender| sender.reset(codes::FAILED)).await;
    assert!(matches!(result, Err(ServiceError::Channel(_))), "{result:?}");
    assert!(states.iter().all(|state| state.bytes == 0 && state.bytes_compared < bytes));
}

#[tokio::test]
async fn the_words_of_a_receiver_steer_no_terminal_and_are_short() {
    let words = || format!("no\u{1b}[2J\r\n{}", "\u{9b}".repeat(100_000 / 8));
    let failed = Reply::Failed { message: words() };
    let (result, _) = copy_to(5, &failed, |mut sender| sender.finish()).await;
    let Err(ServiceError::Refused(message)) = result else { panic!("{result:?}") };
    let refused = Reply::Refused { name: "file".into(), message: words() };
    let (result, _) = copy_to(5, &refused, |mut sender| sender.finish()).await;
    for message in [message, result.unwrap().failed[0].message.clone()] {
        assert!(message.starts_with(r"no\u{1b}[2J\r\n\u{9b}\u{9b}"), "{message}");
        assert!(!message.contains(char::is_control) && message.len() < 10_000);
    }
    // What does not fit where it stands is told, too.
    let error = crate::service::parse::<Counted>(b"{\"bytes\":\"\\u001b[2J\"}").unwrap_err();
    assert!(error.to_string().contains(r"\u{1b}[2J"), "{error}");
}

#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "it is never made")]
struct Counted {
    bytes: u64,
}
