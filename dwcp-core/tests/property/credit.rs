//! Credit and windows: two halves of a channel, a network that loses, repeats and reorders between them, and a
//! ledger beside it.

use std::collections::BTreeMap;

use dwcp_core::machine::halves::{Receiving, Sending, read_length};
use dwcp_core::machine::{CHANNEL_WINDOW_MIN, FRAME_COST_MIN, SendError};
use dwcp_core::mem::Pool;
use dwcp_core::wire::{Ack, DataFrame, DataKind};
use proptest::prelude::*;
use proptest::sample::Index;

const SPARE: u64 = 256 << 10;

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Transmit,
    /// A frame on its way arrives; it may arrive again.
    Deliver {
        which: Index,
        again: bool,
    },
    Lose(Index),
    Take,
    Grant,
    /// A limit or an ack that was told arrives; an old one, perhaps.
    Hear {
        which: Index,
        ack: bool,
    },
    Ack,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => (0..300usize).prop_map(Step::Send),
        2 => (0..100_000usize).prop_map(Step::Send),
        6 => Just(Step::Transmit),
        6 => (index(), prop::bool::weighted(0.2)).prop_map(|(which, again)| Step::Deliver { which, again }),
        1 => index().prop_map(Step::Lose),
        5 => Just(Step::Take),
        3 => Just(Step::Grant),
        2 => Just(Step::Ack),
        4 => (index(), any::<bool>()).prop_map(|(which, ack)| Step::Hear { which, ack }),
    ]
}

/// Both halves, what is between them, and the ledger.
struct World {
    sending: Sending,
    receiving: Receiving,
    now: u64,
    network: Vec<DataFrame>,
    limits: Vec<u64>,
    acks: Vec<Ack>,
    /// The ledger: what each frame ever put on its way costs, and the highest limit ever told and heard.
    costs: BTreeMap<u64, u64>,
    limit_heard: u64,
    committed: Vec<Vec<u8>>,
    delivered: Vec<Vec<u8>>,
    partial: Vec<u8>,
    missing: u64,
}

impl World {
    fn new() -> Self {
        Self {
            sending: Sending::new(2, Pool::new(64 << 20)),
            receiving: Receiving::new(2, SPARE),
            now: 0,
            network: Vec::new(),
            limits: Vec::new(),
            acks: Vec::new(),
            costs: BTreeMap::new(),
            limit_heard: CHANNEL_WINDOW_MIN,
            committed: Vec::new(),
            delivered: Vec::new(),
            partial: Vec::new(),
            missing: 0,
        }
    }

    fn send(&mut self, bytes: usize) -> Result<(), SendError> {
        let message = vec![self.committed.len() as u8; bytes];
        self.sending.send(&message)?;
        self.committed.push(message);
        Ok(())
    }

    fn transmit(&mut self) -> bool {
        let Some(frame) = self.sending.transmit() else { return false };
        self.costs.insert(frame.seq, u64::from(frame.length).max(FRAME_COST_MIN));
        let spent: u64 = self.costs.values().sum();
        assert!(spent <= self.limit_heard, "{spent} spent of {}", self.limit_heard);
        self.network.push(frame);
        true
    }

    fn arrive(&mut self, frame: DataFrame) {
        let seq = frame.seq;
        self.receiving.arrive(frame).unwrap_or_else(|why| panic!("an honest frame {seq}: {why}"));
    }

    fn take(&mut self) -> bool {
        let Some(frame) = self.receiving.take() else { return false };
        match frame.kind {
            DataKind::Batch => {
                let mut rest = &frame.payload[..];
                while !rest.is_empty() {
                    let (length, used) = read_length(rest).expect("well formed");
                    self.delivered.push(rest[used..used + length].to_vec());
                    rest = &rest[used + length..];
                }
            }
            DataKind::First { total } => {
                self.partial = frame.payload.to_vec();
                self.missing = total - u64::from(frame.length);
            }
            DataKind::Next => {
                self.partial.extend_from_slice(&frame.payload);
                self.missing -= u64::from(frame.length);
            }
            kind => panic!("{kind:?}"),
        }
        if frame.kind != DataKind::Batch && self.missing == 0 {
            self.delivered.push(std::mem::take(&mut self.partial));
        }
        assert!(self.committed.starts_with(&self.delivered), "in order, each once");
        true
    }

    fn grant(&mut self) -> bool {
        self.now += 500_000;
        let Some(limit) = self.receiving.grant(self.now) else { return false };
        // What is taken, and at most one window beyond it.
        let received: u64 = self.costs.values().sum();
        assert!(limit <= received + CHANNEL_WINDOW_MIN + SPARE, "{limit} for {received}");
        self.limits.push(limit);
        true
    }

    fn hear_limit(&mut self, limit: u64) {
        self.limit_heard = self.limit_heard.max(limit);
        self.sending.handle_credit(limit);
    }

    fn hear_ack(&mut self, ack: &Ack) {
        assert!(self.sending.handle_ack(ack), "an honest ack {ack:?}");
    }

    fn step(&mut self, step: &Step) {
        match step {
            // Refusals are the other half's back-pressure.
            Step::Send(bytes) => _ = self.send(*bytes),
            Step::Transmit => _ = self.transmit(),
            Step::Deliver { which, again } if !self.network.is_empty() => {
                let at = which.index(self.network.len());
                let frame =
                    if *again { self.network[at].clone() } else { self.network.swap_remove(at) };
                self.arrive(frame);
            }
            Step::Lose(which) if !self.network.is_empty() => {
                let frame = self.network.swap_remove(which.index(self.network.len()));
                // A copy may have arrived, or be on its way: that is for the receiver to sort out.
                self.sending.lose(frame.seq);
            }
            Step::Take => _ = self.take(),
            Step::Grant => _ = self.grant(),
            Step::Ack => self.acks.push(self.receiving.ack()),
            Step::Hear { which, ack: true } if !self.acks.is_empty() => {
                let ack = self.acks[which.index(self.acks.len())].clone();
                self.hear_ack(&ack);
            }
            Step::Hear { which, ack: false } if !self.limits.is_empty() => {
                self.hear_limit(self.limits[which.index(self.limits.len())]);
            }
            Step::Deliver { .. } | Step::Lose(_) | Step::Hear { .. } => {}
        }
    }

    /// Lets everything arrive that is on its way or waits.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            while self.transmit() {
                moved = true;
            }
            while let Some(frame) = self.network.pop() {
                self.arrive(frame);
                moved = true;
            }
            while self.take() {
                moved = true;
            }
            moved |= self.grant();
            if let Some(limit) = self.limits.iter().copied().max() {
                moved |= limit > self.limit_heard;
                self.hear_limit(limit);
            }
            let ack = self.receiving.ack();
            self.hear_ack(&ack);
            if !moved {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

proptest! {
    #![proptest_config(super::config("tests/property/credit.regressions"))]

    #[test]
    fn credit_is_never_overdrawn_and_never_lost(steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        prop_assert!(world.delivered == world.committed);
        prop_assert!(world.sending.is_all_acked());
        let count = world.committed.len() as u64;
        prop_assert_eq!(world.sending.messages(), (count, count));
        // At rest at least half of the smallest window is there again.
        let left = world.limit_heard - world.costs.values().sum::<u64>();
        prop_assert!(left >= CHANNEL_WINDOW_MIN / 2, "{} left at rest", left);
        prop_assert_eq!(world.send(1), Ok(()));
        world.settle();
        prop_assert_eq!(world.send(100_000), Ok(()));
        world.settle();
        prop_assert!(world.delivered == world.committed);
    }
}
