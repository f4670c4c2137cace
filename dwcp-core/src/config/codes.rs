//! Every code a diagnostic may carry, with the words of docs/config.md.

/// A diagnostic's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str);

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInfo {
    /// `DWCP-C…`; never given another meaning.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// Why it is so and what to do, one to three sentences.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $explanation:literal;)*) => {
        $(pub(crate) const $name: Code = Code($code);)*
        static CODES: &[CodeInfo] =
            &[$(CodeInfo { code: $code, title: $title, explanation: $explanation }),*];
    };
}

/// All codes, in order.
pub fn codes() -> &'static [CodeInfo] {
    CODES
}

codes! {
    // The file and its YAML.
    SYNTAX "DWCP-C001" "not YAML"
        "The YAML parser stopped here. Tabs in the indentation, a missing quote or bracket, and a value that contains `: ` are the usual causes.";
    NOT_UTF8 "DWCP-C002" "not UTF-8"
        "The file must be UTF-8 text. Save it again as UTF-8 without other encodings mixed in.";
    TOO_LARGE "DWCP-C003" "file too large"
        "At most 1 MiB is read, far more than any configuration needs: probably the wrong file was named.";
    TOO_DEEP "DWCP-C004" "nested too deeply"
        "Lists and mappings may be nested 64 deep; no DWCP key lies deeper than 6.";
    DOCUMENTS "DWCP-C005" "several documents"
        "One file holds one document. Which of several would be obeyed is a guess, so all are refused.";
    ANCHOR "DWCP-C006" "anchor or alias"
        "Anchors and aliases are not read: a value that is changed in one place must not change another unseen, and small files must not become large.";
    TAG "DWCP-C007" "tag"
        "Tags such as `!!str` or `!Env` are not read. Quotes make a text of a number.";
    MERGE_KEY "DWCP-C008" "merge key"
        "`<<` is not read: which value wins is not visible where it is used.";
    DUPLICATE_KEY "DWCP-C009" "duplicate key"
        "The same key stands twice in one mapping. Which one would win depends on the parser, so neither does.";
    NOT_A_MAPPING "DWCP-C010" "empty, or not a mapping of keys"
        "The document must be a mapping that begins with `mode:`. `dwcp-ctl config init` writes a commented sample.";
    CHARACTER "DWCP-C011" "forbidden character"
        "No control characters are allowed but tab and line ends (LF, or CR with LF). They mostly come from copying out of a terminal or a word processor.";
    UNKNOWN_KEY "DWCP-C012" "unknown key"
        "DWCP has no such key here. A key that is not obeyed would be a wish that nobody grants, so it is an error.";
    UNSUPPORTED_KEY "DWCP-C013" "key not supported"
        "The key is known from other configurations of this family, but DWCP 3 does not do what it asks for. The help line names what to write instead, if anything.";
    MISSING_KEY "DWCP-C014" "missing key"
        "A key without a default is missing.";
    COMPLEX_KEY "DWCP-C015" "list or mapping as a key"
        "Keys are words. `? [a, b]` and `{a: b}: c` are YAML, but no configuration.";
    UNREADABLE "DWCP-C016" "file cannot be read"
        "The operating system did not let the file be read; its words are in the message.";
    TOO_MANY "DWCP-C017" "too many problems"
        "At most 100 problems are shown, errors before warnings. They often have one cause near the first. It is an error only if errors are among what is not shown.";
    TOO_MANY_VALUES "DWCP-C018" "too many keys and values"
        "At most 200000 keys and values are read, more than any configuration needs: probably the wrong file was named.";

    // Values.
    TYPE "DWCP-C020" "wrong type"
        "A value of another type was expected. `yes`, `on` and `0777` are texts in YAML 1.2; numbers in quotes are texts, too.";
    RANGE "DWCP-C021" "out of range"
        "The value lies outside the range that works; the help line shows the range.";
    WORD "DWCP-C022" "not one of the words"
        "The value must be one of a few words, spelt as shown.";
    DURATION "DWCP-C023" "not a duration"
        "Durations are a number and a unit: 100us, 1ms, 10s, 5m, 24h. A number alone is refused, since its unit would be a guess.";
    SIZE "DWCP-C024" "not a size"
        "Sizes are a number and a unit: 512B, 64KB (1000 bytes each), 64KiB (1024 bytes each), up to TB and TiB.";
    RATE "DWCP-C025" "not a rate"
        "Rates are a number and a unit in bits per second: 500Kbps, 100Mbps, 10Gbps.";
    SHARE "DWCP-C026" "not a share"
        "Shares are a number from 0 to 1 or a percentage: 0.001, 0.1%.";
    ADDRESS "DWCP-C027" "not an address"
        "Addresses are host:port; an IPv6 address stands in brackets: 10.0.0.1:8080, node-1.example.org:443, [::1]:9100.";
    NODE_ID "DWCP-C028" "not a node id"
        "A node id has 1 to 64 letters, digits, dots, hyphens and underscores, and begins and ends with a letter or digit. It is part of the certificate (dwcp://node/<nodeId>).";
    PATH "DWCP-C029" "not a path"
        "A path is a non-empty text. A relative one starts at the directory of the configuration file.";
    UNSUPPORTED_VALUE "DWCP-C030" "value not supported"
        "The key is obeyed, but not with this value; the message says why.";
    RETRY_TRAP "DWCP-C031" "retryCount 7 never gives up"
        "On some RDMA devices 7 means to retry for ever: a path to a dead peer then never fails and no failover happens. Use 1 to 6.";
    LIST_LENGTH "DWCP-C032" "list too long"
        "A list may have 16384 items, more than any node can use.";

    // Keys that do not fit together.
    HUGEPAGES_TWICE "DWCP-C040" "hugepages said twice, differently"
        "network.rdma.hugepagesEnabled and memory.hugepages decide the same thing. Keep memory.hugepages.";
    COMPRESSION_TWICE "DWCP-C041" "compression said twice, differently"
        "features.enableCompression and protocol.compression.enabled decide the same thing. Give one of them, or the same value in both.";
    BYZANTINE_TWICE "DWCP-C042" "byzantine said twice, differently"
        "features.enableByzantine and byzantine.enabled decide the same thing. Give one of them, or the same value in both.";
    TRANSPORT_TWICE "DWCP-C043" "transport said twice, differently"
        "network.transport must be the enabled entry of network.transports with the lowest priority number. Give one of them.";
    TRANSPORT_DISABLED "DWCP-C044" "a disabled transport is asked for"
        "network.tcp.enabled or network.rdma.enabled is false while network.transport or network.transports asks for that transport.";
    NO_TRANSPORT "DWCP-C045" "no transport left"
        "Every entry of network.transports is disabled, so no path could ever stand.";
    INTERNET_TRANSPORT "DWCP-C046" "RDMA in internet mode"
        "Internet mode carries sessions over TCP only: RDMA does not leave its fabric. Use mode: hybrid for both.";
    INTERNET_ENCRYPTION "DWCP-C047" "internet mode without encryption"
        "The internet is no trusted medium; a path over it is encrypted or does not exist.";
    HYBRID_ALONE "DWCP-C048" "hybrid mode with one transport"
        "Hybrid mode chooses between transports; with one enabled there is nothing to choose.";
    FALLBACK_WITHOUT_TCP "DWCP-C049" "fallback without TCP"
        "network.fallback starts the node on TCP when its RDMA device is missing, but network.tcp.enabled is false.";
    LISTEN_TWICE "DWCP-C050" "listen address said twice, differently"
        "`listen` and network.port/network.bindAddress say the same thing. Keep `listen`.";
    DUPLICATE_PEER "DWCP-C051" "peer listed twice"
        "A node id may be listed once; give all its addresses in one entry.";
    SELF_PEER "DWCP-C052" "this node among its own peers"
        "A node does not talk to itself. The same file on every node is fine if `nodeId` is left out: then the certificate says which node it is.";
    SHARED_ADDRESS "DWCP-C053" "one address for two peers"
        "Two peers have the same address. Only one certificate answers there, so the other never connects.";
    DUPLICATE_FORWARD "DWCP-C054" "forward name used twice"
        "The name identifies a forward in status and metrics.";
    UNKNOWN_PEER "DWCP-C055" "unknown peer"
        "The node id is not in `peers`, so no session with it is allowed.";
    LISTEN_CLASH "DWCP-C056" "address used twice"
        "Two listeners of this node want the same port on overlapping addresses; the second would fail to start.";
    PORT_HABIT "DWCP-C057" "a port that others expect"
        "9100 is DWCP's admin port and node_exporter's default; node_exporter beside DWCP is moved to 9110. A session or forward on either collides sooner or later.";
    ADMIN_TOKEN "DWCP-C058" "admin off loopback without a token"
        "Metrics and details are reachable from other hosts. Give admin.tokenFile, or listen on 127.0.0.1 and [::1].";
    DUPLICATE_TRANSPORT "DWCP-C059" "transport listed twice"
        "Each transport stands once in network.transports, and each priority is used once.";
    DUPLICATE_TARGET "DWCP-C060" "forward target listed twice"
        "Each target stands once in forwardTargets.";
    METRICS_PORT_TWICE "DWCP-C061" "metrics port said twice, differently"
        "monitoring.metricsPort and admin.listen say the same thing. Keep admin.listen.";
    LATENCY_TWICE "DWCP-C062" "target latency said twice, differently"
        "targetLatency, targetLatencyMicros and targetLatencyMs say the same thing in different units. Keep one.";
    THROUGHPUT_TWICE "DWCP-C063" "target throughput said twice, differently"
        "targetThroughput and targetThroughputGbps say the same thing. Keep one.";
    CRITERION_OPERATOR "DWCP-C064" "operator does not fit the metric"
        "Numbers are compared with less_than or greater_than; rdmaAvailable with equals.";
    COMPRESSION_NONE "DWCP-C065" "compression enabled with algorithm none"
        "protocol.compression.enabled and its algorithm contradict each other.";
    BUDGET "DWCP-C066" "memory budget smaller than a window"
        "One session's window does not fit in memory.budget, so it would never fill. Lower session.window or raise memory.budget.";
    HYBRID_FEATURE "DWCP-C067" "enableHybridMode outside hybrid mode"
        "features.enableHybridMode lets a node in hybrid mode switch paths; in other modes there is nothing to enable.";
    V3_OFF "DWCP-C068" "version 3 switched off"
        "With features.enableV3: false the daemon starts, answers on the admin port and takes no sessions.";
    CQ_DEPTH "DWCP-C069" "completion queue too short"
        "The completion queue must hold every work request of its queue pair: cqDepth >= maxSendWr + maxRecvWr. An overrun completion queue is lost for good.";
    ENCRYPTION_NONE "DWCP-C070" "encryption enabled with algorithm none"
        "protocol.encryption.enabled and its algorithm contradict each other.";
    SLOW_DETECTION "DWCP-C071" "peer loss found later than the session lives"
        "heartbeatInterval times timeoutMultiplier is longer than session.timeToLive: the session expires before its peer is known to be gone.";
    NO_PEERS "DWCP-C072" "no peers"
        "Only listed nodes may connect; with none listed, nobody may. List them, or write `peers: any`.";
    ANY_PEER "DWCP-C073" "any peer"
        "With `peers: any` every node with a certificate of keys.ca is admitted.";
    BBR_ON_LOOPBACK "DWCP-C074" "BBR on loopback"
        "The kernel's BBR paces loopback and very short round trips to a fraction of their speed. `auto` takes cubic below 1 ms.";
    OPEN_FORWARD "DWCP-C075" "forward listens off loopback"
        "Whoever reaches the listening address uses this node's identity towards the peer. Listen on 127.0.0.1 unless a firewall guards it.";
    HYSTERESIS "DWCP-C076" "hysteresis not below the scores"
        "A hysteresis as large as a score means that the score can never be left again.";
    NO_EFFECT "DWCP-C077" "key without effect"
        "The key is valid, but another key or the mode makes it meaningless here.";
    DETECTION_MODE "DWCP-C078" "detection outside hybrid mode"
        "adaptive.detection chooses between transports, which only hybrid mode does.";
    SELF_FORWARD "DWCP-C079" "forward to this node"
        "A forward leads to another node.";
    DUPLICATE_NAME "DWCP-C080" "value listed twice"
        "The same value stands twice in a list.";
    NOT_OBEYED_YET "DWCP-C081" "key not obeyed yet"
        "The key is valid and will have its effect, but this build does not act on it yet; the message says what it does instead.";
    REPUTATION "DWCP-C082" "quarantine above the report"
        "byzantine.reputation: a peer is reported below minReputation and quarantined below blacklistThreshold, which has to be the lower of the two: a quarantine comes after a report.";

    // The machine, asked for with --environment.
    ENV_FILE "DWCP-C090" "file missing"
        "A file that the configuration names is not there or not readable by this user.";
    ENV_KEY_MODE "DWCP-C091" "private key readable by others"
        "The private key, cluster key or token can be read by others than its owner; the daemon refuses such keys. chmod 0600.";
    ENV_RDMA_DEVICE "DWCP-C092" "RDMA device missing"
        "/sys/class/infiniband has no such device. `rdma link show` lists them; the help line does, too.";
    ENV_CONGESTION "DWCP-C093" "congestion control not available"
        "The kernel has not loaded this algorithm: modprobe tcp_bbr (and keep it in /etc/modules-load.d).";
    ENV_HUGEPAGES "DWCP-C094" "too few hugepages"
        "memory.hugepages: true wants pages set aside: sysctl vm.nr_hugepages.";
    ENV_BIND "DWCP-C095" "address not usable"
        "The address is not one of this machine's, or another process listens there.";
    ENV_DIRECTORY "DWCP-C096" "directory missing"
        "A directory that the daemon writes to is not there.";
    ENV_UNUSABLE "DWCP-C097" "file not usable"
        "A certificate, key or token is there, and the daemon would not start with it; the message is the daemon's own.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        for pair in codes().windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
            assert_ne!(pair[0].title, pair[1].title);
        }
        for info in codes() {
            assert!(info.explanation.ends_with(['.', ')']), "{}", info.code);
        }
    }
}
