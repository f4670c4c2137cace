//! docs/services.md, "file/1": a sender that the daemon takes files of.

use serde_json::{Value, json};

use crate::attacks::{Attack, served};
use crate::peer::frame::{self, Data};
use crate::peer::session::Peer;

/// Copies of one peer that the daemon takes at once.
const COPIES: usize = 8;

pub(crate) const ATTACKS: &[Attack] = &[served(
    "prefixes-of-long-names",
    "8 copies, each with 25 prefixes of names of 60,000 bytes, which are none, and 10 of 8,000 in directories that are not",
    |scene| {
        let mut peer = scene.begin();
        let mut copies: Vec<_> = (0..COPIES).map(|_| Copy::begin(&mut peer)).collect();
        let no_name = "x".repeat(60_000);
        let directories = vec!["x".repeat(250); 31].join("/");
        for number in 0..35 {
            let (name, reply) = match number {
                0..25 => (format!("{no_name}{number}"), "refused"),
                _ => (format!("{directories}/{number}"), "differs"),
            };
            for copy in &mut copies {
                copy.asks(&mut peer, &prefix(&name));
            }
            for copy in &copies {
                assert_eq!(copy.hears(&mut peer)["reply"], reply);
            }
        }
        assert!(peer.is_alive() && peer.has_service());
    },
)
// Each copy has one message and its answer under way. All names, if they were kept, would be 12 MiB.
.takes(6, "messages and answers that are under way")];

/// A copy into the daemon's directory.
struct Copy {
    channel: u32,
    /// Credit that was used.
    used: u64,
}

impl Copy {
    /// One of version 2 that the daemon is ready for.
    fn begin(peer: &mut Peer) -> Self {
        let channel = peer.open("file/1");
        peer.send(&frame::credit(channel, u64::MAX / 2));
        let mut copy = Self { channel, used: 0 };
        let begin = json!({"directory": "", "files": 1, "bytes": 1, "version": 2});
        copy.asks(peer, &format!("b{begin}"));
        assert_eq!(copy.hears(peer)["reply"], "ready");
        copy
    }

    /// Sends one message, once there is credit for it.
    fn asks(&mut self, peer: &mut Peer, message: &str) {
        let bytes = message.len() as u64;
        self.used += bytes.max(1_024);
        let (channel, used) = (self.channel, self.used);
        assert!(peer.read_until(|peer| peer.credit_of(channel) >= used));
        let seq = peer.next_seq(channel);
        peer.send_body(&Data::first(channel, seq, bytes, message.as_bytes()));
    }

    fn hears(&self, peer: &mut Peer) -> Value {
        serde_json::from_slice(&peer.receive(self.channel).expect("an answer")).unwrap()
    }
}

fn prefix(name: &str) -> String {
    let (bytes, sha256) = (5, "00".repeat(32));
    let head = json!({"name": name, "bytes": bytes, "mode": 420, "mtime_ns": 7, "held": 3, "sha256": sha256});
    format!("p{head}")
}
