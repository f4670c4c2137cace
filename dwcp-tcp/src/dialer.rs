//! Connects to peers.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use dwcp_core::link::{BoxFuture, DialError, Dialer, SecuredConnection};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::handshake::{Side, Unsecured};
use crate::identity::Identity;
use crate::socket::{self, TcpOptions};

/// An address has this head start before the next is tried, too (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// A handshake has this head start before that of another connection begins: a peer that means it is through by then,
/// and is not greeted twice.
const HEAD_START: Duration = Duration::from_secs(1);

/// Dials peers over TCP and TLS 1.3.
///
/// All addresses of a peer are resolved and tried side by side, in order, 250 ms apart, with
/// [`connect_timeout`](TcpOptions::connect_timeout) for each; the first that connects and proves to be the peer
/// is used.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    identity: Identity,
    options: Arc<TcpOptions>,
    bind: Option<SocketAddr>,
}

impl TcpDialer {
    /// A dialer that proves to be `identity`.
    pub fn new(identity: Identity, options: TcpOptions) -> Self {
        Self { identity, options: Arc::new(options), bind: None }
    }

    /// Dials from this local address (port 0: any port). Peers of the other address family are then
    /// unreachable.
    pub fn bind(self, local: SocketAddr) -> Self {
        Self { bind: Some(local), ..self }
    }

    /// Tries `targets` side by side, each [`STAGGER`] after the one before or as soon as one has failed
    /// (RFC 8305, section 5). One that connects goes through the handshake, with [`HEAD_START`] before the next does: the
    /// first that is through is used, and one that connects and is silent holds up nobody for longer.
    async fn race(
        &self,
        peer_id: &str,
        targets: Vec<Target>,
        mut failure: Option<DialError>,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        let mut waiting = targets.into_iter();
        let (mut attempts, mut handshakes) = (JoinSet::new(), JoinSet::new());
        let mut connected = VecDeque::new();
        let mut next_at = Instant::now();
        loop {
            let is_more = waiting.len() > 0 || !connected.is_empty();
            // Not by the timer, whose least wait is a millisecond.
            if is_more && next_at <= Instant::now() {
                let dialer = self.clone();
                if let Some(unsecured) = connected.pop_front() {
                    let side = Side::Dialer { expected: peer_id.to_owned() };
                    handshakes.spawn(async move { dialer.secure(side, unsecured).await });
                    next_at = Instant::now() + HEAD_START;
                } else if let Some(target) = waiting.next() {
                    attempts.spawn(async move { dialer.connect_target(target).await });
                    next_at = Instant::now() + STAGGER;
                }
                continue;
            }
            let failed = tokio::select! {
                () = sleep_until(next_at), if is_more => continue,
                Some(attempt) = attempts.join_next() => match joined(attempt) {
                    Ok(unsecured) => {
                        connected.push_back(unsecured);
                        if handshakes.is_empty() {
                            next_at = Instant::now();
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Some(handshake) = handshakes.join_next() => match joined(handshake) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                },
                else => break,
            };
            failure = Some(worse(failure, failed));
            if handshakes.is_empty() {
                next_at = Instant::now();
            }
        }
        Err(failure.unwrap_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "no address is configured");
            DialError::Unreachable { address: format!("peer {peer_id}"), source }
        }))
    }

    /// One address has nobody to race with: neither tasks nor timers are needed.
    async fn dial_one(
        &self,
        peer_id: &str,
        target: Target,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        let unsecured = self.connect_target(target).await?;
        self.secure(Side::Dialer { expected: peer_id.to_owned() }, unsecured).await
    }

    async fn secure(
        &self,
        side: Side,
        unsecured: Unsecured,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        unsecured.secure(&self.identity, side).await
    }

    async fn connect_target(&self, target: Target) -> Result<Unsecured, DialError> {
        let Target { shown, address } = target;
        let limit = self.options.connect_timeout;
        let connected = match timeout(limit, self.connect(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = connected
            .map_err(|source| DialError::Unreachable { address: shown.clone(), source })?;
        Ok(Unsecured { stream, address: shown, options: self.options.clone() })
    }

    async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
        socket::before_connect(&socket, &self.options)?;
        if let Some(local) = self.bind {
            socket.set_reuse_address(true)?;
            socket.bind(&local.into())?;
        }
        socket::connected(&socket, &self.options)?;
        TcpSocket::from_std_stream(socket.into()).connect(target).await
    }
}

impl Dialer for TcpDialer {
    fn dial<'a>(
        &'a self,
        peer_id: &'a str,
        addresses: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            let lookups = addresses.iter().map(|address| targets_of(address));
            let (mut targets, mut failure) = (Vec::new(), None);
            for lookup in join_all(lookups).await {
                match lookup {
                    Ok(found) => targets.push(found),
                    Err(error) => failure = Some(worse(failure, error)),
                }
            }
            let mut targets: Vec<_> = targets.into_iter().flatten().collect();
            match (targets.pop(), targets.is_empty()) {
                (Some(only), true) => {
                    let dialled = self.dial_one(peer_id, only).await;
                    dialled.map_err(|error| worse(failure, error))
                }
                (last, _) => {
                    targets.extend(last);
                    self.race(peer_id, targets, failure).await
                }
            }
        })
    }
}

/// A socket address, and how it is shown: what was written and what it resolved to, when they differ.
struct Target {
    shown: String,
    address: SocketAddr,
}

/// What `address` resolves to: the two families in turn, in the resolver's order (RFC 8305, section 4).
async fn targets_of(address: &str) -> Result<Vec<Target>, DialError> {
    let resolved = lookup_host(address).await.map_err(|source| resolve(address, source))?;
    let found = in_turn(resolved.collect());
    if found.is_empty() {
        return Err(resolve(address, io::ErrorKind::NotFound.into()));
    }
    let target = |found: SocketAddr| {
        let shown = found.to_string();
        let shown = if shown == address { shown } else { format!("{address} ({shown})") };
        Target { shown, address: found }
    };
    Ok(found.into_iter().map(target).collect())
}

/// The families alternate, beginning with that of the first address.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut sorted = Vec::new();
    loop {
        let pair = [preferred.next(), other.next()];
        if pair.iter().all(Option::is_none) {
            return sorted;
        }
        sorted.extend(pair.into_iter().flatten());
    }
}

/// Waits for all of them, side by side, and keeps their order.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *result = Some(output);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// What a task came to; its panic is ours.
fn joined<T>(outcome: Result<Result<T, DialError>, JoinError>) -> Result<T, DialError> {
    outcome.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()))
}

fn resolve(address: &str, source: io::Error) -> DialError {
    DialError::Resolve { address: address.to_owned(), source }
}

/// The failure that tells more: a refused handshake over an address where nobody answers.
fn worse(earlier: Option<DialError>, later: DialError) -> DialError {
    let weight = |error: &DialError| match error {
        DialError::Unreachable { .. } | DialError::Resolve { .. } => 0,
        DialError::TimedOut { .. } => 1,
        _ => 2,
    };
    match earlier {
        Some(earlier) if weight(&earlier) > weight(&later) => earlier,
        _ => later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_alternate() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let resolved = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"].map(parse).to_vec();
        let sorted = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"].map(parse);
        assert_eq!(in_turn(resolved), sorted);
        assert_eq!(in_turn(Vec::new()), []);
    }

    #[tokio::test]
    async fn results_keep_their_order() {
        let delays = [30, 1, 10];
        let waits = delays.into_iter().map(async |delay| {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            delay
        });
        assert_eq!(join_all(waits).await, delays);
    }
}
