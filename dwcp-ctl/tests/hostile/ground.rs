//! Where attacks take place: a daemon `b` that is attacked, and a daemon `a` that has an honest session with it.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::Value;

use crate::attacks::{Attack, End, Kind, Times};
use crate::common::{Daemon, Ran, Room, http, wait_for};
use crate::peer::hello::Hello;
use crate::peer::session::{Peer, connect, limited, secured};
use crate::peer::tls::{Credentials, Tls};

/// `memory.poolSize` of the daemon.
const POOL_MIB: u64 = 16;
/// `session.maxMessageSize` of the daemon.
pub(crate) const MESSAGE_MAX: u64 = 4 << 20;
/// `session.handshakeTimeout` of the daemon.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the daemon's memory may grow by from before the first attack on, KiB: what an allocator keeps of one attack counts
/// at the next ones, too, which have it in their own bounds no more. The storms take 31 MiB, of which the pool is 18: messages
/// in it (`memory.poolSize`), and the 2 MiB behind it that are touched when all else is used up. The limits that the daemon
/// sets itself add up to four times as much, and no attack comes to all of them.
const RSS_GROWTH_MAX_KIB: u64 = 60 << 10;

/// What the daemon's log may grow by under one attack, bytes: who is no peer, or only stands on the way, cannot fill a disk
/// with it, and peers not soon.
const LOG_GROWTH_MAX: u64 = 64 << 10;
const LOG_GROWTH_MAX_OF_STRANGERS: u64 = 16 << 10;
/// How long the daemon may take to dial.
const DIAL_MAX: Duration = Duration::from_secs(60);

/// A node beside the attackers that `b` knows.
pub(crate) const ACCOMPLICE: &str = "accomplice";

/// The daemons.
pub(crate) struct Ground {
    a: Daemon,
    b: Daemon,
    /// After the daemons, whose logs are in it.
    room: Room,
    address: String,
    admin: String,
    listeners: HashMap<&'static str, TcpListener>,
    /// The daemon's memory before the first attack.
    rss_kib: u64,
}

/// What was there before an attack.
struct Before {
    metrics: BTreeMap<String, f64>,
    evidence: usize,
    descriptors: usize,
    session_of_a: Value,
    rss_kib: u64,
    log_bytes: u64,
}

impl Ground {
    /// Daemons that `attacks` can be made against. Where `b` dials, each attacker has a listener that `b` knows.
    fn new(attacks: &[Attack], are_dialled: bool) -> Self {
        let names: Vec<_> = attacks.iter().map(|attack| attack.name).collect();
        let room = Room::new(&[&["a", "b", ACCOMPLICE, "stranger"], &names[..]].concat());
        let listeners: HashMap<_, _> = match are_dialled {
            true => names
                .iter()
                .map(|name| (*name, TcpListener::bind("127.0.0.1:0").unwrap()))
                .collect(),
            false => HashMap::new(),
        };
        let peers: String = [&["a", ACCOMPLICE], &names[..]]
            .concat()
            .iter()
            .map(|name| match listeners.get(name) {
                Some(listener) => {
                    let address = listener.local_addr().unwrap();
                    format!("  - {{nodeId: {name}, addresses: [\"{address}\"]}}\n")
                }
                None => format!("  - {{nodeId: {name}}}\n"),
            })
            .collect();
        let more = format!(
            "peers:\n{peers}memory: {{poolSize: {POOL_MIB}MiB, budget: 4MiB}}\n\
             byzantine: {{enabled: true, evidenceLog: evidence.log}}\n\
             files: {{receiveDirectory: inbox, keepFree: 0B}}\n"
        );
        let session = format!(
            "session: {{drainTimeout: 5s, timeToLive: 6s, window: 1MiB, maxMessageSize: {}MiB, handshakeTimeout: {}s}}",
            MESSAGE_MAX >> 20,
            HANDSHAKE_TIMEOUT.as_secs()
        );
        let text = room.config_text("b", &more).replace("session: {drainTimeout: 5s}", &session);
        std::fs::write(room.path("b.yaml"), text).unwrap();
        std::fs::create_dir(room.path("inbox")).unwrap();
        let b = room.start("b");
        let address = room.address("b");
        room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
        let a = room.start("a");
        let admin = room.status("b")["admin"][0].as_str().unwrap().to_owned();
        let mut ground = Self { room, a, b, address, admin, listeners, rss_kib: 0 };
        ground.ping();
        ground.exchange();
        ground.rss_kib = ground.memory_kib("VmRSS");
        ground
    }

