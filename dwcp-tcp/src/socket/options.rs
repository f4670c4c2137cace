//! Socket options: what is asked for, and what is in force.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::differences::is_as_asked;
use super::raw;

/// Below this round-trip time `auto` takes cubic: the kernel's BBR paces a local path at a fifth of its rate.
pub const LAN_RTT: Duration = Duration::from_millis(1);

/// Which congestion control a connection runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// `cubic` when the path's round trip is below [`LAN_RTT`], else `bbr`: BBR carries 30 times more than
    /// cubic over a path that loses 1 %.
    #[default]
    Auto,
    /// This one, as `/proc/sys/net/ipv4/tcp_available_congestion_control` names it.
    Named(String),
    /// Whatever the system's default is.
    System,
}

/// When the kernel asks a silent peer whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub time: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes that end the connection.
    pub probes: u32,
}

/// What is asked of sockets; write `TcpOptions { fast_open: true, ..TcpOptions::default() }`. Times are rounded down to what the kernel stores (seconds for keepalive,
/// milliseconds for the user timeout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Congestion control. A name the system refuses is logged, and the system's own stays.
    pub congestion: Congestion,
    /// Sends small segments at once; off only to show what it costs.
    pub no_delay: bool,
    /// The ClientHello rides in the SYN when the peer's cookie is known (RFC 7413). Both ends need it, and the
    /// listener's system `net.ipv4.tcp_fastopen` bit 2.
    pub fast_open: bool,
    /// Connections with data in their SYN that may wait at a listener.
    pub fast_open_queue: u32,
    /// Un-acknowledged data older than this ends the connection. `None`: the system's default, some 15 minutes.
    pub user_timeout: Option<Duration>,
    /// Keepalive probes; `None` for none. The session has heartbeats of its own.
    pub keepalive: Option<Keepalive>,
    /// Send buffer, bytes; `None` lets the kernel tune it, which is nearly always better.
    pub send_buffer_bytes: Option<usize>,
    /// Receive buffer, bytes; `None` as above.
    pub recv_buffer_bytes: Option<usize>,
    /// The socket counts as writable while fewer bytes than this are unsent: bounds what is queued below us.
    pub not_sent_low_water_bytes: u32,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Several listeners may share the port; the kernel spreads connections.
    pub reuse_port: bool,
    /// Acknowledges at once during the start of a connection.
    pub quick_ack: bool,
    /// For one address to answer.
    pub connect_timeout: Duration,
    /// For the whole handshake, hellos included.
    pub handshake_timeout: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            congestion: Congestion::Auto,
            no_delay: true,
            fast_open: false,
            fast_open_queue: 256,
            user_timeout: Some(Duration::from_secs(30)),
            keepalive: Some(Keepalive {
                time: Duration::from_secs(60),
                interval: Duration::from_secs(10),
                probes: 6,
            }),
            send_buffer_bytes: None,
            recv_buffer_bytes: None,
            not_sent_low_water_bytes: 256 << 10,
            backlog: 1_024,
            reuse_port: false,
            quick_ack: false,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// What became of TCP Fast Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastOpen {
    /// Not asked for, or refused by the system.
    Off,
    /// On, but this connection's SYN carried no data (no cookie yet, or the other end does not take part).
    Unused,
    /// The first data travelled in the SYN.
    Used,
}

impl FastOpen {
    /// `off`, `unused` or `used`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unused => "unused",
            Self::Used => "used",
        }
    }
}

/// The options of a connection as the kernel tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InForce {
    /// Congestion control, such as `cubic`.
    pub congestion: String,
    /// `TCP_NODELAY`.
    pub no_delay: bool,
    /// `TCP_USER_TIMEOUT`; `None` is the system's default.
    pub user_timeout: Option<Duration>,
    /// `SO_KEEPALIVE` and its times.
    pub keepalive: Option<Keepalive>,
    /// `SO_SNDBUF` as the kernel counts it: twice what was asked.
    pub send_buffer_bytes: usize,
    /// `SO_RCVBUF`, likewise.
    pub recv_buffer_bytes: usize,
    /// `TCP_NOTSENT_LOWAT`.
    pub not_sent_low_water_bytes: u32,
    /// `TCP_QUICKACK`; the kernel changes it as it goes.
    pub quick_ack: bool,
    /// TCP Fast Open.
    pub fast_open: FastOpen,
}

impl fmt::Display for InForce {
    /// The provider label of the link: few values, fit for metrics.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.congestion)?;
        if self.fast_open == FastOpen::Used { f.write_str("+fastopen") } else { Ok(()) }
    }
}

/// Asks the kernel what is in force on a connection.
///
/// # Errors
/// Those of `getsockopt`.
pub fn read_back<S: AsFd>(socket: &S) -> io::Result<InForce> {
    read(socket, raw::tcp_info(socket.as_fd()).ok().as_ref())
}

