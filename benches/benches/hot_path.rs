//! What a record and a message cost: `make bench`. Compare two states of the code with criterion's `--save-baseline`
//! and `--baseline`; across machines only the ratios mean something.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dwcp_core::crypto::{Direction, PathOpener, PathSealer, Secret, SessionSecret, Suite};
use dwcp_core::wire::{HEADER_BYTES, RecordHeader};
use dwcp_core::{Channel, ChannelOptions, Endpoint, PathId};
use dwcp_tcp::suites::{Backend, aes_256_gcm};

const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 64 << 10];

fn ends(suite: &Arc<dyn Suite>) -> (PathSealer, PathOpener) {
    let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
    let path = session.path(PathId(0), &[2; 32], &[3; 32], &[4; 32]);
    let direction = Direction::ToAcceptor;
    let sealer = PathSealer::new(suite.clone(), &path, direction, 0, true);
    (sealer, PathOpener::new(suite.clone(), &path, direction, 0, true))
}

/// Sealing a record and opening it again.
fn records(criterion: &mut Criterion) {
    let suites = [
        ("aws-lc", aes_256_gcm(Backend::AwsLc, false)),
        ("aws-lc+hmac", aes_256_gcm(Backend::AwsLc, true)),
        ("rustcrypto", aes_256_gcm(Backend::RustCrypto, false)),
    ];
    let mut group = criterion.benchmark_group("seal-and-open");
    for (name, suite) in &suites {
        for bytes in SIZES {
            let (mut sealer, mut opener) = ends(suite);
            let (body, mut plain) = (vec![7; bytes], vec![0; bytes]);
            let mut record = vec![0; sealer.sealed_bytes(bytes)];
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::new(*name, bytes), |bencher| {
                bencher.iter(|| {
                    sealer.seal_into(0, &body, &[], &mut record).expect("the key is fresh");
                    let header = record.first_chunk::<HEADER_BYTES>().expect("a header");
                    let header = RecordHeader::decode(header).expect("ours");
                    opener.open(&header, &record, &mut plain).expect("untouched");
                    black_box(&plain);
                });
            });
        }
    }
    group.finish();
}

async fn channel() -> (Channel, Channel, [Endpoint; 2]) {
    let (a, b) = Endpoint::pair();
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let mut near = session.open("bench", ChannelOptions::default()).expect("room");
    near.sender.send("first").await.expect("open");
    let mut far = peer.accept().await.expect("a channel");
    far.receiver.recv().await.expect("intact").expect("more");
    (near, far, [a, b])
}

/// Messages through the whole session in one thread: commit, batch, protect, decode, deliver, ack.
fn messages(criterion: &mut Criterion) {
    /// Messages an iteration.
    const COUNT: usize = 1_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut near, mut far, _endpoints) = runtime.block_on(channel());
    let mut group = criterion.benchmark_group("messages-in-memory");
    group.throughput(Throughput::Elements(COUNT as u64));
    for bytes in [64, 1 << 10] {
        let message = vec![7; bytes];
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let sends = async {
                        for _ in 0..COUNT {
                            near.sender.send_copy(&message).await.expect("open");
                        }
                        near.sender.flush();
                    };
                    let receives = async {
                        for _ in 0..COUNT {
                            black_box(far.receiver.recv().await.expect("intact").expect("more"));
                        }
                    };
                    tokio::join!(sends, receives);
                });
            });
        });
    }
    group.finish();
}

criterion_group!(hot_path, records, messages);
criterion_main!(hot_path);
