//! Peers, forwards and who may do what.

use super::{Rules, duplicates};
use crate::config::codes;
use crate::config::keys::Peers;
use crate::config::keys_node::Files;
use crate::config::names::{NodeId, NodeSet};

/// Peers among which the one that was meant is looked for.
const SUGGESTED_FROM_MAX: usize = 200;

pub(super) fn check(rules: &mut Rules<'_>) {
    peers(rules);
    forwards(rules);
    permissions(rules);
}

fn peers(rules: &mut Rules<'_>) {
    let config = rules.config;
    let peers = config.peers.listed();
    if peers.is_empty() && config.peers != Peers::Any {
        let message = "no peers are listed, so no session is possible";
        let help = "list them under `peers`, or write `peers: any`";
        rules.hint("peers", codes::NO_PEERS, message, help);
    }
    for (index, earlier) in duplicates(peers.iter().map(|peer| &peer.node_id)) {
        let line = rules.line(&format!("peers[{earlier}].nodeId"));
        let message = format!("the peer `{}` is listed twice", peers[index].node_id);
        let help = format!("delete it; the first, on line {line}, may have all addresses");
        rules.error(&format!("peers[{index}].nodeId"), codes::DUPLICATE_PEER, message, help);
    }
    for (index, peer) in peers.iter().enumerate() {
        if config.node_id.as_ref() == Some(&peer.node_id) {
            let message = format!("`{}` is this node itself", peer.node_id);
            let path = format!("peers[{index}].nodeId");
            rules.error(&path, codes::SELF_PEER, message, "delete the entry");
        }
    }
    let owned = peers.iter().enumerate().flat_map(|(index, peer)| {
        peer.addresses.iter().enumerate().map(move |(place, address)| (index, place, address))
    });
    let owned: Vec<_> = owned.collect();
    for (later, earlier) in duplicates(owned.iter().map(|(_, _, address)| *address)) {
        let (index, place, address) = owned[later];
        let first = owned[earlier].0;
        let name = match rules.is_made_up(&format!("peers[{first}].nodeId")) {
            true => "another peer".into(),
            false => format!("`{}`", peers[first].node_id),
        };
        let message = format!("the address {address} is that of {name}, too");
        let path = format!("peers[{index}].addresses[{place}]");
        rules.error(&path, codes::SHARED_ADDRESS, message, "delete it here, or there");
    }
}

fn forwards(rules: &mut Rules<'_>) {
    let config = rules.config;
    let forwards = &config.forwards;
    for (index, earlier) in duplicates(forwards.iter().map(|forward| &forward.name)) {
        let line = rules.line(&format!("forwards[{earlier}].name"));
        let message = format!("the forward name `{}` is used twice", forwards[index].name);
        let help = format!("choose another name; the first is on line {line}");
        rules.error(&format!("forwards[{index}].name"), codes::DUPLICATE_FORWARD, message, help);
    }
    for (index, forward) in forwards.iter().enumerate() {
        let path = format!("forwards[{index}].peer");
        if config.node_id.as_ref() == Some(&forward.peer) {
            let message = format!("`{}` is this node itself", forward.peer);
            rules.error(
                &path,
                codes::SELF_FORWARD,
                message,
                "name the node that the target is near, or delete the forward",
            );
        } else {
            rules.known_peer(&path, &forward.peer);
        }
        if !forward.listen.is_loopback() {
            let name = match rules.is_made_up(&format!("forwards[{index}].name")) {
                true => "the forward".into(),
                false => format!("`{}`", forward.name),
            };
            let message = format!("{name} listens on {}, off loopback", forward.listen);
            let help =
                "listen on 127.0.0.1, or guard it: whoever reaches it uses this node's identity";
            rules.warning(&format!("forwards[{index}].listen"), codes::OPEN_FORWARD, message, help);
        }
    }
}

fn permissions(rules: &mut Rules<'_>) {
    let targets = &rules.config.forward_targets;
    for (index, earlier) in duplicates(targets.iter().map(|entry| &entry.target)) {
        let line = rules.line(&format!("forwardTargets[{earlier}]"));
        let message = format!("the target {} is listed twice", targets[index].target);
        let help = format!("delete one; the first is on line {line}");
        rules.error(&format!("forwardTargets[{index}]"), codes::DUPLICATE_TARGET, message, help);
    }
    for (index, entry) in targets.iter().enumerate() {
        rules.known_nodes(&format!("forwardTargets[{index}].from"), &entry.from);
    }
    let config = rules.config;
    let files = &config.files;
    rules.known_nodes("files.from", &files.from);
    // A default that is written down, as `config show` does, promises nothing.
    let default = Files::defaults(config.mode);
    let path = [
        ("files.from", files.from != default.from),
        ("files.maxFileSize", files.max_file_size != default.max_file_size),
        ("files.keepFree", files.keep_free != default.keep_free),
    ]
    .into_iter()
    .find_map(|(path, is_set)| is_set.then_some(path));
    let is_absent =
        files.receive_directory.is_none() && rules.is_sound(&["files.receiveDirectory"]);
    if let (true, Some(path)) = (is_absent, path) {
        let message = format!("`{path}` has no effect: no files are received");
        let help = "add files.receiveDirectory, or delete the line";
        rules.warning(path, codes::NO_EFFECT, message, help);
    }
}

impl Rules<'_> {
    fn known_peer(&mut self, path: &str, node: &NodeId) {
        // With a name among the peers wrong or missing, that one may be meant.
        let is_fine = match &self.peers {
            Some(names) => self.config.peers == Peers::Any || names.contains(node.as_str()),
            None => true,
        };
        if is_fine || self.is_full() {
            return;
        }
        let message = format!("`{node}` is not among `peers`");
        // Each unknown name is compared with each that is known: both are as many as the file's writer likes.
        let known = self.config.peers.listed();
        let may_guess = known.len() <= SUGGESTED_FROM_MAX && known.len() <= self.comparisons_left;
        let known = if may_guess { known } else { &[] };
        self.comparisons_left -= known.len();
        let known = known.iter().map(|peer| peer.node_id.as_str());
        let help = crate::config::suggest::nearest(node.as_str(), known).map_or_else(
            || "add it to `peers`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(path, codes::UNKNOWN_PEER, message, help);
    }

    fn known_nodes(&mut self, path: &str, nodes: &NodeSet) {
        let NodeSet::Only(ids) = nodes else { return };
        for (index, id) in ids.iter().enumerate() {
            self.known_peer(&format!("{path}[{index}]"), id);
        }
        for (index, _) in duplicates(ids) {
            let message = format!("`{}` is listed twice", ids[index]);
            let path = format!("{path}[{index}]");
            self.error(&path, codes::DUPLICATE_NAME, message, "delete one");
        }
    }
}
