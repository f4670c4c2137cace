//! Who depends on whom, and why.

use crate::File;

/// What each crate may depend on within the workspace. `benches` measures them all.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("dwcp-core", &[]),
    ("dwcp-tcp", &["dwcp-core"]),
    ("dwcp-rdma", &["dwcp-core"]),
    ("dwcp-hybrid", &["dwcp-core", "dwcp-tcp", "dwcp-rdma"]),
    ("dwcp-ctl", &["dwcp-core", "dwcp-tcp", "dwcp-rdma", "dwcp-hybrid"]),
    ("benches", &["dwcp-core", "dwcp-tcp", "dwcp-rdma", "dwcp-hybrid", "dwcp-ctl"]),
];

/// `(name, rest of the line)` of each dependency, of every kind.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut is_table = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            is_table = line.trim_end_matches(']').ends_with("dependencies");
        }
        let (name, rest) = line.split_once(['=', '.'])?;
        (is_table && !line.starts_with(['#', '['])).then_some((name.trim(), rest))
    })
}

/// The workspace member that a manifest belongs to, unless it is a workspace of its own.
fn member(file: &File) -> Option<&str> {
    file.path.strip_suffix("/Cargo.toml").filter(|name| !name.contains('/'))
}

pub(crate) fn wrong_directions(manifests: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in manifests {
        let Some(name) = member(file) else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(owner, _)| *owner == name) else {
            findings.push(format!(
                "{}: a crate that the architecture does not name; add it to MAY_USE with what it may use",
                file.path
            ));
            continue;
        };
        let ours = dependencies(&file.text).filter(|(used, _)| used.starts_with("dwcp-"));
        findings.extend(ours.filter(|(used, _)| !allowed.contains(used)).map(|(used, _)| {
            format!(
                "{}: {name} must not depend on {used}; move the shared part to dwcp-core, or hand it in \
                 through a trait",
                file.path
            )
        }));
    }
    findings
}

pub(crate) fn versions_outside_the_table(manifests: &[File]) -> Vec<String> {
    let members = manifests.iter().filter(|file| member(file).is_some());
    let loose = |file: &File| {
        let loose = dependencies(&file.text).filter(|(_, rest)| !rest.contains("workspace"));
        let tell = |(name, _)| {
            format!(
                "{}: {name} has a version of its own; put it into the root table and write `{name}.workspace = true`",
                file.path
            )
        };
        loose.map(tell).collect::<Vec<_>>()
    };
    members.flat_map(loose).collect()
}

pub(crate) fn without_reason(root: &str) -> Vec<String> {
    let foreign = dependencies(root).filter(|(name, _)| !name.starts_with("dwcp-"));
    let silent = foreign.filter(|(_, rest)| {
        rest.rsplit_once("# ").is_none_or(|(_, reason)| reason.trim().len() < 8)
    });
    silent
        .map(|(name, _)| {
            format!("Cargo.toml: {name} has no reason; write one behind a `#` on its line")
        })
        .collect()
}

#[test]
fn a_wrong_direction_is_found() {
    let wrong = [
        File::new(
            "dwcp-rdma/Cargo.toml",
            "[dependencies]\ndwcp-core.workspace = true\ndwcp-tcp = { path = \"..\" }\n",
        ),
        File::new("dwcp-extra/Cargo.toml", ""),
    ];
    let findings = wrong_directions(&wrong);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("must not depend on dwcp-tcp"), "{findings:?}");
    let dev =
        [File::new("dwcp-core/Cargo.toml", "[dev-dependencies]\ndwcp-tcp.workspace = true\n")];
    assert_eq!(wrong_directions(&dev).len(), 1);
    let right = [File::new(
        "dwcp-tcp/Cargo.toml",
        "[dependencies]\ndwcp-core.workspace = true\n[features]\ndwcp-ctl = []\n",
    )];
    assert_eq!(wrong_directions(&right), [""; 0]);
}

#[test]
fn a_version_outside_the_table_is_found() {
    let files = [
        File::new(
            "dwcp-tcp/Cargo.toml",
            "[dependencies]\nbytes.workspace = true\nrand = \"0.9\"\n",
        ),
        File::new("benches/peers/Cargo.toml", "[dependencies]\nrand = \"0.9\"\n"),
    ];
    assert_eq!(versions_outside_the_table(&files).len(), 1);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let root = "[workspace.dependencies]\ndwcp-tcp = { path = \"x\" }\na = \"1\"\nb = \"1\" # needed for the b\nc = \"1\" # c\n";
    assert_eq!(without_reason(root).len(), 2);
}
