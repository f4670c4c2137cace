//! Socket options: what was asked for is what the kernel says is in force.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::{Ca, links, options, skip};
use dwcp_core::link::{DialError, Dialer, Link, LinkFeatures, Listener, PathKind};
use dwcp_tcp::socket::FastOpen;
use dwcp_tcp::{Congestion, Keepalive, TcpDialer, TcpLink, TcpListener, TcpOptions};

fn pair() -> (TcpStream, TcpStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut near, mut far) = (stream, listener.accept().unwrap().0);
    // Several samples of the round trip: one alone may fall into a pause of a busy machine.
    for _ in 0..20 {
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(b"x").unwrap();
        near.read_exact(&mut [0]).unwrap();
    }
    (near, far)
}

fn with_congestion(congestion: Congestion) -> TcpOptions {
    TcpOptions { congestion, ..options() }
}

fn sysctl(name: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().into()
}

/// What a socket has that asked for nothing, or for what this system does not have.
fn system() -> String {
    sysctl("tcp_congestion_control")
}

/// What every user of this system may ask for; never empty, reno is part of every kernel.
fn allowed() -> Vec<String> {
    sysctl("tcp_allowed_congestion_control").split_whitespace().map(str::to_owned).collect()
}

/// What a socket that asked for `name` has, by the system's own word: it, or what the system has if it may not.
fn expected(name: &str) -> String {
    let (socket, _peer) = pair();
    let socket = socket2::SockRef::from(&socket);
    let _ = socket.set_tcp_congestion(name.as_bytes());
    let name = socket.tcp_congestion().unwrap();
    String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
}

#[test]
fn every_option_is_read_back() {
    let (stream, _peer) = pair();
    let keepalive =
        Keepalive { time: Duration::from_secs(17), interval: Duration::from_secs(3), probes: 5 };
    let asked = TcpOptions {
        congestion: Congestion::Named("reno".into()),
        user_timeout: Some(Duration::from_millis(12_345)),
        keepalive: Some(keepalive),
        not_sent_low_water_bytes: 99_000,
        ..options()
    };
    let link = TcpLink::new(stream.try_clone().unwrap(), &asked).unwrap();
    let got = link.in_force();
    assert!(allowed().iter().any(|name| name == "reno"), "{:?}", allowed());
    assert_eq!(got.congestion, "reno");
    assert!(got.no_delay);
    assert_eq!(got.user_timeout, asked.user_timeout);
    assert_eq!(got.keepalive, Some(keepalive));
    assert_eq!(got.not_sent_low_water_bytes, 99_000);
    assert_eq!(got.fast_open, FastOpen::Off);

    let off = TcpOptions { no_delay: false, keepalive: None, ..options() };
    let link = TcpLink::new(stream, &off).unwrap();
    assert!(!link.in_force().no_delay);
    assert_eq!(link.in_force().keepalive, None);
}

#[test]
fn the_low_water_mark_is_256_kib_unless_asked_otherwise() {
    let (stream, _peer) = pair();
    let link = TcpLink::new(stream, &TcpOptions::default()).unwrap();
    assert_eq!(link.in_force().not_sent_low_water_bytes, 256 << 10);
}

#[test]
fn auto_takes_cubic_on_a_local_path_and_the_provider_shows_it() {
    let (stream, _peer) = pair();
    let link = TcpLink::new(stream, &with_congestion(Congestion::Auto)).unwrap();
    assert_eq!(link.in_force().congestion, expected("cubic"));
    assert_eq!(link.attributes().provider, expected("cubic"));
    assert_eq!(link.attributes().kind, PathKind::Tcp);
    assert_eq!(link.attributes().features, LinkFeatures::RELIABLE | LinkFeatures::ORDERED);
}

#[test]
fn a_named_one_is_obeyed_and_an_unknown_one_falls_back_visibly() {
    let provider = |congestion: Congestion| {
        let (stream, _peer) = pair();
        let link = TcpLink::new(stream, &with_congestion(congestion)).unwrap();
        link.attributes().provider.clone()
    };
    for name in allowed() {
        assert_eq!(provider(Congestion::Named(name.clone())), name);
    }
    // Not every system has these, or lets everybody choose them.
    for name in ["bbr", "cubic"] {
        assert_eq!(provider(Congestion::Named(name.into())), expected(name));
    }
    assert_eq!(provider(Congestion::Named("no-such-thing".into())), system());
    assert_eq!(provider(Congestion::System), system());
}

