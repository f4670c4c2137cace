//! What the handles of a session promise: who waits costs no more than one place, what is in doubt is told, a
//! session that closes is not given out.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::MemoryNetwork;
use dwcp_core::{
    ChannelOptions, Closed, ConnectError, Endpoint, Peer, Peers, Session, SessionError,
    SessionEvent,
};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

#[tokio::test]
async fn a_session_is_found_by_its_name_until_it_is_over() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let found = a.session("b", session.id()).expect("it stands");
    assert_eq!(found.id(), session.id());
    assert!(a.session("c", session.id()).is_none(), "it is no session with that node");
    assert!(b.session("a", peer.id()).is_some());
    session.abort();
    assert!(a.session("b", session.id()).is_none());
}

#[tokio::test]
async fn a_question_asked_once_is_one_record() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    // What the session has to say at its beginning is out.
    session.ping(PATIENCE).await.expect("it stands");
    let sent = || session.stats().paths[0].records_sent_total;
    let before = sent();
    let mut channel = session.open("once", ChannelOptions::default()).expect("room");
    channel.sender.send(vec![1; 64]).await.expect("room");
    channel.sender.send_last(vec![2; 64]).await.expect("room");
    assert_eq!(sent() - before, 1, "the channel, both messages and the end leave together");
    let mut asked = peer.accept().await.expect("it was opened");
    for byte in [1, 2] {
        let message = asked.receiver.recv().await.expect("whole").expect("not the end");
        assert_eq!(&message[..], [byte; 64]);
    }
    assert!(asked.receiver.recv().await.expect("whole").is_none());
    assert!(channel.sender.send(vec![3]).await.is_err(), "it was the last");
}

#[tokio::test]
async fn a_channel_on_which_nothing_is_sent_reaches_the_peer() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let _quiet = session.open("quiet", ChannelOptions::default()).expect("room");
    let opened = tokio::time::timeout(PATIENCE, peer.accept()).await.expect("the driver tells it");
    assert_eq!(opened.expect("it stands").label(), "quiet");
}

struct Counted;
impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn waiting_again_and_again_keeps_no_wakers() {
    let (a, b) = Endpoint::pair();
    let (session, _peer) = sessions(&a, &b).await;
    let channel = {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send("never confirmed").await.expect("open");
        channel
    };
    let counted = Arc::new(Counted);
    let waker = Waker::from(counted.clone());
    let context = &mut Context::from_waker(&waker);
    let mut ends = pin!(session.closed());
    for _ in 0..1_000 {
        assert!(pin!(session.closed()).poll(context).is_pending());
        assert!(pin!(session.accept()).poll(context).is_pending());
        assert!(pin!(channel.sender.confirmed(1)).poll(context).is_pending());
        assert!(ends.as_mut().poll(context).is_pending());
    }
    assert_eq!(Arc::strong_count(&counted) - 2, 1, "only one future is left");
}

#[tokio::test]
async fn every_channel_in_doubt_can_be_asked_for_after_the_end() {
    const CHANNELS: usize = 2_000;
    let (a, b) = Endpoint::pair();
    let (session, _peer) = sessions(&a, &b).await;
    let mut events = a.subscribe();
    assert!(session.cut(None), "nothing is acked from now on");
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        channel.sender.try_send_copy(b"one").expect("room");
        channels.push(channel);
    }
    assert!(session.in_doubt().is_empty());
    session.abort();
    assert_eq!(session.closed().await, Closed::ByUs);
    let doubts = session.in_doubt();
    assert_eq!(doubts.len(), CHANNELS);
    for channel in &channels {
        let doubt = channel.sender.in_doubt().expect("it had a message");
        assert_eq!((doubt.channel, doubt.from, doubt.count), (channel.id(), 1, 1));
        assert!(doubts.contains(&doubt));
    }
    let told = async {
        let mut told = 0;
        while let Some(event) = events.recv().await {
            match event.event {
                SessionEvent::InDoubt { .. } => told += 1,
                SessionEvent::Closed(_) => break,
                _ => {}
            }
        }
        told
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("the end is told");
    assert!(told < CHANNELS, "events are a notification: {told} came, {} not", events.missed());
}

