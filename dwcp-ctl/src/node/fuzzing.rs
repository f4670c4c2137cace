//! Parts of the daemon for the fuzz targets of `tests/fuzz`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::admin::{answer, exchange};
use super::commands::Request;
use super::health::{Facts, Health};
use super::routes::View;
use super::status::Status;

struct Example(Status);

impl View for Example {
    fn health(&self) -> Health {
        Health::of(&Facts::default())
    }
    fn status(&self) -> Status {
        self.0.clone()
    }
    fn health_path(&self) -> &str {
        "/healthz"
    }
}

/// What the admin server answers to a client that sends `bytes` and has done. `status` is what it tells of.
pub async fn http(bytes: &[u8], is_loopback: bool, status: Status) -> Vec<u8> {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let view = Example(status);
    let served = exchange(far, |request| answer(request, is_loopback, false, &view));
    let asked = async {
        let _ = near.write_all(bytes).await;
        let _ = near.shutdown().await;
        let mut answers = Vec::new();
        let _ = near.read_to_end(&mut answers).await;
        answers
    };
    tokio::join!(served, asked).1
}

/// Whether `line` is a request that the command socket understands, and the same again from its own words.
pub fn command(line: &str) -> bool {
    let Ok(request) = serde_json::from_str::<Request>(line) else { return false };
    let again = serde_json::to_string(&request).expect("plain data");
    assert_eq!(serde_json::from_str::<Request>(&again).expect("its own words"), request);
    true
}
