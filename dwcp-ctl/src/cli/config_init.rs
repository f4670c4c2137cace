//! `dwcp-ctl config init`: the commented sample of a mode, with the node's own values put in.

use std::path::{Path, PathBuf};

use clap::Args;
use dwcp_core::config::{Colour, Mode, NodeId, load_str, sample, schema};
use dwcp_tcp::keygen::write_file;
use serde_json::json;

use super::args::SampleMode;
use super::output::Output;
use crate::exit::{Exit, Failure, chain};

/// The schema's file, as the first line of every sample names it.
const SCHEMA_FILE: &str = "dwcp-v3.schema.json";

/// What the sample is filled with; all else stays as it is.
#[derive(Debug, Args)]
pub(super) struct ConfigInit {
    /// Where the node lives.
    #[arg(long, value_enum)]
    mode: SampleMode,
    // Not `--node`: that is the node to speak to, an option of every command.
    /// The node's id [default: the name in its certificate]
    #[arg(long, value_name = "NODE", value_parser = parse_node)]
    node_id: Option<NodeId>,
    /// Where node.crt, node.key and ca.crt are, as `keys init` makes them [default: /etc/dwcp/keys]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// An address that takes sessions; may be given again [default: all, port 443 in internet mode, else 8080]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Vec<String>,
    /// A peer and an address of it; may be given again, also for another address. Without an address it dials us
    #[arg(long, value_name = "NODE[=HOST:PORT]", value_parser = parse_peer)]
    peer: Vec<PeerWord>,
    /// An address of the admin HTTP server, or `none`; may be given again [default: 127.0.0.1:9100 and [::1]:9100]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Vec<String>,
    /// Write it here, and the schema for editors beside it, instead of printing it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// One `--peer`.
#[derive(Clone, Debug)]
struct PeerWord {
    node: NodeId,
    address: Option<String>,
}

fn parse_node(word: &str) -> Result<NodeId, String> {
    NodeId::new(word).map_err(|error| error.to_string())
}

fn parse_peer(word: &str) -> Result<PeerWord, String> {
    let (node, address) = match word.split_once('=') {
        Some((node, address)) => (node, Some(address.to_owned())),
        None => (word, None),
    };
    Ok(PeerWord { node: parse_node(node)?, address })
}

pub(super) fn init(words: &ConfigInit, output: &Output) -> Result<Exit, Failure> {
    let text = fill(words)?;
    let Some(path) = &words.file else {
        let value = json!({ "schema": "dwcp.config-init/v1", "text": text });
        return output.result(&value, || text).map(|()| Exit::Ok);
    };
    let written = write_file(path, text.as_bytes(), 0o644, words.force);
    written.map_err(|error| Failure::problem(chain(&error)))?;
    let schema_file = write_schema(path)?;
    if output.is_json() {
        let value =
            json!({ "schema": "dwcp.config-init/v1", "file": path, "schema_file": schema_file });
        output.result(&value, String::new)?;
    }
    let (path, schema_file) = (path.display(), schema_file.display());
    output.note(&format!(
        "wrote {path}, and {schema_file} for editors; next: dwcp-ctl config validate {path}"
    ));
    Ok(Exit::Ok)
}

/// Writes the schema beside the configuration `path`. One that is there is of another version at most: it goes.
fn write_schema(path: &Path) -> Result<PathBuf, Failure> {
    let beside = path.with_file_name(SCHEMA_FILE);
    let text = serde_json::to_string_pretty(&schema()).expect("a schema is plain data") + "\n";
    if std::fs::read(&beside).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(beside);
    }
    let written = write_file(&beside, text.as_bytes(), 0o644, true);
    written.map_err(|error| Failure::problem(chain(&error)))?;
    Ok(beside)
}

/// The sample with the values in it, or what the loader says against them.
fn fill(words: &ConfigInit) -> Result<String, Failure> {
    let mode = match words.mode {
        SampleMode::Datacenter => Mode::Datacenter,
        SampleMode::Internet => Mode::Internet,
        SampleMode::Hybrid => Mode::Hybrid,
    };
    let text = replace(sample(mode), &replacements(words)?);
    let loaded = load_str("configuration", &text);
    if loaded.config.is_none() {
        let found = loaded.render(Colour::Off);
        return Err(Failure::problem(format!(
            "nothing was written, because these values make no valid configuration:\n{found}"
        )));
    }
    Ok(text)
}