#[tokio::test]
async fn probes_at_once_are_all_answered() {
    let (a, b) = Endpoint::pair();
    let (session, _peer) = sessions(&a, &b).await;
    let ping = || session.ping(PATIENCE);
    let (one, two, three) = tokio::join!(ping(), ping(), ping());
    for answer in [one, two, three] {
        answer.expect("the path answers");
    }
}

#[tokio::test]
async fn a_session_that_closes_is_not_given_out() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("last", ChannelOptions::default()).expect("room");
    channel.sender.send("the last words").await.expect("open");
    session.close(0, "");
    let again = a.connect("b").await.expect("b runs");
    assert_ne!(again.id(), session.id());
    again.open("x", ChannelOptions::default()).expect("it is not closing");
    assert_eq!(session.closed().await, Closed::ByUs, "the old one ended in order");
    assert!(session.in_doubt().is_empty());
    let mut incoming = peer.accept().await.expect("it came before the end");
    let words = incoming.receiver.recv().await.expect("intact").expect("more");
    assert!(words == "the last words".as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_never_ends_is_told_by_name() {
    let (a, b) = Endpoint::pair();
    let (session, _peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send(vec![0; 4 << 20]).await.expect("open"); // nobody reads it
    session.close(0, "");
    let refused = a.connect("b").await.expect_err("the old one is in the way");
    assert!(matches!(refused, ConnectError::Closing { .. }), "{refused}");
    session.abort();
    a.connect("b").await.expect("nothing is in the way");
}

#[tokio::test]
async fn a_closing_session_takes_no_channels_and_an_endpoint_that_drains_does_not_dial() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut held = session.open("held", ChannelOptions::default()).expect("room");
    held.sender.send(vec![0; 4 << 20]).await.expect("open"); // it keeps the session from its end
    let mut waiting = pin!(session.accept());
    assert!(tokio::time::timeout(Duration::from_millis(1), waiting.as_mut()).await.is_err());
    session.close(0, "");
    let woken = tokio::time::timeout(PATIENCE, waiting).await.expect("it is woken");
    assert!(matches!(woken, Err(SessionError::Over)));
    let mut late = peer.open("late", ChannelOptions::default()).expect("b has not heard");
    late.sender.send("too late").await.expect("open");
    late.sender.acked().await.expect("it reaches the window");
    assert!(matches!(session.accept().await, Err(SessionError::Over)));
    session.abort();
    a.drain(Duration::ZERO).await;
    let refused = a.connect("b").await.expect_err("it takes no new sessions");
    assert!(matches!(refused, ConnectError::CannotDial), "{refused}");
}

#[tokio::test]
async fn a_node_that_is_no_peer_any_more_is_out_soon_whatever_it_owes() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send(vec![0; 4 << 20]).await.expect("open"); // b reads nothing: it never is all acked
    a.set_peers(Peers::default());
    let mut late = peer.open("late", ChannelOptions::default()).expect("b does not know");
    late.sender.send("from a revoked node").await.expect("open");
    assert!(matches!(session.accept().await, Err(SessionError::Over)));
    let ended = tokio::time::timeout(PATIENCE, session.closed()).await;
    assert_eq!(ended.expect("it does not stay"), Closed::ByUs);
    assert_eq!(session.in_doubt().len(), 1);
    assert_eq!(a.sessions().len(), 0);
}

