//! Records that are sealed, then left as they are, spoiled, repeated or held back: the opener takes what is authentic and
//! in turn, and nothing else.

use std::sync::Arc;

use dwcp_core::crypto::{Direction, PathOpener, PathSealer, Secret, SessionSecret, Suite};
use dwcp_core::machine::Time;
use dwcp_core::wire::{HEADER_BYTES, PathId, RecordHeader};
use dwcp_tcp::suites;

use super::input::Input;

/// What the opener says of one record.
fn open(opener: &mut PathOpener, record: &[u8]) -> Option<Vec<u8>> {
    let header = RecordHeader::decode(record.first_chunk::<HEADER_BYTES>()?).ok()?;
    if record.len() != HEADER_BYTES + header.length as usize {
        return None; // a stream is cut by this length
    }
    let mut plain = vec![0; opener.plain_bytes(header.length as usize).ok()?];
    opener.open(&header, record, &mut plain).ok().map(|()| plain)
}

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let suite: Arc<dyn Suite> = match input.byte() % 3 {
        0 => suites::aws_lc(true),
        1 => suites::aws_lc(false),
        _ => suites::hmac_sha256(),
    };
    let is_ordered = input.byte().is_multiple_of(2);
    let session = SessionSecret::from_exporter(&Secret::new([7; 32]), None);
    let path = session.path(PathId(0), &[1; 32], &[2; 32], &[3; 32]);
    let (there, back) = (Direction::ToAcceptor, Direction::ToDialer);
    let mut sealer = PathSealer::new(suite.clone(), &path, there, 0, is_ordered);
    let mut opener = PathOpener::new(suite.clone(), &path, there, 0, is_ordered);
    // The same path the other way: nothing of ours is good there.
    let mut other_way = PathOpener::new(suite, &path, back, 0, is_ordered);
    let mut sealed: Vec<(Vec<u8>, Vec<u8>, bool)> = Vec::new();
    let mut next = 0;
    for step in 0..200 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 6 {
            0 | 1 => {
                let (body, epoch) = (input.take(300).to_vec(), u32::from(input.byte()));
                let mut record = Vec::new();
                sealer.seal(epoch, &body, &[1, 0], &mut record).expect("few records");
                sealed.push((record, [&body[..], &[1, 0]].concat(), false));
            }
            2 => _ = sealer.rekey(Time(step * 20_000_000_000)),
            3 if is_ordered && next < sealed.len() => {
                let (record, plain, taken) = &mut sealed[next];
                assert!(open(&mut other_way, record).is_none());
                assert_eq!(open(&mut opener, record).as_ref(), Some(&*plain), "in turn");
                *taken = true;
                next += 1;
            }
            4 if !sealed.is_empty() => {
                let mut record = sealed[input.below(sealed.len())].0.clone();
                let (at, bit) = (input.below(record.len()), input.byte() % 8);
                record[at] ^= 1 << bit;
                assert!(open(&mut opener, &record).is_none(), "bit {bit} of byte {at} is another");
            }
            5 if !sealed.is_empty() => {
                let at = input.below(sealed.len());
                let (record, plain, taken) = &mut sealed[at];
                match open(&mut opener, record) {
                    Some(found) => {
                        assert!(!*taken, "twice");
                        assert!(!is_ordered || at == next, "out of turn");
                        assert_eq!(found, *plain);
                        *taken = true;
                        next += usize::from(is_ordered);
                    }
                    None => assert!(*taken || at != next || !is_ordered, "refused in its turn"),
                }
            }
            _ => assert!(open(&mut opener, input.take(400)).is_none(), "nobody sealed it"),
        }
    }
}
