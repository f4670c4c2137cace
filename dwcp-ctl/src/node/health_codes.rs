//! Every code that health may name, with what it means and what to do.

use dwcp_core::config::CodeInfo;

macro_rules! health_codes {
    ($($code:literal $title:literal $explanation:literal;)*) => {
        /// All codes, in order.
        pub static HEALTH_CODES: &[CodeInfo] =
            &[$(CodeInfo { code: $code, title: $title, explanation: $explanation }),*];
    };
}

health_codes! {
    "DWCP-H001" "the node drains"
        "Failed. It is going to stop, and takes nothing new; the message says what it waits for. Nothing is to be done.";
    "DWCP-H002" "the node is starting"
        "Failed. Wait: it takes a moment.";
    "DWCP-H010" "something configured cannot be used"
        "Degraded. The node runs on what there is; `dwcp-ctl version` says what is missing and why.";
    "DWCP-H011" "the last reload was refused"
        "Degraded. The configuration before goes on. `dwcp-ctl config validate` shows all that is wrong with the file; then reload.";
    "DWCP-H012" "the certificate ends"
        "Degraded when the node's certificate ends within 14 days, failed when it has ended: sessions end with it. Install a new one, then reload.";
    "DWCP-H013" "the log is not whole"
        "Degraded. Lines could not be written since the start: the disk behind `logging.output` is full, or nobody reads the pipe.";
    "DWCP-H014" "connections cannot be taken"
        "Degraded for a minute after it happened. The system gave no connection, mostly for want of descriptors: raise `limits.maxOpenFiles` and LimitNOFILE= of the unit.";
    "DWCP-H021" "a peer is away"
        "Degraded. There has been no session with a configured peer for 10 s; the message has the last error. Does it run, and can it be reached?";
    "DWCP-H022" "a session has no path"
        "Degraded. Its messages wait for at most `session.timeToLive`. See to the network between the nodes.";
    "DWCP-H023" "messages were in doubt"
        "Degraded for 10 minutes. A session ended with messages un-acked: each was delivered once at most, perhaps not. See at the receiver what arrived; the log names channel and numbers.";
    "DWCP-H024" "a peer's reputation is low"
        "Degraded. It broke the protocol and is below `byzantine.reputation.minReputation`: broken, or taken over. `byzantine.evidenceLog` has what it did.";
    "DWCP-H025" "a peer is in quarantine"
        "Degraded. It broke the protocol several times and is refused for `byzantine.quarantine`. Mend it, then `dwcp-ctl peers lift PEER`, or wait.";
    "DWCP-H026" "evidence is not whole"
        "Degraded. `byzantine.evidenceLog` could not be written, hangs, has 64 MiB, or events came faster than they could be looked at or written. Make room, rotate it or choose another place, then reload.";
    "DWCP-H030" "the round trip is too long"
        "Degraded. The measured median misses `performance.targetLatency*`. See to the path, or change the target.";
}