#[tokio::test]
async fn the_rest_of_a_message_read_in_pieces_is_no_message() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    let sends = async {
        channel.sender.send(vec![7; 200_000]).await.expect("open");
        channel.sender.send("next").await.expect("open");
        channel.sender.send(vec![8; 200_000]).await.expect("open");
    };
    let receives = async {
        let mut incoming = peer.accept().await.expect("a channel");
        let piece = incoming.receiver.recv_chunk().await.expect("intact").expect("more");
        assert!(!piece.is_last && piece.total_bytes == 200_000);
        let message = incoming.receiver.recv().await.expect("intact").expect("more");
        assert!(message == "next".as_bytes(), "{} bytes", message.len());
        let mut bytes = 0;
        loop {
            let piece = incoming.receiver.recv_chunk().await.expect("intact").expect("more");
            bytes += piece.bytes.len();
            if piece.is_last {
                break;
            }
        }
        assert_eq!(bytes, 200_000);
    };
    let both = async { tokio::join!(sends, receives) };
    tokio::time::timeout(PATIENCE, both).await.expect("it ends");
}

/// Memory of the application's whose owner uses the session when it is let go of.
struct Owned {
    bytes: Vec<u8>,
    session: Session,
    told: Arc<Mutex<Vec<u64>>>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut channel = self.session.open("let go", ChannelOptions::default()).expect("room");
        channel.sender.try_send_copy(b"it is free").expect("room");
        channel.sender.flush();
        self.told.lock().expect("no panic").push(self.session.unacked_messages());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_of_memory_that_is_let_go_of_may_use_the_session() {
    const COUNT: usize = 50;
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    let owned = || Owned { bytes: vec![6; 20_000], session: session.clone(), told: told.clone() };
    let sends = async {
        for _ in 0..COUNT {
            channel.sender.send(Bytes::from_owner(owned())).await.expect("open");
        }
        channel.sender.acked().await.expect("all arrives");
    };
    let receives = async {
        let mut incoming = peer.accept().await.expect("a channel");
        for _ in 0..COUNT {
            incoming.receiver.recv().await.expect("intact").expect("more");
        }
        incoming
    };
    let both = async { tokio::join!(sends, receives) };
    let ((), _incoming) =
        tokio::time::timeout(PATIENCE, both).await.expect("nobody locks itself out");
    let all = async {
        while told.lock().expect("no panic").len() < COUNT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("everything is let go of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_nobody_accepted_go_when_the_peer_gives_them_up() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    for _ in 0..200 {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send_copy(b"x").await.expect("open");
        channel.sender.reset(1);
    }
    let mut kept = session.open("kept", ChannelOptions::default()).expect("room");
    kept.sender.send_copy(b"x").await.expect("open");
    session.all_acked().await;
    let accepted = peer.accept().await.expect("open");
    assert_eq!(accepted.label(), "kept", "none of those before is given out");
    assert!(peer.stats().channels <= 1, "{} channels", peer.stats().channels);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_nobody_accepted_go_when_they_are_over_and_nothing_is_to_be_read() {
    let network = MemoryNetwork::default();
    let build = |node: &str, peer: &str| {
        Endpoint::builder(node)
            .dialer(Arc::new(network.dialer(node)))
            .listener(Box::new(network.listener(node)))
            .suite(Arc::new(ChecksumSuite))
            .peers(Peers::only([Peer::new(peer, ["memory"])]))
            .build()
            .expect("complete")
    };
    let a = build("a", "b");
    for round in 0..20 {
        let b = build("b", "a");
        let session = b.connect("a").await.expect("a answers");
        if round % 10 == 0 {
            let mut channel = session.open("x", ChannelOptions::default()).expect("room");
            channel.sender.send_copy(&[round]).await.expect("open");
            channel.sender.acked().await.expect("open");
        }
        session.close(0, "");
        session.closed().await;
        while a.stats().sessions > 0 {
            tokio::task::yield_now().await;
        }
        b.shut_down();
    }
    let mut unread = Vec::new();
    let mut accepted = 0;
    while let Ok(Some(session)) = tokio::time::timeout(Duration::from_millis(200), a.accept()).await
    {
        accepted += 1;
        if let Ok(mut channel) = session.accept().await {
            let message = channel.receiver.recv().await.expect("intact").expect("more");
            unread.push(message[0]);
        }
    }
    assert_eq!(unread, [0, 10], "what was acked is still there to be read");
    assert!(accepted <= 3, "{accepted}: the empty ones are gone, but for the last");
}
