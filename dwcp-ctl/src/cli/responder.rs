//! The answering process of `bench --self`: a node that serves until its stdin ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwcp_hybrid::{Listen, assemble};
use tokio::io::AsyncReadExt;

use super::route::own_config;
use crate::exit::{Exit, Failure, chain};
use crate::node::serve_sessions;
use crate::service::{Offer, Services};

pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    let config = own_config(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::problem(format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        let assembly = assemble(&config, Listen::Configured);
        let endpoint = assembly.map_err(|error| Failure::problem(chain(&error)))?.endpoint;
        println!("{}", endpoint.local_addresses().first().map_or("", String::as_str));
        let services = Arc::new(Services::new(Offer::default()));
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
