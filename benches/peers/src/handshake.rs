//! Connections made and closed: many at once, each used for one echo. Whole handshakes: nothing is resumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Failure;
use crate::asynchronous::{Stream, echo, runtime};
use crate::identity::NAME;
use crate::load::Outcome;
use crate::meter::Meter;
use crate::run::{Client, Serving};
use crate::schedule::allow_files;

const MESSAGE: usize = 64;

/// Files of a process that are not connections.
pub const OTHER_FILES: usize = 64;

/// Where to connect to, and how.
#[derive(Clone)]
pub struct Target {
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    pub fn new(client: &Client) -> Result<Self, Failure> {
        let tls = client.tls().map(|identity| identity.client_config()).transpose()?;
        Ok(Self { port: client.port, tls })
    }

    /// A connection that has carried one echo.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        // Closing resets: thousands of ports in TIME_WAIT would stop a run.
        set_socket_linger(&tcp, Some(Duration::ZERO))?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let connector = TlsConnector::from(config.clone());
                Box::new(connector.connect(NAME.try_into()?, tcp).await?)
            }
        };
        let mut buffer = [7; MESSAGE];
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        stream.read_exact(&mut buffer).await?;
        Ok(stream)
    }
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    allow_files(client.options.in_flight + OTHER_FILES)?;
    let target = Target::new(client)?;
    runtime()?.block_on(async {
        // What is made once is not measured.
        drop(target.connect().await?);
        meter.begin()?;
        let end = Instant::now() + client.options.duration;
        let mut tasks = JoinSet::new();
        for _ in 0..client.options.in_flight {
            let target = target.clone();
            tasks.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    drop(target.connect().await?);
                    count += 1;
                }
                Ok::<u64, Failure>(count)
            });
        }
        let mut total = 0;
        while let Some(count) = tasks.join_next().await {
            total += count??;
        }
        meter.end()?;
        Ok(Outcome::Handshakes(total))
    })
}

/// Takes all connections that come, until this process ends. Serves `idle` as well.
pub fn server(serving: &Serving) -> Result<(), Failure> {
    allow_files(serving.options.in_flight.max(serving.options.sessions) + OTHER_FILES)?;
    let acceptor = match serving.tls() {
        None => None,
        Some(identity) => Some(TlsAcceptor::from(identity.server_config()?)),
    };
    runtime()?.block_on(async {
        let listener = serving.listen()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let Some(acceptor) = acceptor.clone() else {
                tokio::spawn(echo(tcp, MESSAGE));
                continue;
            };
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    echo(stream, MESSAGE).await;
                }
            });
        }
    })
}
