//! `dwcp-ctl explain`: what a code means and what to do about it.

use dwcp_core::config::{CodeInfo, codes, nearest};
use serde_json::json;

use super::output::Output;
use crate::exit::{Exit, Failure};
use crate::node::health_codes::HEALTH_CODES;

/// Every code that the product prints.
pub(super) fn all() -> impl Iterator<Item = &'static CodeInfo> {
    codes().iter().chain(HEALTH_CODES)
}

pub(super) fn run(code: Option<&str>, is_markdown: bool, output: &Output) -> Result<Exit, Failure> {
    let Some(code) = code else {
        if is_markdown {
            output.print(&markdown())?;
        } else {
            let list: Vec<_> = all().map(|one| format!("{}  {}", one.code, one.title)).collect();
            let value = json!({
                "schema": "dwcp.codes/v1",
                "codes": all().map(as_json).collect::<Vec<_>>(),
            });
            output.result(&value, || list.join("\n"))?;
        }
        return Ok(Exit::Ok);
    };
    let wanted = code.to_ascii_uppercase();
    let wanted = if wanted.starts_with("DWCP-") { wanted } else { format!("DWCP-{wanted}") };
    let Some(found) = all().find(|one| one.code == wanted) else {
        let known: Vec<_> = all().map(|one| one.code).collect();
        let near = nearest(&wanted, known).map_or_else(
            || "`dwcp-ctl explain` lists all".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        return Err(Failure::usage(format!("there is no code {code}: {near}")));
    };
    let value = json!({ "schema": "dwcp.code/v1", "code": as_json(found) });
    output.result(&value, || format!("{}: {}\n{}", found.code, found.title, found.explanation))?;
    Ok(Exit::Ok)
}

fn as_json(one: &CodeInfo) -> serde_json::Value {
    json!({ "code": one.code, "title": one.title, "explanation": one.explanation })
}

/// docs/errors.md.
fn markdown() -> String {
    let mut text = String::from(
        "# Codes\n\
         Written by `dwcp-ctl explain --markdown`; `dwcp-ctl explain CODE` says the same. A code never gets another meaning.\n\n\
         `DWCP-C` codes are those of `dwcp-ctl config validate` and of a daemon that does not start; `DWCP-H` codes those of\n\
         `dwcp-ctl status` and `/health`.\n\n\
         | code | what | meaning, and what to do |\n|---|---|---|\n",
    );
    for CodeInfo { code, title, explanation, .. } in all() {
        text.push_str(&format!("| {code} | {title} | {explanation} |\n"));
    }
    text
}
