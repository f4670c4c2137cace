//! Sessions over TCP whose links say that their medium is trusted: for [`ChecksumSuite`] in the place of encryption.

use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dwcp_core::crypto::{ChecksumSuite, Secret};
use dwcp_core::link::{
    BoxFuture, DialError, Dialer, Incoming, Link, LinkAttributes, LinkFeatures, LinkReceiver,
    LinkSender, Listener, SecuredConnection,
};
use dwcp_core::{ChannelOptions, Endpoint, Peer, Peers};
use dwcp_tcp::keygen::{Ca, NodeRequest};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};

/// Something of TCP's whose medium is said to be trusted.
struct Trusting<T>(T);

impl Dialer for Trusting<TcpDialer> {
    fn dial<'a>(
        &'a self,
        peer_id: &'a str,
        addresses: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            let connection = self.0.dial(peer_id, addresses).await?;
            Ok(Box::new(Trusting(connection)) as Box<dyn SecuredConnection>)
        })
    }
}

impl Listener for Trusting<TcpListener> {
    fn accept(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let incoming = self.0.accept().await?;
            Ok(Box::new(Trusting(incoming)) as Box<dyn Incoming>)
        })
    }
    fn local_address(&self) -> String {
        self.0.local_address()
    }
}

impl Incoming for Trusting<Box<dyn Incoming>> {
    fn remote_address(&self) -> &str {
        self.0.remote_address()
    }
    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async {
            let connection = self.0.secure().await?;
            Ok(Box::new(Trusting(connection)) as Box<dyn SecuredConnection>)
        })
    }
}

impl SecuredConnection for Trusting<Box<dyn SecuredConnection>> {
    fn exporter(&self) -> &Secret {
        self.0.exporter()
    }
    fn peer_id(&self) -> &str {
        self.0.peer_id()
    }
    fn peer_not_after(&self) -> std::time::SystemTime {
        self.0.peer_not_after()
    }
    fn own_not_after(&self) -> std::time::SystemTime {
        self.0.own_not_after()
    }
    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, std::io::Result<()>> {
        self.0.send(message)
    }
    fn receive(&mut self) -> BoxFuture<'_, std::io::Result<Vec<u8>>> {
        self.0.receive()
    }
    fn into_link(self: Box<Self>) -> std::io::Result<Box<dyn Link>> {
        let link = self.0.into_link()?;
        let mut attributes = link.attributes().clone();
        attributes.features = attributes.features | LinkFeatures::TRUSTED_MEDIUM;
        Ok(Box::new(TrustingLink { link, attributes }))
    }
}

struct TrustingLink {
    link: Box<dyn Link>,
    attributes: LinkAttributes,
}

impl Link for TrustingLink {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }
    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        self.link.split()
    }
}

const NEAR: &str = "clear-a";
const FAR: &str = "clear-b";

/// An identity of `node`. Both ends' are of one authority, which lasts as long as they do.
fn identity(node: &str, ca: &Ca) -> Result<Identity, String> {
    let pem = ca.issue(&NodeRequest::new(node)).map_err(|error| error.to_string())?;
    let [cert, key, root] = [&pem.cert, &pem.key, &ca.pem().cert].map(String::as_bytes);
    Identity::from_pem(cert, key, root).map_err(|error| error.to_string())
}

fn on_core<T>(
    core: Option<usize>,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(core) = core.filter(|core| *core < CpuSet::MAX_CPU) {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|error| format!("processor {core}: {error}"))?;
        builder = tokio::runtime::Builder::new_current_thread();
    }
    let runtime = builder.enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(work)
}

/// Answers until stdin ends. Prints where it listens, and its authority, in one line of JSON first.
///
/// # Errors
/// What failed, in words.
pub fn serve(core: Option<usize>) -> Result<(), String> {
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever comes, only the end matters; nobody listens any more if all is over.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    let serving = answer();
    on_core(core, async {
        tokio::select! {
            result = serving => result,
            _ = ended => Ok(()),
        }
    })
}

