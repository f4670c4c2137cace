//! `dwcp-ctl copy`.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Copy, Global};
use super::output::Output;
use super::peers::understood;
use super::route::Route;
use super::table::table;
use crate::exit::{Exit, Failure};
use crate::node::commands::Operation;
use crate::service::file::{CopyProgress, CopyReport};
use crate::units;

pub(super) fn run(arguments: &Copy, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let (peer, directory, files) = operands(&arguments.operands)?;
    let route = Route::find(&arguments.via, global, output)?;
    let operation = Operation::Copy {
        peer,
        directory,
        files,
        recursive: arguments.recursive,
        compress: !arguments.no_compress,
    };
    let bar = bar(output);
    let value = route.run(operation, None, &mut |state: CopyProgress| {
        bar.set_length(state.bytes_total);
        bar.set_position(state.bytes);
        bar.set_message(format!("{}/{} files", state.files, state.files_total));
    });
    bar.finish_and_clear();
    let value = value?;
    let report: CopyReport = understood(&value)?;
    output.result(&value, || text(&report))?;
    Ok(Exit::Ok)
}

/// Splits `FILE… PEER:DIR`. Paths become absolute: the daemon's directory is another.
fn operands(operands: &[String]) -> Result<(String, String, Vec<PathBuf>), Failure> {
    let (target, files) = operands.split_last().expect("two at least");
    let Some((peer, directory)) = target.split_once(':') else {
        let message =
            format!("`{target}` is not PEER:DIR, such as node-b:backups, or node-b: alone");
        return Err(Failure::usage(message));
    };
    if directory.starts_with('/') {
        let message = format!(
            "`{directory}`: the directory is below the one where {peer} takes files; write it without the first /"
        );
        return Err(Failure::usage(message));
    }
    let absolute = |file: &String| {
        std::path::absolute(file).map_err(|error| Failure::problem(format!("{file}: {error}")))
    };
    let files = files.iter().map(absolute).collect::<Result<_, _>>()?;
    // `node-b:.` is what a shell user writes for the directory itself.
    let directory = directory.trim_start_matches("./").trim_end_matches("/.");
    let directory = if directory == "." { "" } else { directory };
    Ok((peer.to_owned(), directory.to_owned(), files))
}

fn bar(output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{bar:30} {percent:>3} %  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {msg}  ETA {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Files that are listed one by one; of more, only the sum is told.
const LISTED: usize = 12;

fn text(report: &CopyReport) -> String {
    let is_short = report.files.len() <= LISTED;
    let rows: Vec<_> = report.files[..if is_short { report.files.len() } else { 0 }]
        .iter()
        .map(|file| {
            vec![file.name.clone(), units::bytes(file.bytes), format!("sha256 {}", file.sha256)]
        })
        .collect();
    let back = match report.reconnects {
        0 => String::new(),
        times => format!(", through {times} broken connections"),
    };
    let what = match report.files.len() {
        _ if is_short => String::new(),
        files => format!("{files} files, "),
    };
    format!(
        "{}{what}{} to {}:{} in {:.2} s, {}{back}; each checksum verified by the receiver\n",
        table(&rows),
        units::bytes(report.bytes),
        report.peer,
        report.directory,
        report.seconds,
        units::rate(report.bytes_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_operand_is_the_target() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (peer, directory, files) = operands(&words(&["/a", "b", "node:in/box"])).unwrap();
        assert_eq!((peer.as_str(), directory.as_str()), ("node", "in/box"));
        assert!(files.len() == 2 && files.iter().all(|file| file.is_absolute()));
        assert_eq!(operands(&words(&["a", "b"])).unwrap_err().exit, Exit::Usage);
        assert_eq!(operands(&words(&["a", "b:/etc"])).unwrap_err().exit, Exit::Usage);
        assert_eq!(operands(&words(&["a", "b:"])).unwrap().1, "");
    }
}