    /// The honest session answers.
    fn ping(&self) {
        self.room.ctl(&["--node", "a", "ping", "b"]).ok();
    }

    /// It carries messages, too: there and back, in memory of the daemon's.
    fn exchange(&self) {
        // On a busy machine a short time may pass without a round trip.
        let comes_back = |duration: &str| {
            let words = ["bench", "latency", "b", "--duration", duration, "--warm-up", "1ms"];
            self.room.ctl(&[&["--node", "a"], &words[..]].concat()).code == 0
        };
        assert!(["30ms", "300ms", "3s", "20s"].into_iter().any(comes_back), "no message came back");
    }

    fn get(&self, path: &str) -> String {
        let (code, body) = http(&self.admin, path);
        assert!(code == 200 || code == 503, "{path}: {code} {body}");
        body
    }

    fn metrics(&self) -> BTreeMap<String, f64> {
        let page = self.get("/metrics");
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let pairs = samples.map(|line| line.rsplit_once(' ').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    pub(crate) fn peer_status(&self, name: &str) -> Value {
        let status = self.status();
        let peers = status["peers"].as_array().unwrap();
        peers.iter().find(|peer| peer["peer"] == name).cloned().unwrap_or_default()
    }

    fn evidence(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.room.path("evidence.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.b.id()))
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// A figure of the daemon's memory, KiB.
    fn memory_kib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn before(&self) -> Before {
        // From now on the kernel's high-water mark is that of this attack.
        std::fs::write(self.proc("clear_refs"), "5").expect("one's own processes may be measured");
        Before {
            metrics: self.metrics(),
            evidence: self.evidence().len(),
            descriptors: self.descriptors(),
            session_of_a: self.peer_status("a")["session"].clone(),
            rss_kib: self.memory_kib("VmRSS"),
            log_bytes: self.b.log().len() as u64,
        }
    }

    /// Makes `attack`, and looks at everything that must and must not come of it.
    fn face(&self, attack: &Attack) {
        self.ping();
        let (before, start) = (self.before(), Instant::now());
        assert!(before.session_of_a.is_string());
        println!("{}", attack.name);
        self.attack_and_ping(attack);
        self.check_end(attack, &before);
        self.check_evidence(attack, &before);
        let most_kib = self.memory_kib("VmHWM");
        let growth_kib = most_kib.saturating_sub(before.rss_kib);
        let all_kib = most_kib.saturating_sub(self.rss_kib);
        let logged = self.b.log().len() as u64 - before.log_bytes;
        let seconds = start.elapsed().as_secs_f32();
        println!(
            "{}: {seconds:.1} s, {growth_kib} KiB, {all_kib} KiB since the first, {logged} bytes of log",
            attack.name
        );
        let memory = attack.memory;
        assert!(
            growth_kib <= memory.mib << 10,
            "{}: {growth_kib} KiB, more than {} MiB of {}",
            attack.name,
            memory.mib,
            memory.of
        );
        assert!(all_kib <= RSS_GROWTH_MAX_KIB, "{}: {all_kib} KiB", attack.name);
        wait_for("descriptors given back", || {
            (self.descriptors() <= before.descriptors).then_some(())
        });
        self.ping();
        self.exchange();
        let now = self.peer_status("a");
        assert_eq!(now["session"], before.session_of_a, "{}: {now}", attack.name);
        assert!(now["reputation"].is_null() && now["quarantine_seconds"].is_null(), "{now}");
        assert_eq!(self.get("/livez"), "ok\n");
        // Nothing more has come of it meanwhile.
        self.check_times(attack, &before);
        let log = self.b.log();
        assert!(!log.contains("panicked"), "{}", attack.name);
        let (logged, most) = (log.len() as u64 - before.log_bytes, attack.log_growth_max());
        assert!(logged <= most, "{}: {logged} bytes of log", attack.name);
    }

    /// The attack, while the honest session is used again and again.
    fn attack_and_ping(&self, attack: &Attack) {
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    self.ping();
                    self.exchange();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let _over = Over(&is_over);
            (attack.run)(&Scene { ground: self, attack });
        });
    }

    fn check_end(&self, attack: &Attack, before: &Before) {
        let name = attack.name;
        if let Some(metric) = attack.end.metric(name) {
            wait_for(&format!("{name}: rise of {metric}"), || {
                (self.rise(before, &metric) >= attack.times.least()).then_some(())
            });
        }
        let count = |kind: Kind| {
            self.peer_status(name)["offences_total"].as_u64().filter(|_| kind == attack.kind)
        };
        assert_eq!(count(Kind::Allowed).unwrap_or(0), 0, "{name}");
        assert_eq!(count(Kind::Outside).unwrap_or(0), 0, "{name}");
    }

    /// How much samples have grown whose names begin so.
    fn rise(&self, before: &Before, name: &str) -> u64 {
        let sum = |metrics: &BTreeMap<String, f64>| -> f64 {
            let wanted = metrics.iter().filter(|(sample, _)| sample.starts_with(name));
            wanted.map(|(_, value)| value).sum()
        };
        (sum(&self.metrics()) - sum(&before.metrics)) as u64
    }

    /// The attack has had its end as often as it must, and no other one.
    fn check_times(&self, attack: &Attack, before: &Before) {
        let name = attack.name;
        let Some(metric) = attack.end.metric(name) else { return };
        let times = self.rise(before, &metric);
        println!("{name}: {times} times of {:?}", attack.times);
        assert!(attack.times.allow(times), "{name}: {times} times, not {:?}", attack.times);
        if let (End::TurnedAway(_), Times::Exactly(times)) = (attack.end, attack.times) {
            // The sample is not of one address. But nobody else connects meanwhile: honest sessions stand.
            let all = self.rise(before, "dwcp_connections_turned_away_total{");
            assert_eq!(all, times, "{name}: connections turned away for any cause");
        }
        if let End::Offence(_) = attack.end {
            assert_eq!(self.evidence().len() - before.evidence, times as usize, "{name}: evidence");
        }
    }

    /// What keys prove is in the evidence log, of the right peer; what anybody can do never is.
    fn check_evidence(&self, attack: &Attack, before: &Before) {
        if let End::Offence(offence) = attack.end {
            let least = before.evidence + attack.times.least() as usize;
            wait_for("evidence", || (self.evidence().len() >= least).then_some(()));
            for line in &self.evidence()[before.evidence..] {
                assert_eq!(line["peer"], attack.name, "{line}");
                assert_eq!(line["offence"], offence, "{}: {line}", attack.name);
            }
        } else {
            assert_eq!(self.evidence().len(), before.evidence, "{}", attack.name);
        }
    }
}

/// The daemon's next connection to `listener`; one that never comes is an attack that did not take place.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + DIAL_MAX;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return limited(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(Instant::now() < end, "the daemon does not dial within {DIAL_MAX:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Attack {
    fn log_growth_max(&self) -> u64 {
        match self.kind {
            Kind::Outside => LOG_GROWTH_MAX_OF_STRANGERS,
            Kind::Authenticated | Kind::Allowed => LOG_GROWTH_MAX,
        }
    }
}

/// Makes `attacks`, one after the other.
pub(crate) fn fight(attacks: &[Attack]) {
    fight_on(&Ground::new(attacks, false), attacks);
}

/// The same where the daemon dials.
pub(crate) fn fight_dialled(attacks: &[Attack]) {
    fight_on(&Ground::new(attacks, true), attacks);
}

/// All are made, also after one that went wrong: each is told.
fn fight_on(ground: &Ground, attacks: &[Attack]) {
    let only = std::env::var("DWCP_ATTACK").ok();
    let is_chosen = |attack: &&Attack| only.as_deref().is_none_or(|only| only == attack.name);
    let chosen = attacks.iter().filter(is_chosen);
    let failed =
        chosen.filter(|attack| catch_unwind(AssertUnwindSafe(|| ground.face(attack))).is_err());
    let failed: Vec<_> = failed.map(|attack| attack.name).collect();
    assert_eq!(failed, [""; 0], "attacks that did not end as they must");
    assert!(!ground.a.log().contains("panicked"));
}

/// One attacker on the ground.
pub(crate) struct Scene<'a> {
    pub(crate) ground: &'a Ground,
    attack: &'a Attack,
}

