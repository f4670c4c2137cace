//! What all sessions of an endpoint promise to receive stays within its budget.

use dwcp_core::{ChannelOptions, DriverKind, Endpoint, EndpointSettings, Message};

const BUDGET_BYTES: u64 = 256 << 10;
const CHANNELS: usize = 8;
const MESSAGES: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_channels_promise_no_more_than_the_budget_and_all_arrives() {
    let mut settings = EndpointSettings::default();
    settings.driver = DriverKind::Tokio;
    settings.receive_budget_bytes = BUDGET_BYTES;
    let (a, b) = Endpoint::pair_with(&settings);
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let send = |mut channel: dwcp_core::Channel| async move {
        for index in 0..MESSAGES {
            let message = Message::from(vec![index as u8; 32 << 10]);
            channel.sender.send(message).await.expect("open");
        }
        channel.sender.acked().await.expect("all arrives");
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CHANNELS {
        tasks.spawn(send(session.open("x", ChannelOptions::default()).expect("room")));
        let (mut channel, b) = (peer.accept().await.expect("a channel"), b.clone());
        tasks.spawn(async move {
            for index in 0..MESSAGES {
                let message = channel.receiver.recv().await.expect("intact").expect("more");
                assert_eq!((message.len(), message[0]), (32 << 10, index as u8));
                assert!(b.stats().promised_bytes <= BUDGET_BYTES);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    session.close(0, "done");
    peer.closed().await;
    assert_eq!(b.stats().promised_bytes, 0, "a session that is over promises nothing");
}