async fn answer() -> Result<(), String> {
    let ca = Ca::new("clear", Duration::from_secs(86_400)).map_err(|error| error.to_string())?;
    let options = TcpOptions::default();
    let own = identity(FAR, &ca)?;
    let listener = TcpListener::bind("127.0.0.1:0", options, own);
    let listener = listener.map_err(|error| error.to_string())?;
    let address = listener.local_address();
    let endpoint = Endpoint::builder(FAR)
        .listener(Box::new(Trusting(listener)))
        .suite(dwcp_tcp::suites::aes_256_gcm(dwcp_tcp::suites::Backend::AwsLc, false))
        .trusted_suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new(NEAR, Vec::<String>::new())]))
        .build()
        .map_err(|error| error.to_string())?;
    let pem = ca.pem();
    println!("{}", json!({"address": address, "cert": pem.cert, "key": &**pem.key}));
    let session = endpoint.accept().await.ok_or("no session")?;
    let channel = session.accept().await.map_err(|error| error.to_string())?;
    let (mut sender, mut receiver) = channel.split();
    let (mut bytes, mut first, mut last) = (0_u64, None, Instant::now());
    let cpu = processor_seconds();
    while let Some(chunk) = receiver.recv_chunk().await.map_err(|error| error.to_string())? {
        last = Instant::now();
        first.get_or_insert(last);
        bytes += chunk.bytes.len() as u64;
    }
    let seconds = first.map_or(0.0, |first| (last - first).as_secs_f64());
    let report = json!({"bytes": bytes, "seconds": seconds, "cpu": processor_seconds() - cpu});
    sender.send(report.to_string().into_bytes()).await.map_err(|error| error.to_string())?;
    sender.finish();
    session.closed().await;
    Ok(())
}

/// Sends messages of `size` bytes for `duration` to the process that printed `first`.
///
/// # Errors
/// What failed, in words.
pub fn measure(
    first: &str,
    size: usize,
    duration: Duration,
    core: Option<usize>,
) -> Result<Value, String> {
    let first: Value = serde_json::from_str(first).map_err(|error| error.to_string())?;
    let text = |name: &str| first[name].as_str().unwrap_or_default();
    let ca = Ca::from_pem(text("cert"), text("key")).map_err(|error| error.to_string())?;
    on_core(core, async {
        let endpoint = Endpoint::builder(NEAR)
            .dialer(Arc::new(Trusting(TcpDialer::new(identity(NEAR, &ca)?, TcpOptions::default()))))
            .suite(dwcp_tcp::suites::aes_256_gcm(dwcp_tcp::suites::Backend::AwsLc, false))
            .trusted_suite(Arc::new(ChecksumSuite))
            .peers(Peers::only([Peer::new(FAR, [text("address")])]))
            .build()
            .map_err(|error| error.to_string())?;
        let session = endpoint.connect(FAR).await.map_err(|error| error.to_string())?;
        let options = ChannelOptions::bulk().uncompressed();
        let channel = session.open("clear", options).map_err(|error| error.to_string())?;
        let (mut sender, mut receiver) = channel.split();
        let message = Bytes::from(vec![7_u8; size]);
        let (began, cpu) = (Instant::now(), processor_seconds());
        while began.elapsed() < duration {
            sender.send(message.clone()).await.map_err(|error| error.to_string())?;
        }
        sender.finish();
        let report = receiver.recv().await.map_err(|error| error.to_string())?;
        let report: Value = report
            .and_then(|report| serde_json::from_slice(&report).ok())
            .ok_or("the other end told nothing")?;
        let number = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        let cpu = processor_seconds() - cpu + number("cpu");
        let suite = session.stats().paths.first().map(|path| path.suite.to_string());
        session.close(0, "done");
        session.closed().await;
        Ok(json!({
            "schema": "dwcp.bench-clear/v1",
            "size": size,
            "suite": suite,
            "bytes": number("bytes"),
            "seconds": number("seconds"),
            "bytes_per_second": number("bytes") / number("seconds"),
            "cpu": {"nanoseconds_per_byte": cpu * 1e9 / number("bytes")},
        }))
    })
}

/// Processor time of this process, seconds.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
