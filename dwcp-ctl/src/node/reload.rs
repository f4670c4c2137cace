//! Reading the configuration again while the daemon runs: all or nothing.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use dwcp_core::config::Colour;
use tracing::{info, warn};

use super::{Node, load, plan};
use crate::service::forward::BoundForward;

impl Node {
    /// Loads the file, checks that every change can be made now, and makes them all; or makes none and says
    /// why. Certificates are read again too, whether or not the file changed.
    ///
    /// # Errors
    /// What is wrong, for people. Nothing has changed then.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let result = self.try_reload().await;
        let mut current = self.current();
        match &result {
            Ok(()) => {
                current.reload_failure = None;
                self.reloads_total.fetch_add(1, Ordering::Relaxed);
                info!(sha256 = current.config_sha, "configuration reloaded");
            }
            Err(why) => {
                current.reload_failure = Some(why.clone());
                warn!("reload refused, nothing has changed:\n{why}");
            }
        }
        result
    }

    async fn try_reload(&self) -> Result<(), String> {
        let loaded = load(&self.config_path, Colour::Off).map_err(|failure| failure.rendered)?;
        let config = loaded.config;
        let (restart, bound) = {
            let current = self.current();
            let restart = plan::restart_keys(&current.config, &config);
            let has = |spec: &_| current.forwards.iter().any(|forward| forward.spec() == spec);
            let new: Vec<_> =
                plan::forwards(&config).into_iter().filter(|spec| !has(spec)).collect();
            (restart, new)
        };
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(format!("a restart is needed to change {keys}"));
        }
        // Whatever can fail, first.
        let mut listeners: Vec<BoundForward> = Vec::new();
        for spec in bound {
            let name = spec.name.clone();
            let listen = spec.listen.clone();
            let bound = spec.bind().await;
            listeners.push(
                bound.map_err(|error| {
                    format!("forward {name}: cannot listen on {listen}: {error}")
                })?,
            );
        }
        self.identity.reload().map_err(|error| crate::exit::chain(&error))?;
        self.apply(config, loaded.sha256, listeners);
        Ok(())
    }

    /// Nothing here can fail.
    fn apply(
        &self,
        config: dwcp_core::config::Config,
        sha256: String,
        listeners: Vec<BoundForward>,
    ) {
        let wanted = plan::forwards(&config);
        self.logs.set_level(config.logging.level);
        self.endpoint.set_compression(config.compresses());
        self.endpoint.set_peers(dwcp_hybrid::peers(&config));
        self.services.set_offer(plan::offer(&config));
        self.keepers.set(&plan::kept_peers(&config));
        let mut current = self.current();
        current.forwards.retain(|forward| wanted.contains(forward.spec()));
        let started = listeners
            .into_iter()
            .map(|bound| bound.start(self.endpoint.clone(), self.services.under_way.clone()));
        current.forwards.extend(started);
        current.config = config;
        current.config_sha = sha256;
        current.loaded_at = SystemTime::now();
    }
}
