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

/// One dependency, of any kind and however it is written.
struct Dependency {
    /// The name that the code uses.
    name: String,
    /// Everything the manifest says of it, with what stands behind a `#`.
    text: String,
}

impl Dependency {
    /// Our crates that it brings in: by its name, or by another one.
    fn ours(&self) -> Vec<&str> {
        let mut ours: Vec<&str> = Vec::new();
        if self.name.starts_with("dwcp-") {
            ours.push(&self.name);
        }
        // Where a crate is renamed or a whole table is one value, its name is a value or a key within.
        for (at, _) in self.text.match_indices("dwcp-") {
            let follows_path = self.text[..at].ends_with('/');
            let name = &self.text[at..];
            let end = name.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')));
            let name = &name[..end.unwrap_or(name.len())];
            if !follows_path && !ours.contains(&name) {
                ours.push(name);
            }
        }
        ours
    }
}

/// The parts of a dotted key, without quotes.
fn key_parts(key: &str) -> Vec<String> {
    let (mut parts, mut quote) = (vec![String::new()], None);
    for c in key.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('.', None) => parts.push(String::new()),
            _ => parts.last_mut().expect("one is there").push(c),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// What of a line is neither quoted nor a comment.
fn bare(line: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut quote = None;
    line.char_indices()
        .filter(move |&(_, c)| match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                false
            }
            (_, Some(open)) => {
                quote = (c != open).then_some(open);
                false
            }
            _ => true,
        })
        .take_while(|&(_, c)| c != '#')
}

/// Lines, joined where a value goes on.
fn statements(manifest: &str) -> Vec<String> {
    let (mut statements, mut depth) = (Vec::<String>::new(), 0);
    for line in manifest.lines() {
        match statements.last_mut().filter(|_| depth > 0) {
            Some(last) => *last += &format!("\n{line}"),
            None => statements.push(line.trim().to_owned()),
        }
        for (_, c) in bare(line) {
            depth += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        }
    }
    statements
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<(Vec<String>, Dependency)> = Vec::new();
    let mut table = Vec::new();
    for statement in statements(manifest) {
        let (key, is_header) = match statement.strip_prefix('[') {
            Some(rest) => (rest.split(']').next().unwrap_or(rest), true),
            None => match bare(&statement).find(|&(_, c)| c == '=') {
                Some((at, _)) => (&statement[..at], false),
                None => continue,
            },
        };
        let parts = key_parts(key.trim_matches('['));
        let path = if is_header { parts } else { [table.clone(), parts].concat() };
        if is_header {
            table.clone_from(&path);
        }
        let Some(at) = path.iter().position(|part| part.ends_with("dependencies")) else {
            continue;
        };
        if is_header && path.len() == at + 1 {
            continue; // their table begins
        }
        // A table that is one value has no name of its own.
        let end = path.len().min(at + 2);
        let (place, name) = (path[..end].to_vec(), path[end - 1].clone());
        match found.iter_mut().find(|(known, _)| *known == place) {
            Some((_, dependency)) => dependency.text += &format!("\n{statement}"),
            None => found.push((place, Dependency { name, text: statement })),
        }
    }
    found.into_iter().map(|(_, dependency)| dependency).collect()
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
        for dependency in dependencies(&file.text) {
            let wrong = dependency.ours().into_iter().filter(|used| !allowed.contains(used));
            findings.extend(wrong.map(|used| {
                format!(
                    "{}: {name} must not depend on {used}; move the shared part to dwcp-core, or hand it in \
                     through a trait",
                    file.path
                )
            }));
        }
    }
    findings
}

/// Our crates go by their own names: a member takes a name of the root table without saying what is behind it.
pub(crate) fn renamed(root: &str) -> Vec<String> {
    let tell = |dependency: Dependency| {
        let ours = dependency.ours();
        let others = ours.into_iter().filter(|&used| used != dependency.name);
        let tell = |used| {
            format!("Cargo.toml: {} is {used} by another name; use its own", dependency.name)
        };
        others.map(tell).collect::<Vec<_>>()
    };
    dependencies(root).into_iter().flat_map(tell).collect()
}

pub(crate) fn versions_outside_the_table(manifests: &[File]) -> Vec<String> {
    let members = manifests.iter().filter(|file| member(file).is_some());
    let loose = |file: &File| {
        let all = dependencies(&file.text).into_iter();
        let tell = |Dependency { name, .. }| {
            format!(
                "{}: {name} has a version of its own; put it into the root table and write `{name}.workspace = true`",
                file.path
            )
        };
        all.filter(|found| !found.text.contains("workspace")).map(tell).collect::<Vec<_>>()
    };
    members.flat_map(loose).collect()
}

pub(crate) fn without_reason(root: &str) -> Vec<String> {
    let all = dependencies(root).into_iter();
    let silent = all.filter(|found| !found.name.starts_with("dwcp-")).filter(|found| {
        let reason = found.text.lines().filter_map(|line| line.rsplit_once("# "));
        reason.map(|(_, reason)| reason.trim().len()).max().is_none_or(|bytes| bytes < 8)
    });
    silent
        .map(|Dependency { name, .. }| {
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
fn a_wrong_direction_is_found_however_it_is_written() {
    let ways = [
        "[dependencies.dwcp-ctl]\nworkspace = true\n",
        "[ dev-dependencies . \"dwcp-ctl\" ]\nworkspace = true\n",
        "[dependencies]\nx = { package = \"dwcp-ctl\", path = \"../dwcp-ctl\" }\n",
        "[dependencies]\nx = { features = [\n  \"a\",\n], package = \"dwcp-ctl\" }\n",
        "[dependencies]\n\"dwcp-ctl\" = { workspace = true }\n",
        "[dependencies]\nx.workspace = true\nx.package = 'dwcp-ctl'\n",
        "[dependencies.x]\npackage = \"dwcp-ctl\"\n",
        "[target.'cfg(unix)'.dependencies]\ndwcp-ctl.workspace = true\n",
        "[target.'cfg(target_os = \"linux\")'.build-dependencies.x]\npackage = \"dwcp-ctl\"\n",
        "dependencies.dwcp-ctl.workspace = true\n[features]\n",
        "dependencies = { dwcp-ctl = { workspace = true } }\n",
    ];
    for way in ways {
        let findings = wrong_directions(&[File::new("dwcp-tcp/Cargo.toml", way)]);
        assert_eq!(findings.len(), 1, "{way}{findings:?}");
        assert!(findings[0].contains("must not depend on dwcp-ctl;"), "{findings:?}");
    }
    let right = "[package]\nname = \"dwcp-tcp\"\n[dependencies.dwcp-core]\nworkspace = true\n[features]\nx = [\"dwcp-core/sim\"]\n";
    assert_eq!(wrong_directions(&[File::new("dwcp-tcp/Cargo.toml", right)]), [""; 0]);
}

#[test]
fn another_name_for_one_of_ours_is_found() {
    let root = |line: &str| renamed(&format!("[workspace.dependencies]\n{line}\n")).len();
    assert_eq!(root("x = { package = \"dwcp-ctl\", path = \"dwcp-ctl\" }"), 1);
    assert_eq!(root("dwcp-tcp = { path = \"dwcp-tcp\", version = \"3.0.0\" }"), 0);
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
    let tables = "[workspace.dependencies.a]\nversion = \"1\"\n[workspace.dependencies.b] # needed for the b\nversion = \"1\"\n";
    assert_eq!(without_reason(tables).len(), 1);
}