/// How a line of the sample begins, and the lines that take its place.
type Replacement = (&'static str, String);

fn replacements(words: &ConfigInit) -> Result<Vec<Replacement>, Failure> {
    let mut all = Vec::new();
    if let Some(node) = &words.node_id {
        all.push(("# nodeId:", format!("nodeId: {}\n", quoted(node.as_str()))));
    }
    if !words.listen.is_empty() {
        all.push(("# listen:", format!("listen: [{}]\n", list(&words.listen))));
    }
    if !words.peer.is_empty() {
        all.push(("# peers:", peers(&words.peer)));
    }
    match words.admin.as_slice() {
        [] => {}
        [none] if none == "none" => all.push(("# admin:", "admin:\n  listen: []\n".into())),
        some => all.push(("# admin:", format!("admin:\n  listen: [{}]\n", list(some)))),
    }
    let Some(keys) = &words.keys else { return Ok(all) };
    // Absolute, because the file may be moved, and a daemon's directory is not this one.
    let keys = std::path::absolute(keys)
        .map_err(|error| Failure::problem(format!("{}: {error}", keys.display())))?;
    let starts = ["  cert: ", "  key: ", "  ca: "];
    for (start, name) in starts.into_iter().zip(["node.crt", "node.key", "ca.crt"]) {
        let path = keys.join(name);
        let path = path.to_str().ok_or_else(|| {
            let directory = keys.display();
            Failure::problem(format!("{directory}: is no UTF-8, which a configuration wants"))
        })?;
        all.push((start, format!("{start}{}\n", quoted(path))));
    }
    Ok(all)
}

fn peers(words: &[PeerWord]) -> String {
    let mut text = "peers:\n".to_owned();
    let mut done: Vec<&NodeId> = Vec::new();
    for PeerWord { node, .. } in words {
        if done.contains(&node) {
            continue;
        }
        done.push(node);
        let of_this = words.iter().filter(|word| word.node == *node);
        let addresses: Vec<_> = of_this.filter_map(|word| word.address.clone()).collect();
        text.push_str(&format!("  - nodeId: {}\n", quoted(node.as_str())));
        text.push_str(&format!("    addresses: [{}]\n", list(&addresses)));
    }
    text
}

/// A name such as `1.5` or `true` would be something else without quotes. JSON's are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")
}

/// Puts each replacement in the place of its line and of the commented lines below it that belong to it.
fn replace(sample: &str, replacements: &[Replacement]) -> String {
    let mut text = String::with_capacity(sample.len() + 256);
    let mut is_below = false;
    for line in sample.lines() {
        is_below &= line.starts_with("#   ");
        if is_below {
            continue;
        }
        match replacements.iter().find(|(start, _)| line.starts_with(start)) {
            Some((_, new)) => {
                // What comes now is no example any more.
                if text.ends_with(" Example:\n") {
                    text.truncate(text.len() - " Example:\n".len());
                    text.push('\n');
                }
                text.push_str(new);
                is_below = line.starts_with('#');
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        words: ConfigInit,
    }

    fn words(mode: &str, line: &str) -> ConfigInit {
        let all = ["init", "--mode", mode].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(all).map(|line| line.words).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_sample_takes_every_value_and_loses_nothing_else() {
        let line = "--node-id 1.5 --keys /k --listen 127.0.0.1:7441 --listen [::1]:7441 \
                    --peer true=a.example:1 --peer b --peer true=192.0.2.1:2 --admin 127.0.0.1:9200";
        for mode in ["datacenter", "internet", "hybrid"] {
            let text = fill(&words(mode, line)).unwrap_or_else(|error| panic!("{error:?}"));
            let config = load_str("f", &text).config.expect("valid");
            let said = |value: &dyn serde_json::value::Index| {
                serde_json::to_value(&config).map(|all| all[value].clone()).expect("plain data")
            };
            assert_eq!(said(&"nodeId"), "1.5");
            assert_eq!(said(&"listen"), json!(["127.0.0.1:7441", "[::1]:7441"]));
            let peers = json!([
                { "nodeId": "true", "addresses": ["a.example:1", "192.0.2.1:2"] },
                { "nodeId": "b", "addresses": [] },
            ]);
            assert_eq!(said(&"peers"), peers);
            assert_eq!(said(&"admin")["listen"], json!(["127.0.0.1:9200"]));
            let keys = said(&"keys");
            assert_eq!(
                (&keys["cert"], &keys["key"], &keys["ca"]),
                (&json!("/k/node.crt"), &json!("/k/node.key"), &json!("/k/ca.crt"))
            );
            let bare = fill(&words(mode, "")).expect("the sample itself");
            let kept = bare.lines().filter(|line| text.lines().any(|new| new == *line)).count();
            // nodeId, listen, three lines of peers and the word "Example" above, three of keys, two of admin.
            assert_eq!(bare.lines().count() - kept, 11, "{text}");
        }
    }

    #[test]
    fn no_admin_server_is_an_empty_list() {
        let text = fill(&words("internet", "--admin none")).expect("valid");
        assert!(text.contains("\nadmin:\n  listen: []\n"), "{text}");
    }

    #[test]
    fn values_that_cannot_be_are_shown_where_they_are() {
        for (line, word) in [
            ("--node-id west --peer west=a:1", "DWCP-C052"),
            ("--listen somewhere", "^^^^"),
            ("--peer east=a:1 --peer north=a:1", "DWCP-C"),
        ] {
            let failure = format!("{:?}", fill(&words("internet", line)).expect_err(line));
            assert!(failure.contains(word) && failure.contains("nothing was written"), "{failure}");
        }
        let parse = |line: &str| Line::try_parse_from(line.split(' ')).is_ok();
        assert!(!parse("init --mode internet --node-id no/slash"));
        assert!(!parse("init --mode internet --peer =a:1"));
    }
}