#[tokio::test]
async fn buffers_asked_for_hold_on_both_ends_of_a_handshake() {
    let asked = TcpOptions {
        send_buffer_bytes: Some(100_000),
        recv_buffer_bytes: Some(120_000),
        ..options()
    };
    let (dialled, accepted) = links(asked).await;
    for link in [dialled, accepted] {
        let attributes = link.attributes().clone();
        assert_eq!(attributes.provider, expected("cubic"));
        let (sender, _receiver) = link.split();
        let dwcp_core::link::Readiness::Fd(fd) = sender.readiness() else { panic!("a socket") };
        let socket = socket2::SockRef::from(&fd);
        // The kernel doubles what is asked, for its own book-keeping.
        assert_eq!(socket.send_buffer_size().unwrap(), 200_000);
        assert_eq!(socket.recv_buffer_size().unwrap(), 240_000);
    }
}

#[tokio::test]
async fn what_the_kernel_cut_is_shown_with_its_remedy() {
    let most: usize =
        std::fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap().trim().parse().unwrap();
    let asked = TcpOptions {
        send_buffer_bytes: Some(most + 1),
        congestion: Congestion::Named("no-such-thing".into()),
        ..options()
    };
    let (dialled, accepted) = links(asked).await;
    for link in [dialled, accepted] {
        let socket = link.attributes().socket.clone().expect("a socket");
        assert_eq!(socket.send_buffer_bytes, 2 * most as u64);
        let [congestion, buffer] = &socket.differences[..] else { panic!("{socket:?}") };
        assert!(congestion.contains(&socket.congestion), "{congestion}");
        assert!(buffer.contains(&format!("wmem_max={}", most + 1)), "{buffer}");
    }
    let (dialled, _accepted) = links(options()).await;
    let socket = dialled.attributes().socket.clone().expect("a socket");
    assert!(socket.differences.is_empty() && socket.fast_open == "off", "{socket:?}");
}

const INSIDE: &str = "DWCP_TEST_INSIDE_NAMESPACE";

/// Runs this test again in a network namespace of its own, where Fast Open may be switched on for servers.
#[test]
fn the_client_hello_rides_in_the_syn_once_a_cookie_is_known() {
    if std::env::var_os(INSIDE).is_some() {
        return fast_open();
    }
    let name = "the_client_hello_rides_in_the_syn_once_a_cookie_is_known";
    let script =
        "ip link set lo up && echo 3 > /proc/sys/net/ipv4/tcp_fastopen && exec \"$0\" \"$@\"";
    let unshare = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--"]).args(args).env(INSIDE, "1");
        command
    };
    let possible =
        unshare(&["sh", "-c", "ip link set lo up && test -w /proc/sys/net/ipv4/tcp_fastopen"]);
    let mut possible = possible;
    match possible.output() {
        Ok(output) if output.status.success() => {}
        other => {
            let why = match other {
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            return skip("TCP Fast Open", &format!("no network namespace can be made here: {why}"));
        }
    }
    let program = std::env::current_exe().unwrap();
    let args = ["sh", "-c", script, program.to_str().unwrap(), "--exact", name, "--nocapture"];
    let output = unshare(&args).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("1 passed"), "{words}{errors}");
}

fn fast_open() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ca = Ca::new("ca");
        let asked = TcpOptions { fast_open: true, ..options() };
        let dialer = TcpDialer::new(ca.identity("a"), asked.clone());
        let listener = TcpListener::bind("127.0.0.1:0", asked, ca.identity("b")).unwrap();
        let addresses = [listener.local_address()];
        let mut providers = Vec::new();
        for _ in 0..3 {
            let accept = async {
                let mut accepted = listener.accept().await.unwrap().secure().await.unwrap();
                accepted.receive().await.unwrap();
                accepted.into_link().unwrap()
            };
            let dial = async {
                let mut dialled = dialer.dial("b", &addresses).await.unwrap();
                dialled.send(b"hello").await.unwrap();
                dialled.into_link().unwrap()
            };
            let (dialled, accepted) = tokio::join!(dial, accept);
            let provider = |link: &dyn Link| link.attributes().provider.clone();
            providers.push((provider(&*dialled), provider(&*accepted)));
        }
        // The first connection asks for a cookie, the others use it.
        let (first, rest) = providers.split_first().unwrap();
        assert!(!first.0.contains("fastopen"), "{providers:?}");
        assert!(
            rest.iter().all(|(a, b)| a.ends_with("+fastopen") && b.ends_with("+fastopen")),
            "{providers:?}"
        );
        // With a cookie the first sign of a dead listener is a failed write or read, not connect.
        drop(listener);
        let error = dialer.dial("b", &addresses).await.err().unwrap();
        assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    });
}
