//! Reading the configuration again while the daemon runs: all or nothing, and beside all else that it does. A volume that
//! hangs, or a name server, holds up the reload alone, and that until a deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use dwcp_core::config::{Colour, Config};
use dwcp_tcp::Renewal;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::aside::Deadline;
use super::evidence::EvidenceFile;
use super::load::LoadedConfig;
use super::{Node, load, plan, token};
use crate::service::forward::{BoundForward, ForwardListener, ForwardSpec};

/// How long a reload may take. A volume that answers at all does so sooner, also a disk that has to spin up or a server that fails
/// over; and a service manager waits longer (systemd 90 s), so that it hears what came of it.
const DEADLINE: Duration = Duration::from_secs(30);

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

/// Who waits to hear what came of a reload.
pub(super) type ReloadAsker = oneshot::Sender<Result<(), String>>;

/// What came of a reload: nothing has changed if it is an error, in words for people.
pub(super) type ReloadOutcome = Result<(), String>;

/// The part of the daemon that reloads, once at a time.
#[derive(Default)]
pub(super) struct Reloads {
    under_way: Option<UnderWay>,
    /// Whether one is due, and who waits for it: the one under way may have read the file before it changed, or was put off.
    is_due: bool,
    askers: Vec<ReloadAsker>,
}

struct UnderWay {
    askers: Vec<ReloadAsker>,
    task: JoinHandle<ReloadOutcome>,
}

impl Reloads {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Asks for a reload; `asker` hears what comes of it. [`begin`](Self::begin) is to follow.
    pub(super) fn ask(&mut self, asker: Option<ReloadAsker>) {
        self.is_due = true;
        self.askers.extend(asker);
    }

    /// Begins what was asked for, unless one is under way; whether it did.
    pub(super) fn begin(&mut self, node: &Arc<Node>) -> bool {
        if self.is_under_way() || !std::mem::take(&mut self.is_due) {
            return false;
        }
        let task = tokio::spawn(node.clone().reload());
        self.under_way = Some(UnderWay { askers: std::mem::take(&mut self.askers), task });
        true
    }

    /// Waits until the reload under way is over, or there is none. [`conclude`](Self::conclude) is to follow.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn outcome(&mut self) -> ReloadOutcome {
        match &mut self.under_way {
            Some(under_way) => (&mut under_way.task).await.unwrap_or_else(|_| broke_off()),
            None => std::future::pending().await,
        }
    }

    /// Tells whoever asked.
    pub(super) fn conclude(&mut self, outcome: &ReloadOutcome) {
        tell(self.under_way.take().into_iter().flat_map(|under_way| under_way.askers), outcome);
    }

    /// Ends the reload under way, if there is one: afterwards it changes nothing more. It is due again, and whoever asked waits.
    pub(super) async fn put_off(&mut self) {
        let Some(UnderWay { askers, task }) = self.under_way.take() else { return };
        task.abort();
        match task.await {
            Err(error) if error.is_cancelled() => {
                self.is_due = true;
                self.askers.extend(askers);
            }
            // It was over a moment before.
            outcome => tell(askers, &outcome.unwrap_or_else(|_| broke_off())),
        }
    }

    /// Ends all: nothing is due any more. Whether something was; those who asked hear what came of it, or nothing if the node ends.
    pub(super) async fn end(&mut self, outcome: Option<ReloadOutcome>) -> bool {
        self.put_off().await;
        let askers = std::mem::take(&mut self.askers);
        if let Some(outcome) = outcome {
            tell(askers, &outcome);
        }
        std::mem::take(&mut self.is_due)
    }
}

fn tell(askers: impl IntoIterator<Item = ReloadAsker>, outcome: &ReloadOutcome) {
    for asker in askers {
        let _ = asker.send(outcome.clone());
    }
}

fn broke_off() -> ReloadOutcome {
    Err("it broke off".into())
}

/// What a reload goes by, read and not in force yet.
struct Reread {
    loaded: LoadedConfig,
    token: token::Word,
    evidence: Option<EvidenceFile>,
    listeners: Vec<BoundForward>,
    renewal: Renewal,
}

impl Node {
    /// Loads the file, checks that every change can be made now, and makes them all; or makes none and says
    /// why. Certificates are read again too, whether or not the file changed.
    ///
    /// # Errors
    /// What is wrong, for people. Nothing has changed then.
    async fn reload(self: Arc<Self>) -> ReloadOutcome {
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
        // Whatever can fail, first; and whatever takes as long as a disk likes, on threads that only read: one that is left behind
        // changes nothing any more.
        self.aside.has_room()?;
        let Reread { loaded, token, evidence, listeners, renewal } =
            self.reread(Deadline::after(DEADLINE)).await?;
        self.identity.renew(renewal);
        self.token.set(token);
        self.evidence.set(evidence);
        self.apply(loaded.config, loaded.sha256, listeners);
        Ok(())
    }

    async fn reread(&self, deadline: Deadline) -> Result<Reread, Refusal> {
        if let Some(open) = self.logs.opener() {
            self.logs.follow(self.aside.run(deadline, "logging.output", open).await?);
        }
        let path = self.config_path.clone();
        let name = path.display().to_string();
        let loaded = self.aside.run(deadline, &name, move || load(&path, Colour::Off)).await?;
        let loaded = loaded
            .map_err(|failure| Refusal { summary: failure.summary, text: failure.rendered })?;
        let config = loaded.config.clone();
        let restart = plan::restart_keys(&self.current().config, &config);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(format!("a restart is needed to change {keys}").into());
        }
        let evidence = self.open_evidence(&config, deadline).await?;
        let listeners = self.bind_forwards(&config, deadline).await?;
        let read = move || token::read(&config);
        let token = self.aside.run(deadline, "admin.tokenFile", read).await??;
        let identity = self.identity.clone();
        let read = move || identity.read_again();
        let renewal = self.aside.run(deadline, "keys.cert, keys.key or keys.ca", read).await?;
        let renewal = renewal.map_err(|error| crate::exit::chain(&error))?;
        Ok(Reread { loaded, token, evidence, listeners, renewal })
    }

    async fn open_evidence(
        &self,
        config: &Config,
        deadline: Deadline,
    ) -> Result<Option<EvidenceFile>, Refusal> {
        let Some(path) = config.byzantine.evidence_log.clone() else { return Ok(None) };
        let log = self.evidence.clone();
        let open = move || log.open(path.as_path());
        Ok(Some(self.aside.run(deadline, "byzantine.evidenceLog", open).await??))
    }

    async fn bind_forwards(
        &self,
        config: &Config,
        deadline: Deadline,
    ) -> Result<Vec<BoundForward>, Refusal> {
        let (mut listeners, to_bind) = self.new_forwards(config);
        for spec in to_bind {
            let what = format!("forward {}: listen: {}", spec.name, spec.listen);
            let failed = format!("forward {}: cannot listen on {}", spec.name, spec.listen);
            let failed = |error| format!("{failed}: {error}");
            let named = spec.clone();
            let resolved = self.aside.resolve(deadline, &what, move || named.resolve()).await?;
            let bound = spec.bind_to(&resolved.map_err(failed)?).await;
            listeners.push(bound.map_err(failed)?);
        }
        Ok(listeners)
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
