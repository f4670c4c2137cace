//! A played dialer that comes back to its session with any hello: nothing but the session's own proof on a fresh path opens it.

use std::time::Duration;

use dwcp_core::crypto::{ChecksumSuite, SessionSecret};
use dwcp_core::link::{Dialer, MemoryNetwork, SecuredConnection};
use dwcp_core::wire::{Features, Hello, HelloReply, PathId, Resumption, SessionId, VERSION};
use dwcp_core::{Endpoint, Peer, Peers};

use super::input::Input;

const NODE: &str = "played";

fn hello() -> Hello {
    Hello {
        versions: (VERSION, VERSION),
        features: Features::default(),
        node_id: NODE.into(),
        peer_id: "b".into(),
        incarnation: 5,
        nonce: [1; 32],
        path: PathId(0),
        max_message_bytes: 1 << 20,
        suites: vec!["crc32".into()],
        trusted_suites: vec!["crc32".into()],
        predecessor: None,
        resume: None,
    }
}

async fn connect(network: &MemoryNetwork) -> Box<dyn SecuredConnection> {
    network.dialer(NODE).dial("b", &[]).await.expect("it listens")
}

async fn ask(connection: &mut dyn SecuredConnection, hello: &[u8]) -> Option<HelloReply> {
    connection.send(hello).await.ok()?;
    // Of virtual time: whoever is not answered at once is not answered.
    let reply = tokio::time::timeout(Duration::from_millis(1), connection.receive()).await;
    HelloReply::decode(&reply.ok()?.ok()?).ok()
}

pub(crate) fn target(data: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play(data));
}

async fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let network = MemoryNetwork::default();
    let b = Endpoint::builder("b")
        .listener(Box::new(network.listener("b")))
        .suite(std::sync::Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new(NODE, [""; 0])]))
        .build()
        .expect("complete");
    let mut first = connect(&network).await;
    let secret = SessionSecret::from_exporter(first.exporter(), None);
    let Some(HelloReply::Welcome { session, .. }) = ask(&mut *first, &hello().encode()).await
    else {
        panic!("an honest hello is welcome");
    };
    let _first = first.into_link().expect("a link");
    b.accept().await.expect("a session");
    // Ids of paths that were made, and those that a hello took which was refused for something else.
    let (mut used, mut doubtful) = (vec![0], Vec::new());
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let mut connection = connect(&network).await;
        let proof = secret.resume_proof(connection.exporter());
        let attempt = Attempt::draw(&mut input, session, proof, &[&used[..], &doubtful].concat());
        let reply = ask(&mut *connection, &attempt.bytes).await;
        let said = Hello::decode(&attempt.bytes);
        let Some(HelloReply::Welcome { session: opened, .. }) = reply else {
            assert!(!attempt.must_be_welcome, "{reply:?}");
            doubtful.extend(said.ok().map(|said| said.path.0));
            continue;
        };
        let said = said.expect("it was understood");
        let Some(resume) = said.resume else {
            assert_ne!(opened, session, "a new session");
            return; // the old one is over
        };
        assert_eq!((opened, resume.session, resume.proof), (session, session, proof));
        assert!(!used.contains(&said.path.0) && said.path.0.is_multiple_of(2), "{:?}", said.path);
        used.push(said.path.0);
        let _link = connection.into_link().expect("a link");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A hello that resumes, more or less.
struct Attempt {
    bytes: Vec<u8>,
    /// Nothing in it is wrong.
    must_be_welcome: bool,
}

impl Attempt {
    fn draw(input: &mut Input<'_>, session: SessionId, good: [u8; 32], used: &[u32]) -> Self {
        let (mut id, mut proof, mut incarnation) = (session, good, 5);
        let mut path = PathId(2 * u32::from(input.byte()));
        match input.byte() % 6 {
            1 => proof[input.below(32)] ^= 1 << (input.byte() % 8),
            2 => id = SessionId([input.byte(); 16]),
            3 => incarnation = u64::from(input.byte()),
            4 => path = PathId(path.0 + 1),
            _ => {}
        }
        let is_fresh = path.0.is_multiple_of(2) && !used.contains(&path.0);
        let is_honest = is_fresh && proof == good && id == session && incarnation == 5;
        let resume =
            Some(Resumption { session: id, proof, is_held: input.byte().is_multiple_of(2) });
        let mut bytes = Hello { path, incarnation, resume, ..hello() }.encode();
        let is_spoiled = input.byte().is_multiple_of(4);
        if is_spoiled {
            let at = input.below(bytes.len());
            bytes[at] ^= input.byte();
        }
        Self { bytes, must_be_welcome: is_honest && !is_spoiled }
    }
}
