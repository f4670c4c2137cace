//! An idle daemon costs next to nothing, whatever the number of its sessions.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use common::{Room, wait_for};
use dwcp_hybrid::{Listen, assemble};

const SESSIONS: usize = 100;
const WINDOWS: u32 = 2;
const WINDOW: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hundred_idle_sessions_leave_the_processor_alone() {
    let names: Vec<_> = (0..SESSIONS).map(|index| format!("n{index}")).collect();
    let mut nodes: Vec<_> = names.iter().map(String::as_str).collect();
    nodes.push("hub");
    let room = Room::new(&nodes);
    room.config("hub", "peers: any\n");
    let hub = room.start("hub");
    let address = room.address("hub");
    let mut endpoints = Vec::new();
    for name in &names {
        let path =
            room.config(name, &format!("peers: [{{nodeId: hub, addresses: [\"{address}\"]}}]\n"));
        let config = dwcp_core::config::load_file(path).config.unwrap();
        let endpoint = assemble(&config, Listen::No).unwrap().endpoint;
        endpoint.connect("hub").await.unwrap();
        endpoints.push(endpoint);
    }
    wait_for("sessions", || {
        (room.status("hub")["peers"].as_array().unwrap().len() == SESSIONS).then_some(())
    });
    // What else the machine does can only add: the least of a few windows is what the daemon needs.
    let mut least = Duration::MAX;
    for _ in 0..WINDOWS {
        let before = hub.cpu();
        tokio::time::sleep(WINDOW).await;
        least = least.min(hub.cpu() - before);
    }
    let share = 100.0 * least.as_secs_f64() / WINDOW.as_secs_f64();
    println!("{SESSIONS} idle sessions: {least:?} of processor time in {WINDOW:?}, {share:.2} %");
    assert!(share < share_max(), "{share:.2} % is over {:.1} %", share_max());
}

/// The most of one processor that the daemon may use, per cent. The promise is about optimised builds; the
/// room `idle` makes one.
fn share_max() -> f64 {
    if std::env::current_exe()
        .is_ok_and(|path| path.components().any(|part| part.as_os_str() == "debug"))
    {
        5.0
    } else {
        1.0
    }
}
