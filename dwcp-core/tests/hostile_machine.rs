//! What a peer may do to the session machine with records that are authentic and well-formed: nothing that costs
//! memory without limit, and nothing that panics.

use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    ChannelKey, Event, Machine, PathAttributes, Priority, Settings, Time, TxBatch, Violation,
};
use dwcp_core::mem::{Payload, Pool};
use dwcp_core::wire::{
    Ack, Control, DataFrame, DataKind, Frame, PathId, PathKind, PullSource, Ranges,
};
use dwcp_core::{PathCause, Role};

const NOW: Time = Time(1_000_000);
/// What a channel is born with, bytes.
const CREDIT: usize = 64 << 10;

fn up(machine: &mut Machine, path: u32, more: LinkFeatures) {
    let attributes = PathAttributes {
        kind: PathKind::Tcp,
        features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED | more,
        is_proven: true,
        challenge: [0; 16],
        receives_posted: 64,
        regions: Vec::new(),
        preference: 0,
    };
    machine.handle_path_up(NOW, PathId(path), attributes);
}

fn settings() -> Settings {
    let mut settings = Settings::new(Role::Acceptor, Pool::new(1 << 30));
    settings.window_bytes = 0;
    settings
}

fn acceptor() -> Machine {
    let mut machine = Machine::new(settings());
    up(&mut machine, 0, LinkFeatures::RELIABLE);
    machine
}

fn frame(channel: u32, seq: u64, kind: DataKind, bytes: usize) -> DataFrame {
    let payload = Payload::Bytes(vec![0; bytes].into());
    DataFrame { channel, seq, kind, payload, length: bytes as u32, pull: None }
}

fn hear(machine: &mut Machine, frames: Vec<DataFrame>) -> Result<(), Violation> {
    let mut frames = frames.into_iter().map(Frame::Data).collect();
    machine.handle_record(NOW, PathId(0), 0, &mut frames)
}

/// Sends frames 2 and on of `kind`, ahead of the missing frame 1. Returns the bytes that were kept.
fn flood(channel: u32, kind: DataKind, bytes: usize) -> usize {
    let mut machine = acceptor();
    let taken = (2..2_000).take_while(|&seq| {
        // What each frame costs to keep, beside its payload, is counted, too.
        hear(&mut machine, vec![frame(channel, seq, kind, bytes)]).is_ok()
    });
    taken.count() * (bytes + 64)
}

#[test]
fn frames_without_cost_hold_no_more_than_credit_would() {
    for bytes in [0, 1, 256 << 10] {
        for kind in [DataKind::Fin, DataKind::Open] {
            let kept = flood(2, kind, bytes);
            assert!(kept <= CREDIT, "{kind:?} of {bytes} bytes: {} KiB kept", kept >> 10);
        }
    }
    for bytes in [0, 256 << 10] {
        // What an honest peer may have on its way.
        let kept = flood(0, DataKind::Control, bytes);
        assert!(kept <= 256 * 2_048, "control of {bytes} bytes: {} KiB kept", kept >> 10);
    }
}

#[test]
fn nothing_comes_behind_a_fin_also_when_it_is_early() {
    let mut machine = acceptor();
    let batch = DataKind::First { total: 1 };
    hear(&mut machine, vec![frame(2, 5, DataKind::Fin, 0)]).expect("ahead");
    hear(&mut machine, vec![frame(2, 4, batch, 1)]).expect("before the Fin");
    let behind = hear(&mut machine, vec![frame(2, 6, batch, 1)]);
    assert_eq!(behind, Err(Violation::FrameOutOfPlace { channel: 2 }));
    let mut machine = acceptor();
    hear(&mut machine, vec![frame(2, 6, batch, 1)]).expect("ahead");
    let before = hear(&mut machine, vec![frame(2, 5, DataKind::Fin, 0)]);
    assert_eq!(before, Err(Violation::FrameOutOfPlace { channel: 2 }));
}

fn announced(seq: u64, length: u32) -> DataFrame {
    let source = PullSource { address: 0, key: 0, crc: 0 };
    let kind = DataKind::First { total: u64::from(length) };
    DataFrame { length, pull: Some(source), ..frame(2, seq, kind, 0) }
}

