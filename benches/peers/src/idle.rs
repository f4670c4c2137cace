//! Connections that were used for one echo each and then do nothing: how much memory both processes grew by.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::Failure;
use crate::asynchronous::runtime;
use crate::handshake::{OTHER_FILES, Target};
use crate::load::Outcome;
use crate::meter::Meter;
use crate::run::Client;
use crate::schedule::allow_files;

/// Until the server waits again in each of its tasks.
const SETTLE: Duration = Duration::from_millis(200);

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    let sessions = client.options.sessions;
    allow_files(sessions + OTHER_FILES)?;
    let target = Target::new(client)?;
    runtime()?.block_on(async {
        // What is made once, with the first connection, is not a session's.
        drop(target.connect().await?);
        tokio::time::sleep(SETTLE).await;
        meter.begin()?;
        let mut held = Vec::with_capacity(sessions);
        let mut tasks = JoinSet::new();
        for _ in 0..sessions {
            if tasks.len() >= client.options.in_flight
                && let Some(stream) = tasks.join_next().await
            {
                held.push(stream??);
            }
            let target = target.clone();
            tasks.spawn(async move { target.connect().await });
        }
        while let Some(stream) = tasks.join_next().await {
            held.push(stream??);
        }
        tokio::time::sleep(SETTLE).await;
        meter.end()?;
        Ok(Outcome::Sessions(held.len() as u64))
    })
}