impl Scene<'_> {
    pub(crate) fn node(&self) -> &'static str {
        self.attack.name
    }

    pub(crate) fn address(&self) -> &str {
        &self.ground.address
    }

    /// Where the daemon gives its metrics.
    pub(crate) fn admin(&self) -> &str {
        &self.ground.admin
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials_of(self.node())
    }

    pub(crate) fn credentials_of(&self, node: &str) -> Credentials {
        Credentials::load(&self.ground.room.path("keys").join(node))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// Connects from another address of this machine, which is not the honest peers'.
    pub(crate) fn connect_from(&self, host: u8) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0)).unwrap();
        let address: SocketAddr = self.address().parse().unwrap();
        connect(&socket, &address).unwrap();
        limited(socket.into())
    }

    pub(crate) fn secured(&self) -> Tls {
        secured(self.address(), &self.credentials())
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello::new(self.node(), "b")
    }

    /// A session, as honest as can be, and proven to be alive.
    pub(crate) fn begin(&self) -> Peer {
        self.begin_by(&self.hello())
    }

    pub(crate) fn begin_by(&self, hello: &Hello) -> Peer {
        let mut peer = Peer::begin(self.address(), &self.credentials(), hello);
        assert!(peer.is_alive());
        peer
    }

    /// A certificate of the nodes' CA, or of another one, as `change` wants it.
    pub(crate) fn certificate(
        &self,
        is_of_ca: bool,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Credentials {
        let mut params = CertificateParams::default();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let text =
            |name: &str| std::fs::read_to_string(self.ground.room.path("keys").join(name)).unwrap();
        let ca_key = match is_of_ca {
            true => KeyPair::from_pem(&text("ca.key")).unwrap(),
            false => KeyPair::generate().unwrap(),
        };
        let issuer = Issuer::from_ca_cert_pem(&text("ca.crt"), ca_key).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap().pem();
        Credentials::from_pem(&cert, &key.serialize_pem())
    }

    /// Lets the daemon dial this attacker, who then does `serve` with the connection. Returns what the daemon says.
    pub(crate) fn be_dialled(&self, serve: impl FnOnce(TcpStream)) -> Ran {
        let listener = &self.ground.listeners[self.node()];
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| {
                self.ground.room.ctl(&["--node", "b", "ping", self.node(), "--count", "1"])
            });
            serve(accept(listener));
            ran.join().unwrap()
        })
    }

    /// The daemon's next connection to this attacker.
    pub(crate) fn be_dialled_again(&self) -> TcpStream {
        accept(&self.ground.listeners[self.node()])
    }

    /// The words that the table has for a dial that gives no session are in what the daemon says.
    #[track_caller]
    pub(crate) fn fails_as_told(&self, ran: &Ran) {
        assert_eq!(ran.code, 4, "{ran:#?}");
        if let End::NoSession(words) = self.attack.end {
            assert!(ran.stderr.contains(words), "{words}: {ran:#?}");
        }
    }
}
