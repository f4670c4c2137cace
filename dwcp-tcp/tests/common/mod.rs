//! Certificates and connections for the tests.
#![allow(dead_code)] // each test file uses its part

pub(crate) mod rogue;

use std::io::Write;
use std::time::{Duration, SystemTime};

use dwcp_core::crypto::SessionSecret;
use dwcp_core::link::{
    DialError, Dialer, Link, LinkReceiver, LinkSender, Listener, Readiness, SecuredConnection,
};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// Notes that something cannot be tested here: it is counted and shown.
pub(crate) fn skip(what: &str, why: &str) {
    println!("skipped: {what}: {why}");
    if let Some(path) = std::env::var_os("DWCP_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.unwrap(), "{what}: {}", why.replace('\n', "; ")).unwrap();
    }
}

/// What a test asks of a certificate; `node` is a good one.
pub(crate) struct Wanted {
    pub(crate) uris: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
}

#[derive(Clone)]
pub(crate) struct Pems {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

impl Wanted {
    pub(crate) fn node(id: &str) -> Self {
        Self {
            uris: vec![format!("dwcp://node/{id}")],
            not_before: SystemTime::now() - DAY,
            not_after: SystemTime::now() + 30 * DAY,
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, wanted: &Wanted) -> Pems {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test");
        params.not_before = wanted.not_before.into();
        params.not_after = wanted.not_after.into();
        params.extended_key_usages.clone_from(&wanted.usages);
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        params.subject_alt_names = wanted.uris.iter().map(uri).collect();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Pems { cert: cert.pem(), key: key.serialize_pem(), ca: self.pem() }
    }

    pub(crate) fn identity(&self, node: &str) -> Identity {
        self.issue(&Wanted::node(node)).identity()
    }
}

impl Pems {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.cert.as_bytes(), self.key.as_bytes(), self.ca.as_bytes()).unwrap()
    }
}

/// Options whose handshakes do not outlast a test.
pub(crate) fn options() -> TcpOptions {
    TcpOptions { handshake_timeout: Duration::from_secs(20), ..TcpOptions::default() }
}

pub(crate) fn listen(identity: &Identity) -> TcpListener {
    TcpListener::bind("127.0.0.1:0", options(), identity.clone()).unwrap()
}

pub(crate) type Secured = Result<Box<dyn SecuredConnection>, DialError>;

/// What the dialer's end came to, once the acceptor has all of the handshake: the last flight goes with the hello, or
/// before a reply is waited for.
pub(crate) async fn through(dial: impl Future<Output = Secured>) -> Secured {
    let mut dialled = dial.await?;
    {
        let mut reply = std::pin::pin!(dialled.receive());
        std::future::poll_fn(|context| {
            assert!(reply.as_mut().poll(context).is_pending(), "nothing was asked yet");
            std::task::Poll::Ready(())
        })
        .await;
    }
    Ok(dialled)
}

/// Both ends' outcome of one connection.
pub(crate) async fn meet(
    dialer: &TcpDialer,
    listener: &TcpListener,
    peer: &str,
) -> (Secured, Secured) {
    let addresses = [listener.local_address()];
    let accept = async { listener.accept().await.unwrap().secure().await };
    tokio::join!(through(dialer.dial(peer, &addresses)), accept)
}

/// Two connected links with the hellos done, and each end's session secret.
pub(crate) async fn links_and_secrets(
    options: TcpOptions,
) -> ((Box<dyn Link>, SessionSecret), (Box<dyn Link>, SessionSecret)) {
    let ca = Ca::new("ca");
    let dialer = TcpDialer::new(ca.identity("a"), options.clone());
    let listener = TcpListener::bind("127.0.0.1:0", options, ca.identity("b")).unwrap();
    let addresses = [listener.local_address()];
    let accept = async {
        let mut accepted = listener.accept().await.unwrap().secure().await.unwrap();
        accepted.receive().await.unwrap();
        accepted.send(b"reply").await.unwrap();
        let secret = SessionSecret::from_exporter(accepted.exporter(), None);
        (accepted.into_link().unwrap(), secret)
    };
    let dial = async {
        let mut dialled = dialer.dial("b", &addresses).await.unwrap();
        dialled.send(b"hello").await.unwrap();
        dialled.receive().await.unwrap();
        let secret = SessionSecret::from_exporter(dialled.exporter(), None);
        (dialled.into_link().unwrap(), secret)
    };
    tokio::join!(dial, accept)
}

/// Two connected links with the hellos done.
pub(crate) async fn links(options: TcpOptions) -> (Box<dyn Link>, Box<dyn Link>) {
    let ((dialled, _), (accepted, _)) = links_and_secrets(options).await;
    (dialled, accepted)
}

/// Waits for a link half by poll(2), as the poll driver does.
pub(crate) fn wait(readiness: &Readiness, writable: bool) {
    use rustix::event::{PollFd, PollFlags, poll};
    let Readiness::Fd(fd) = readiness else { panic!("a socket has a descriptor") };
    let flags = if writable { PollFlags::OUT } else { PollFlags::IN };
    let limit = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), flags)], Some(&limit)).unwrap();
    assert!(ready > 0, "the link became ready within a minute");
}

pub(crate) fn send_all(sender: &mut dyn LinkSender, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sender.try_send(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait(&sender.readiness(), true);
            }
            Err(error) => panic!("send: {error}"),
        }
    }
}

pub(crate) fn recv_exact(receiver: &mut dyn LinkReceiver, mut buffer: &mut [u8]) {
    while !buffer.is_empty() {
        match receiver.try_recv(buffer) {
            Ok(0) => panic!("the peer ended early"),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait(&receiver.readiness(), false);
            }
            Err(error) => panic!("receive: {error}"),
        }
    }
}