fn read<S: AsFd>(socket: &S, info: Option<&raw::KernelInfo>) -> io::Result<InForce> {
    let fd = socket.as_fd();
    let peer = SockRef::from(socket);
    let keepalive = if peer.keepalive()? {
        Some(Keepalive {
            time: peer.tcp_keepalive_time()?,
            interval: peer.tcp_keepalive_interval()?,
            probes: peer.tcp_keepalive_retries()?,
        })
    } else {
        None
    };
    let on = raw::fast_open_connect(fd)? || raw::fast_open_queue(fd)? > 0;
    let fast_open = match (info.is_some_and(|info| info.is_fast_open), on) {
        (true, _) => FastOpen::Used,
        (false, true) => FastOpen::Unused,
        (false, false) => FastOpen::Off,
    };
    Ok(InForce {
        congestion: congestion(&peer)?,
        no_delay: peer.tcp_nodelay()?,
        user_timeout: peer.tcp_user_timeout()?.filter(|time| !time.is_zero()),
        keepalive,
        send_buffer_bytes: peer.send_buffer_size()?,
        recv_buffer_bytes: peer.recv_buffer_size()?,
        not_sent_low_water_bytes: peer.tcp_notsent_lowat()?,
        quick_ack: peer.tcp_quickack()?,
        fast_open,
    })
}

/// Has a connected socket go by `options`, with the congestion control that suits the round trip it has seen so far, and
/// tells what is in force then. Most sockets have it all already, from their listener or from before they connected: they are
/// read once and nothing is set.
pub(crate) fn settle<S: AsFd>(
    socket: &S,
    options: &TcpOptions,
    remote: &str,
) -> io::Result<InForce> {
    let info = raw::tcp_info(socket.as_fd()).ok();
    let mut in_force = read(socket, info.as_ref())?;
    if !is_as_asked(options, &in_force) {
        connected(socket, options)?;
        in_force = read(socket, info.as_ref())?;
    }
    let rtt = info.map(|info| info.rtt_min_us).filter(|us| *us != u32::MAX);
    let rtt = rtt.map(|us| Duration::from_micros(us.into()));
    let Some(name) = congestion_for(rtt, &options.congestion, remote) else { return Ok(in_force) };
    if in_force.congestion != name {
        let socket = SockRef::from(socket);
        match socket.set_tcp_congestion(name.as_bytes()) {
            Ok(()) => name.clone_into(&mut in_force.congestion),
            // Whoever named it is told by `differences`, once.
            Err(error) => {
                tracing::debug!(remote, wanted = name, %error, "congestion control refused");
            }
        }
    }
    Ok(in_force)
}

fn congestion(socket: &Socket) -> io::Result<String> {
    let name = socket.tcp_congestion()?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// What has to be said before `connect`: buffers decide the window scale.
pub(crate) fn before_connect(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    buffers(socket, options)?;
    if options.fast_open {
        optional("TCP_FASTOPEN_CONNECT", raw::set_fast_open_connect(socket.as_fd(), true));
    }
    Ok(())
}

/// What has to be said before `listen`.
pub(crate) fn before_listen(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    buffers(socket, options)?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if options.fast_open {
        let queue = raw::set_fast_open_queue(socket.as_fd(), options.fast_open_queue);
        optional("TCP_FASTOPEN", queue);
    }
    Ok(())
}

/// The same on a socket that listens already, by other options perhaps: what is not asked for any more goes.
pub(crate) fn listening(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    optional("SO_BUF_LOCK", forget_buffers(socket, options));
    if !options.fast_open {
        optional("TCP_FASTOPEN", raw::set_fast_open_queue(socket.as_fd(), 0));
    }
    before_listen(socket, options)
}

/// Lets the kernel tune the buffers again that `options` leave to it.
fn forget_buffers(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    let locks = raw::buffer_locks(socket.as_fd())?;
    let fresh = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // The kernel tells twice what it is asked for.
    if locks & raw::SEND_BUFFER_LOCK != 0 && options.send_buffer_bytes.is_none() {
        socket.set_send_buffer_size(fresh.send_buffer_size()? / 2)?;
    }
    if locks & raw::RECV_BUFFER_LOCK != 0 && options.recv_buffer_bytes.is_none() {
        socket.set_recv_buffer_size(fresh.recv_buffer_size()? / 2)?;
    }
    // Those that are asked for are locked again by that.
    raw::set_buffer_locks(socket.as_fd(), 0)
}

/// The rest, on a connected socket.
pub(crate) fn connected<S: AsFd>(socket: &S, options: &TcpOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(options.no_delay)?;
    socket.set_tcp_notsent_lowat(options.not_sent_low_water_bytes)?;
    // Also where none is asked for: a socket may have one from the listener that took it.
    socket.set_tcp_user_timeout(options.user_timeout)?;
    match options.keepalive {
        Some(keepalive) => socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(keepalive.time)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.probes),
        )?,
        None => socket.set_keepalive(false)?,
    }
    if options.quick_ack {
        socket.set_tcp_quickack(true)?;
    }
    Ok(())
}

/// The congestion control for a path of this round trip; `None`: whatever the system's is.
fn congestion_for<'a>(
    rtt: Option<Duration>,
    wanted: &'a Congestion,
    remote: &str,
) -> Option<&'a str> {
    let is_local = rtt.is_some_and(|rtt| rtt < LAN_RTT);
    let name = match wanted {
        Congestion::System => return None,
        Congestion::Auto if is_local => "cubic",
        Congestion::Auto => "bbr",
        Congestion::Named(name) => name,
    };
    if name == "bbr" && is_local {
        tracing::info!(
            remote,
            rtt_us = rtt.map(|rtt| rtt.as_micros() as u64),
            "bbr as configured, on a path below 1 ms: the kernel's BBR paces such paths at a fifth of \
             their rate; congestion `auto` would take cubic here"
        );
    }
    Some(name)
}

fn buffers(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.recv_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// An option we can do without.
fn optional(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(option = name, %error, "the system does not offer it; going on without");
    }
}
