//! `dwcp-ctl config …`.

use std::io::Read;
use std::path::{Path, PathBuf};

use dwcp_core::config::{
    Diagnostic, Environment, Loaded, Severity, Source, load_bytes, load_file, schema,
};
use dwcp_hybrid::KeyProblem;
use serde_json::{Value, json};

use super::args::ConfigCommand;
use super::output::Output;
use crate::exit::{Exit, Failure};
use crate::node::token;

pub(super) fn run(command: ConfigCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Validate { files, environment, strict } => {
            validate(&files, environment, strict, output)
        }
        ConfigCommand::Show { file, effective } => show(&file, effective, output),
        ConfigCommand::Schema => {
            let text = serde_json::to_string_pretty(&schema()).expect("a schema is plain data");
            output.print(&text).map(|()| Exit::Ok)
        }
        ConfigCommand::Init(words) => super::config_init::init(&words, output),
    }
}

fn validate(
    files: &[PathBuf],
    environment: bool,
    strict: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let (mut all, mut text, mut is_valid) = (Vec::new(), String::new(), true);
    for path in expand(files)? {
        let mut loaded = read(&path)?;
        if environment {
            look_at_machine(&mut loaded);
        }
        let is_wrong = |diagnostic: &Diagnostic| match diagnostic.severity {
            Severity::Error => true,
            Severity::Warning => strict,
            Severity::Hint => false,
        };
        let is_this_valid = loaded.config.is_some() && !loaded.diagnostics.iter().any(is_wrong);
        is_valid &= is_this_valid;
        if !loaded.diagnostics.is_empty() {
            text.push_str(&loaded.render(output.colour()));
            text.push('\n');
        }
        let verdict = if is_this_valid { "valid" } else { "not valid" };
        text.push_str(&format!("{}: {verdict}\n", path.display()));
        all.extend(loaded.diagnostics);
    }
    let value = json!({
        "schema": "dwcp.config-validate/v1", "valid": is_valid, "diagnostics": all,
    });
    output.result(&value, || text)?;
    Ok(if is_valid { Exit::Ok } else { Exit::Problem })
}

/// Adds what this machine lacks, and what the daemon's own loaders say of the files behind keys and token.
fn look_at_machine(loaded: &mut Loaded) {
    let Some(config) = loaded.config.clone() else { return };
    let found = Environment::default().check(loaded);
    let mut problems = dwcp_hybrid::check_keys(&config);
    if let Err(message) = token::read(&config) {
        let help = "put a long random word in it; mode 0600, and owned by dwcpd's user".into();
        problems.push(KeyProblem { key: "admin.tokenFile", message, help });
    }
    // A file that is missing, or open to others, has been told of.
    let is_told = |key: &str| {
        let name = format!("`{key}`: ");
        found.iter().any(|diagnostic| diagnostic.message.starts_with(&name))
    };
    problems.retain(|problem| !is_told(problem.key));
    loaded.diagnostics.extend(found);
    for problem in problems {
        loaded.refuse_file(problem.key, problem.message, problem.help);
    }
    loaded.diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
}

/// Directories stand for the .yaml and .yml files in them.
fn expand(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in files {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path);
        let entries =
            entries.map_err(|error| Failure::problem(format!("{}: {error}", path.display())))?;
        let is_yaml = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        };
        let mut found: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(is_yaml).collect();
        if found.is_empty() {
            return Err(Failure::problem(format!("{}: has no .yaml file", path.display())));
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Loaded, Failure> {
    if path != Path::new("-") {
        return Ok(load_file(path));
    }
    let mut bytes = Vec::new();
    // The loader refuses longer files by itself; one byte more is enough for it to see that.
    let limit = dwcp_core::config::MAX_BYTES as u64 + 1;
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| Failure::problem(format!("stdin: {error}")))?;
    Ok(load_bytes("<stdin>", &bytes, None))
}

fn show(file: &Path, effective: bool, output: &Output) -> Result<Exit, Failure> {
    let loaded = read(file)?;
    let Some(config) = &loaded.config else {
        return Err(Failure::problem(loaded.render(dwcp_core::config::Colour::Off)));
    };
    if effective {
        let values = loaded.effective();
        let value = json!({ "schema": "dwcp.config-effective/v1", "values": values });
        output.result(&value, || {
            let lines = values.iter().map(|value| {
                let source = match &value.source {
                    Source::Default => "default".to_owned(),
                    Source::File { file, line } => format!("{file}:{line}"),
                };
                vec![value.path.clone(), plain(&value.value), format!("# {source}")]
            });
            super::table::table(&lines.collect::<Vec<_>>())
        })?;
        return Ok(Exit::Ok);
    }
    let value = json!({ "schema": "dwcp.config/v1", "config": config });
    let text = serde_yaml::to_string(config);
    let text = text.map_err(|error| Failure::problem(format!("cannot print: {error}")))?;
    output.result(&value, || text)?;
    Ok(Exit::Ok)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
