//! Somebody stands on the way between two honest nodes and changes what passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Room, wait_for};

/// Passes connections on to an address. Once asked, it flips a bit of the last byte of what passes next, in one direction.
struct Meddler {
    address: String,
    flips: [Arc<AtomicBool>; 2],
}

impl Meddler {
    fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let flips: [Arc<AtomicBool>; 2] = Default::default();
        let told = flips.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(&target).unwrap());
                for (flip, from, to) in [(&told[0], &near, &far), (&told[1], &far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let flip = flip.clone();
                    std::thread::spawn(move || pass_on(from, to, &flip));
                }
            }
        });
        Self { address, flips }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, flip: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if flip.swap(false, Ordering::SeqCst) {
            buffer[count - 1] ^= 1;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// More often than a peer may offend before it is in quarantine.
const TIMES: u64 = 6;

#[test]
fn what_is_changed_on_the_way_costs_an_honest_peer_nothing() {
    let byzantine =
        |node: &str| format!("byzantine: {{enabled: true, evidenceLog: {node}.evidence}}\n");
    let room = Room::new(&["a", "b"]);
    room.config("b", &format!("peers: [{{nodeId: a}}]\n{}", byzantine("b")));
    let _b = room.start("b");
    let meddler = Meddler::before(room.address("b"));
    let address = &meddler.address;
    let peers = format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n");
    room.config("a", &format!("{peers}{}", byzantine("a")));
    let _a = room.start("a");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let peer = |node: &str| room.status(node)["peers"][0].clone();
    let session = peer("b")["session"].clone();
    for (flip, hurt) in meddler.flips.iter().zip(["b", "a"]) {
        for time in 1..=TIMES {
            flip.store(true, Ordering::SeqCst);
            wait_for("the loss of a path", || {
                room.ctl(&["--node", "a", "ping", "b"]);
                (peer(hurt)["paths_lost_total"]["bad-record"] == time).then_some(())
            });
            wait_for("the session's return", || {
                (room.ctl(&["--node", "a", "ping", "b"]).code == 0).then_some(())
            });
        }
    }
    for node in ["a", "b"] {
        let peer = peer(node);
        assert_eq!(peer["session"], session, "{peer}");
        assert_eq!(
            (&peer["offences_total"], &peer["in_doubt_total"]),
            (&0.into(), &0.into()),
            "{peer}"
        );
        assert!(peer["reputation"].is_null() && peer["quarantine_seconds"].is_null(), "{peer}");
        let evidence = std::fs::read_to_string(room.path(&format!("{node}.evidence"))).unwrap();
        assert_eq!(evidence, "");
    }
}
