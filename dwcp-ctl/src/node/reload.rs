//! Reading the configuration again while the daemon runs: all or nothing.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use dwcp_core::config::{Colour, Config};
use tracing::{info, warn};

use super::{Node, load, plan, token};
use crate::service::forward::{BoundForward, ForwardListener, ForwardSpec};

/// Why a reload was refused.
struct Refusal {
    /// In one line.
    summary: String,
    /// All of it.
    text: String,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { summary: text.lines().next().unwrap_or_default().to_owned(), text }
    }
}

impl Node {
    /// Loads the file, checks that every change can be made now, and makes them all; or makes none and says
    /// why. Certificates are read again too, whether or not the file changed.
    ///
    /// # Errors
    /// What is wrong, for people. Nothing has changed then.
    pub(super) async fn reload(&self) -> Result<(), String> {
        self.logs.reopen();
        let result = self.try_reload().await;
        let mut current = self.current();
        match result {
            Ok(()) => {
                current.reload_failure = None;
                self.reloads_total.fetch_add(1, Ordering::Relaxed);
                info!(sha256 = current.config_sha, "configuration reloaded");
                Ok(())
            }
            Err(Refusal { summary, text }) => {
                current.reload_failure = Some(summary);
                warn!("reload refused, nothing has changed:\n{text}");
                Err(text)
            }
        }
    }

    async fn try_reload(&self) -> Result<(), Refusal> {
        let loaded = load(&self.config_path, Colour::Off)
            .map_err(|failure| Refusal { summary: failure.summary, text: failure.rendered })?;
        let config = loaded.config;
        let restart = plan::restart_keys(&self.current().config, &config);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(format!("a restart is needed to change {keys}").into());
        }
        // Whatever can fail, first.
        let token = token::read(&config)?;
        let evidence = config.byzantine.evidence_log.as_ref();
        let evidence = evidence.map(|path| self.evidence.open(path.as_path())).transpose()?;
        let (mut listeners, to_bind) = self.new_forwards(&config);
        for spec in to_bind {
            let name = spec.name.clone();
            let listen = spec.listen.clone();
            let bound = spec
                .bind()
                .await
                .map_err(|error| format!("forward {name}: cannot listen on {listen}: {error}"))?;
            listeners.push(bound);
        }
        self.identity.reload().map_err(|error| crate::exit::chain(&error))?;
        self.token.set(token);
        self.evidence.set(evidence);
        self.apply(config, loaded.sha256, listeners);
        Ok(())
    }

    /// The forwards that `config` adds or changes: those that take over a listening socket, and those to bind.
    fn new_forwards(&self, config: &Config) -> (Vec<BoundForward>, Vec<ForwardSpec>) {
        let wanted = plan::forwards(config);
        let current = self.current();
        let mut leaving: Vec<_> =
            current.forwards.iter().filter(|forward| !wanted.contains(forward.spec())).collect();
        let (mut taken, mut to_bind) = (Vec::new(), Vec::new());
        for spec in wanted {
            if current.forwards.iter().any(|forward| *forward.spec() == spec) {
                continue;
            }
            // Of several on a port that the system chooses, the one of the same name.
            let has_place = |forward: &&ForwardListener| forward.spec().listen == spec.listen;
            let has_name = |forward: &&ForwardListener| forward.spec().name == spec.name;
            let found = leaving.iter().position(|old| has_place(old) && has_name(old));
            match found.or_else(|| leaving.iter().position(has_place)) {
                Some(index) => taken.push(leaving.swap_remove(index).hand_over(spec)),
                None => to_bind.push(spec),
            }
        }
        (taken, to_bind)
    }

    /// Nothing here can fail.
    fn apply(&self, config: Config, sha256: String, mut listeners: Vec<BoundForward>) {
        let wanted = plan::forwards(&config);
        self.logs.set_level(config.logging.level);
        dwcp_hybrid::set_features(&self.endpoint, &config);
        self.endpoint.set_peers(dwcp_hybrid::peers(&config));
        self.services.set_offer(plan::offer(&config));
        self.keepers.set(&plan::kept_peers(&config));
        let mut current = self.current();
        for bound in &mut listeners {
            let name = &bound.spec().name;
            if let Some(before) = current.forwards.iter().find(|old| old.spec().name == *name) {
                bound.count_on(before);
            }
        }
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