#[test]
fn an_announced_pull_does_not_lower_the_cost() {
    let mut machine = Machine::new(settings());
    up(&mut machine, 0, LinkFeatures::PULL);
    hear(&mut machine, vec![frame(2, 1, DataKind::Open, 1)]).expect("good");
    let large = frame(2, 2, DataKind::First { total: 256 << 10 }, 256 << 10);
    let taken = hear(&mut machine, vec![announced(2, 1), large]);
    assert_eq!(taken, Err(Violation::FrameOutOfPlace { channel: 2 }));
    // The very frame that was announced may still come in a record: by another path.
    let mut machine = Machine::new(settings());
    up(&mut machine, 0, LinkFeatures::PULL);
    hear(&mut machine, vec![frame(2, 1, DataKind::Open, 1)]).expect("good");
    let same = frame(2, 2, DataKind::First { total: 4_096 }, 4_096);
    hear(&mut machine, vec![announced(2, 4_096), same]).expect("the same frame");
}

#[test]
fn a_path_that_cannot_pull_announces_nothing() {
    let mut machine = acceptor();
    hear(&mut machine, vec![frame(2, 1, DataKind::Open, 1)]).expect("good");
    let taken = hear(&mut machine, vec![announced(2, 4_096)]);
    assert_eq!(taken, Err(Violation::FrameOutOfPlace { channel: 2 }));
}

#[test]
fn no_epoch_of_a_peer_overflows_ours() {
    let mut machine = acceptor();
    let ping = || vec![Frame::Ping { token: 1 }];
    let taken = machine.handle_record(NOW, PathId(0), u32::MAX, &mut ping());
    assert_eq!(taken, Err(Violation::EpochTooHigh { epoch: u32::MAX }));
    // Step by step to the end, and beyond it by our own choice.
    let mut machine = acceptor();
    let mut epoch = 0u32;
    while machine.handle_record(NOW, PathId(0), epoch + 60_000, &mut ping()).is_ok() {
        epoch += 60_000;
        while machine.poll_event().is_some() {}
    }
    assert!(epoch > u32::MAX / 2, "the end was reached by steps: {epoch}");
    for path in 1..40_000 {
        up(&mut machine, 2 * path, LinkFeatures::RELIABLE);
        machine.handle_path_down(NOW, PathId(2 * path - 2), PathCause::LinkFailed);
        machine.handle_path_fenced(PathId(2 * path - 2));
        while machine.poll_event().is_some() {}
    }
    assert!(machine.epoch() >= epoch && (machine.is_over() || machine.epoch() < u32::MAX));
    machine.abort();
}

fn offer(seq: u64, path: u32) -> DataFrame {
    let (path, kind) = (PathId(path), PathKind::Rdma);
    let control = Control::PathOffer { path, kind, nonce: [0; 32], bootstrap: vec![1] };
    let mut bytes = Vec::new();
    control.encode(&mut bytes);
    let length = bytes.len() as u32;
    let payload = Payload::Bytes(bytes.into());
    DataFrame { channel: 0, seq, kind: DataKind::Control, payload, length, pull: None }
}

#[test]
fn answers_to_offers_are_bounded() {
    let mut machine = acceptor();
    let mut answered = 0;
    for number in 1..=20_000 {
        if hear(&mut machine, vec![offer(number, 2 * number as u32)]).is_err() {
            break;
        }
        while let Some(event) = machine.poll_event() {
            if let Event::PathOffered { path, .. } = event {
                machine.answer_path(path, [0; 32], Vec::new());
                answered += 1;
            }
        }
    }
    assert!(answered <= 64, "{answered} answers wait for a peer that acks none");
}

#[test]
fn an_offer_without_the_feature_is_a_violation() {
    let mut settings = settings();
    settings.may_offer_paths = false;
    let mut machine = Machine::new(settings);
    up(&mut machine, 0, LinkFeatures::RELIABLE);
    assert_eq!(machine.offer_path(PathKind::Rdma, [0; 32], vec![1]), None, "nor do we offer any");
    let taken = hear(&mut machine, vec![offer(1, 2)]);
    assert_eq!(taken, Err(Violation::OfferUnasked { path: PathId(2) }));
}

#[test]
fn a_session_has_eight_paths_at_most() {
    let mut machine = acceptor();
    (1..8).for_each(|path| up(&mut machine, 2 * path, LinkFeatures::RELIABLE));
    while machine.poll_event().is_some() {}
    hear(&mut machine, vec![offer(1, 100)]).expect("refused, not punished");
    let offered = |event: &Event| matches!(event, Event::PathOffered { .. });
    assert!(!std::iter::from_fn(|| machine.poll_event()).any(|event| offered(&event)));
    for path in 60..80 {
        up(&mut machine, 2 * path, LinkFeatures::RELIABLE);
        let is_live = |state| !matches!(state, dwcp_core::machine::PathState::Fencing(_));
        assert_eq!(machine.paths().filter(|path| is_live(path.state)).count(), 8);
        assert_eq!(machine.active_path(), Some(PathId(0)), "the one in use stays");
    }
}

