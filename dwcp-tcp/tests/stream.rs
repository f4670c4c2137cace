//! Records over a socket: every byte, in order, whatever the kernel takes at once.

mod common;

use std::io::ErrorKind;
use std::thread;

use common::{links, links_and_secrets, options, recv_exact, send_all, wait};
use dwcp_core::crypto::{Direction, PathOpener, PathSealer, PathSecret, SessionSecret};
use dwcp_core::link::{LinkReceiver, LinkSender};
use dwcp_core::wire::{HEADER_BYTES, MAX_RECORD_BYTES, PathId, RecordHeader};
use dwcp_tcp::suites;

/// What the two ends have agreed on, as the session layer would.
fn path(secret: &SessionSecret) -> PathSecret {
    secret.path(PathId(0), &[1; 32], &[2; 32], &[3; 32])
}

fn base() -> Vec<u8> {
    (0..140_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Body and trailer of record `number`, cut from `base`.
fn plain(base: &[u8], number: usize) -> (&[u8], &[u8]) {
    const BODIES: [usize; 6] = [65_536, 0, 65_535, 1, 17, 40_000];
    let start = number % 7_919;
    let body = &base[start..start + BODIES[number % BODIES.len()]];
    (body, &base[100_000 + start..100_000 + start + 2 + number % 90])
}

fn send_records(sender: &mut dyn LinkSender, sealer: &mut PathSealer, records: usize) -> u64 {
    let (base, mut out, mut sent) = (base(), Vec::new(), 0);
    for number in 0..records {
        let (body, trailer) = plain(&base, number);
        sealer.seal(0, body, trailer, &mut out).unwrap();
        if out.len() > 200_000 || number + 1 == records {
            send_all(sender, &out);
            sent += out.len() as u64;
            out.clear();
        }
    }
    sent
}

fn check_records(receiver: &mut dyn LinkReceiver, opener: &mut PathOpener, records: usize) {
    let (base, mut out) = (base(), vec![0; MAX_RECORD_BYTES]);
    let mut buffer = vec![0; HEADER_BYTES + MAX_RECORD_BYTES];
    let (mut start, mut end, mut number) = (0, 0, 0);
    while number < records {
        while let Some((header, record)) = next_record(&buffer[start..end]) {
            let count = opener.plain_bytes(record.len() - HEADER_BYTES).unwrap();
            opener.open(&header, record, &mut out[..count]).unwrap();
            let (body, trailer) = plain(&base, number);
            assert!(out[..body.len()] == *body, "body of record {number}");
            assert!(out[body.len()..count] == *trailer, "trailer of record {number}");
            start += record.len();
            number += 1;
        }
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        if number < records {
            wait(&receiver.readiness(), false);
            match receiver.try_recv(&mut buffer[end..]) {
                Ok(0) => panic!("the end came after {number} records"),
                Ok(count) => end += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

fn next_record(bytes: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let header = RecordHeader::decode(bytes.first_chunk()?).unwrap();
    Some((header, bytes.get(..HEADER_BYTES + header.length as usize)?))
}

#[tokio::test]
async fn hundreds_of_megabytes_of_records_arrive_as_they_were_sent() {
    const RECORDS: usize = 12_000;
    let ((dialled, ours), (accepted, theirs)) = links_and_secrets(options()).await;
    let ((mut sender, _keep), (_keep_too, mut receiver)) = (dialled.split(), accepted.split());
    let direction = Direction::ToAcceptor;
    let sending = thread::spawn(move || {
        let mut sealer = PathSealer::new(suites::aws_lc(true), &path(&ours), direction, 0, true);
        send_records(&mut *sender, &mut sealer, RECORDS)
    });
    let receiving = thread::spawn(move || {
        let mut opener = PathOpener::new(suites::aws_lc(true), &path(&theirs), direction, 0, true);
        check_records(&mut *receiver, &mut opener, RECORDS);
    });
    let sent = sending.join().unwrap();
    receiving.join().unwrap();
    println!("{RECORDS} records, {sent} bytes");
    assert!(sent > 300_000_000);
}

#[tokio::test]
async fn a_full_socket_takes_part_of_a_write_and_says_what_is_unsent() {
    let mut small = options();
    small.send_buffer_bytes = Some(64 << 10);
    small.recv_buffer_bytes = Some(64 << 10);
    let (dialled, accepted) = links(small).await;
    let ((mut sender, _keep), (_keep_too, mut receiver)) = (dialled.split(), accepted.split());
    let bytes: Vec<u8> = (0..4u32 << 20).map(|at| (at >> 3) as u8 ^ at as u8).collect();
    let mut taken = 0;
    let ended = loop {
        match sender.try_send(&bytes[taken..]) {
            Ok(count) => taken += count,
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::WouldBlock);
    assert!(taken > 0 && taken < bytes.len(), "{taken} bytes were taken");
    assert!(sender.unsent_bytes().unwrap() > 0);
    assert!((1..1_000_000).contains(&sender.rtt_us().unwrap()));
    let rest = bytes[taken..].to_vec();
    let sending = thread::spawn(move || {
        send_all(&mut *sender, &rest);
        sender
    });
    let mut arrived = vec![0; bytes.len()];
    recv_exact(&mut *receiver, &mut arrived);
    assert!(arrived == bytes);
    assert_eq!(sending.join().unwrap().unsent_bytes(), Some(0));
}

#[tokio::test]
async fn one_half_keeps_the_link_open_and_both_close_it() {
    let (dialled, accepted) = links(options()).await;
    let (sender, mut receiver) = dialled.split();
    let (mut back, mut end) = accepted.split();
    drop(sender);
    send_all(&mut *back, b"x");
    recv_exact(&mut *receiver, &mut [0]);
    drop(receiver);
    wait(&end.readiness(), false);
    assert_eq!(end.try_recv(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn shutting_down_ends_both_directions_for_both_ends() {
    let (dialled, accepted) = links(options()).await;
    let ((mut sender, mut receiver), (_back, mut end)) = (dialled.split(), accepted.split());
    sender.shut_down();
    sender.shut_down();
    assert_eq!(sender.try_send(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(receiver.try_recv(&mut [0]).unwrap(), 0);
    wait(&end.readiness(), false);
    assert_eq!(end.try_recv(&mut [0]).unwrap(), 0);
}
