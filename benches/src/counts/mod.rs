//! Pieces of the hot path whose instructions are counted. Each has one function that is never inlined, so that callgrind can
//! collect inside it and nowhere else; what it needs is made ready outside.

mod machines;
mod records;

/// One of them.
pub struct Piece {
    /// As in `counted_NAME`.
    pub name: &'static str,
    /// How many records, frames or messages its run is made of.
    pub units: u64,
    /// Runs it.
    pub run: fn(),
}

/// Rounds of each piece that count. The first rounds, in which memory is taken and tables grow, count as well: they are
/// few of many.
const ROUNDS: u64 = 2_000;
/// Messages of a batch.
const MESSAGES: u64 = 64;
/// Bytes of a message.
const MESSAGE_BYTES: usize = 64;

/// All of them.
pub const PIECES: [Piece; 7] = [
    Piece { name: "seal", units: ROUNDS, run: records::seal },
    Piece { name: "open", units: ROUNDS, run: records::open },
    Piece { name: "frame", units: ROUNDS * MESSAGES, run: records::frame },
    Piece { name: "decode", units: ROUNDS * MESSAGES, run: records::decode },
    Piece { name: "window", units: ROUNDS * MESSAGES, run: machines::window },
    Piece { name: "deliver", units: ROUNDS * MESSAGES, run: machines::deliver },
    Piece { name: "ack", units: ROUNDS * MESSAGES, run: machines::ack },
];