#[test]
fn a_peer_that_resumes_for_ever_and_acks_nothing_is_turned_away() {
    let mut machine = acceptor();
    let mut resumes = 0;
    while !machine.is_over() {
        resumes += 1;
        assert!(resumes < 20_000, "somebody has to say stop");
        up(&mut machine, 2 * resumes, LinkFeatures::RELIABLE);
        machine.handle_path_down(NOW, PathId(2 * resumes - 2), PathCause::LinkFailed);
        machine.handle_path_fenced(PathId(2 * resumes - 2));
        while machine.poll_event().is_some() {}
    }
    assert!(resumes > 1_000, "an unsteady network is no attack: {resumes}");
}

#[test]
fn marks_for_a_peer_that_takes_nothing_are_bounded() {
    let mut machine = acceptor();
    up(&mut machine, 2, LinkFeatures::RELIABLE);
    for epoch in 2..10_002u32 {
        let (path, mut frames) = (PathId(2 * (epoch % 2)), vec![Frame::Pong { token: 0 }]);
        machine.handle_record(NOW, path, epoch, &mut frames).expect("good");
        while machine.poll_event().is_some() {}
    }
    let (mut batch, mut bytes) = (TxBatch::default(), 0);
    for path in [0, 2] {
        while machine.poll_transmit(NOW, PathId(path), &mut batch) {
            bytes += batch.bytes();
        }
    }
    assert!(bytes < 1 << 10, "{bytes} bytes of marks were kept");
}

fn commit(machine: &mut Machine, channel: ChannelKey) {
    machine.send_copy(channel, b"message").expect("room");
}

#[test]
fn a_channel_that_is_over_at_the_peer_acks_nothing_that_was_never_sent() {
    let mut machine = acceptor();
    let channel = machine.open(Priority::Interactive, "x").expect("room");
    commit(&mut machine, channel);
    let mut batch = TxBatch::default();
    assert!(machine.poll_transmit(NOW, PathId(0), &mut batch));
    commit(&mut machine, channel);
    let ack = Ack { channel: channel.id(), cumulative: u64::MAX, ranges: Ranges::default() };
    machine.handle_record(NOW, PathId(0), 0, &mut vec![Frame::Ack(ack)]).expect("good");
    assert_eq!(machine.message_counts(channel), (2, 1, 0), "the second never left");
    assert!(machine.is_all_acked(), "and never will");
    assert!(machine.send_copy(channel, b"more").is_err());
}

#[test]
fn a_record_full_of_wakes_is_one_event() {
    let mut machine = acceptor();
    while machine.poll_event().is_some() {}
    let mut frames = vec![Frame::Wake; 4_000];
    machine.handle_record(NOW, PathId(0), 0, &mut frames).expect("odd, and no violation");
    assert_eq!(std::iter::from_fn(|| machine.poll_event()).count(), 1);
}

#[test]
fn offers_that_were_told_and_not_answered_are_bounded() {
    let mut settings = settings();
    settings.may_offer_paths = true;
    let mut machine = Machine::new(settings);
    up(&mut machine, 0, LinkFeatures::RELIABLE);
    let told =
        (1..1_000).take_while(|&seq| hear(&mut machine, vec![offer(seq, 2 * seq as u32)]).is_ok());
    let told = told.count();
    assert!((8..=64).contains(&told), "{told} offers wait for an answer");
}

#[test]
fn the_control_channel_is_never_given_up() {
    let mut machine = acceptor();
    let mut bytes = Vec::new();
    Control::Reset { channel: 0, code: 1 }.encode(&mut bytes);
    let length = bytes.len() as u32;
    let payload = Payload::Bytes(bytes.into());
    let kind = DataKind::Control;
    let reset = DataFrame { channel: 0, seq: 1, kind, payload, length, pull: None };
    let taken = hear(&mut machine, vec![reset]);
    assert_eq!(taken, Err(Violation::ForeignChannel { channel: 0 }));
    let mut machine = acceptor();
    let ack = Ack { channel: 0, cumulative: u64::MAX, ranges: Ranges::default() };
    let taken = machine.handle_record(NOW, PathId(0), 0, &mut vec![Frame::Ack(ack)]);
    assert_eq!(taken, Err(Violation::AckOfUnsent { channel: 0 }));
}
