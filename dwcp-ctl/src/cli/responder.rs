//! The answering process of `bench --self`: a node that serves until its stdin ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwcp_hybrid::{Listen, assemble, prepare_process};
use tokio::io::AsyncReadExt;

use super::route::{own_config, runtime};
use crate::exit::{Exit, Failure, chain};
use crate::node::serve_sessions;
use crate::service::{Offer, Services};

pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    let config = own_config(config)?;
    prepare_process(&config).iter().for_each(|problem| eprintln!("dwcp-ctl: {problem}"));
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let assembly = assemble(&config, Listen::Configured);
        let endpoint = assembly.map_err(|error| Failure::problem(chain(&error)))?.endpoint;
        println!("{}", endpoint.local_addresses().first().map_or("", String::as_str));
        let services = Arc::new(Services::new(Offer { bench_threads: true, ..Offer::default() }));
        let serving = serve_sessions(endpoint.clone(), services);
        let ended = async {
            // Whatever comes, only the end matters.
            let mut stdin = tokio::io::stdin();
            let mut rest = [0; 64];
            while matches!(stdin.read(&mut rest).await, Ok(count) if count > 0) {}
        };
        tokio::select! {
            () = serving => {}
            () = ended => {}
        }
        endpoint.drain(Duration::from_secs(1)).await;
        Ok(Exit::Ok)
    });
    // The thread that reads stdin may be blocked still.
    runtime.shutdown_background();
    result
}
