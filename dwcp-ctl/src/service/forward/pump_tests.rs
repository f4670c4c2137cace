use std::sync::Arc;

use dwcp_core::{ChannelOptions, Endpoint};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// `near` and `far` are TCP connections joined by two pumps over a session.
struct Line {
    near: TcpStream,
    far: TcpStream,
    pumps: Vec<JoinHandle<Result<Pumped, PumpError>>>,
    near_counts: Arc<ForwardCounts>,
    _ends: (Endpoint, Endpoint),
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn line() -> Line {
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.unwrap();
    let channel = session.open("forward/1", ChannelOptions::default()).unwrap();
    let (mut sender, receiver) = channel.split();
    sender.send("open").await.unwrap();
    let (far_sender, mut far_receiver) = b.accept().await.unwrap().accept().await.unwrap().split();
    assert!(far_receiver.recv().await.unwrap().is_some());
    let ((near, near_inner), (far_inner, far)) = (connection().await, connection().await);
    let spawn = |stream, sender, receiver, counts: Arc<ForwardCounts>| {
        tokio::spawn(async move { pump(stream, sender, receiver, &counts).await })
    };
    let near_counts = Arc::<ForwardCounts>::default();
    let pumps = vec![
        spawn(near_inner, sender, receiver, near_counts.clone()),
        spawn(far_inner, far_sender, far_receiver, Arc::default()),
    ];
    Line { near, far, pumps, near_counts, _ends: (a, b) }
}

#[tokio::test]
async fn half_close_travels_and_the_other_direction_goes_on() {
    let mut line = line().await;
    line.near.write_all(b"question").await.unwrap();
    line.near.shutdown().await.unwrap();
    let mut question = Vec::new();
    line.far.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    // Counted as they move, not at the end.
    assert_eq!(line.near_counts.sent_bytes_total.load(Ordering::Relaxed), 8);
    line.far.write_all(b"answer").await.unwrap();
    line.far.shutdown().await.unwrap();
    let mut answer = Vec::new();
    line.near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    let moved = line.pumps.remove(0).await.unwrap().unwrap();
    assert_eq!(moved, Pumped { sent_bytes: 8, received_bytes: 6 });
    line.pumps.remove(0).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_travels_as_a_reset() {
    let mut line = line().await;
    line.near.write_all(b"x").await.unwrap();
    assert_eq!(line.far.read_u8().await.unwrap(), b'x');
    reset(line.near);
    let error = line.far.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    for pump in line.pumps {
        assert!(pump.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_slow_reader_holds_up_the_writer_and_loses_nothing() {
    let mut line = line().await;
    const BYTES: usize = 40 << 20; // more than all windows and socket buffers together
    let writer = tokio::spawn(async move {
        let block: Vec<u8> = (0..1 << 20).map(|index: u32| index as u8).collect();
        for _ in 0..BYTES >> 20 {
            line.near.write_all(&block).await.unwrap();
        }
        line.near.shutdown().await.unwrap();
        line.near
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!writer.is_finished(), "everything was taken although nobody reads");
    let mut all = Vec::new();
    line.far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), BYTES);
    assert!(all.iter().enumerate().all(|(index, byte)| *byte == index as u8));
    drop(writer.await.unwrap());
}
