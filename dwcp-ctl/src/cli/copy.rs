//! `dwcp-ctl copy`.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Copy, Global};
use super::output::Output;
use super::peers::understood;
use super::route::Route;
use super::table::table;
use crate::exit::{Exit, Failure, escaped};
use crate::node::commands::Operation;
use crate::service::file::{CopyProgress, CopyReport, CopyResult, LeftOut};
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
        verify: arguments.verify,
        limit_bytes_per_second: arguments.limit,
    };
    let bar = bar(output);
    let value = route.run(operation, None, &mut |state: CopyProgress| {
        bar.set_length(state.bytes_total);
        // What is compared is not sent; it takes its time all the same.
        bar.set_position(state.bytes + state.bytes_compared);
        let files = units::counted(state.files_total, "file", "files");
        bar.set_message(format!("{} of {files}", state.files));
    });
    bar.finish_and_clear();
    let value = value?;
    let report: CopyReport = understood(&value)?;
    for (what, list) in [("skipped", &report.skipped), ("NOT copied", &report.failed)] {
        for LeftOut { name, message } in list {
            // Whoever named the files is not whoever reads this.
            output.note(&escaped(&format!("{what}: {name}: {message}")));
        }
    }
    output.result(&value, || text(&report, arguments.verbose))?;
    Ok(match (report.failed.is_empty(), report.skipped.is_empty()) {
        (false, _) => Exit::Problem,
        (true, false) => Exit::Degraded,
        (true, true) => Exit::Ok,
    })
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
    let files = files.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    // They go to the daemon as JSON.
    if let Some(odd) = files.iter().find(|file| file.to_str().is_none()) {
        let message =
            format!("{}: its path is not UTF-8, so that it cannot be named here", odd.display());
        return Err(Failure::usage(message));
    }
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

/// Files that are listed one by one; of more, only how many there are.
const FILES_LISTED: usize = 10;

fn text(report: &CopyReport, is_verbose: bool) -> String {
    let count = report.files.len();
    let is_listed = is_verbose || count <= FILES_LISTED;
    let row = |file: &CopyResult| {
        let was_there = match file.resumed_bytes {
            0 => String::new(),
            bytes if bytes == file.bytes => "was there".into(),
            bytes => format!("went on after {}", units::bytes(bytes)),
        };
        vec![
            escaped(&file.name),
            units::bytes(file.bytes),
            format!("sha256 {}", file.sha256),
            was_there,
        ]
    };
    let rows: Vec<_> = report.files.iter().filter(|_| is_listed).map(row).collect();
    let mut what = Vec::new();
    let mut some = |number: u64, one: &str, many: &str| {
        if number > 0 {
            what.push(units::counted(number, one, many));
        }
    };
    some(if is_listed { 0 } else { count as u64 }, "file", "files");
    some(report.directories, "empty directory", "empty directories");
    some(report.links, "link", "links");
    what.push(units::bytes(report.bytes));
    let mut how = vec![units::rate(report.bytes_per_second)];
    if report.bytes_resumed > 0 {
        how.push(format!("{} were there already", units::bytes(report.bytes_resumed)));
    }
    if report.reconnects > 0 {
        let times = units::counted(report.reconnects, "broken connection", "broken connections");
        how.push(format!("through {times}"));
    }
    let mut left = String::new();
    for (number, words) in [(report.skipped.len(), "skipped"), (report.failed.len(), "NOT copied")]
    {
        if number > 0 {
            left.push_str(&format!("; {} {words}", units::count(number as u64)));
        }
    }
    format!(
        "{}{} to {}:{} in {:.2} s, {}; each checksum verified by the receiver{left}\n",
        table(&rows),
        what.join(", "),
        report.peer,
        report.directory,
        report.seconds,
        how.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn many_files_are_counted_and_few_are_listed() {
        let report = |count: usize| CopyReport {
            schema: "dwcp.copy/v1".into(),
            peer: "b".into(),
            directory: "in".into(),
            files: (0..count)
                .map(|index| CopyResult {
                    name: format!("file{index}"),
                    bytes: 1,
                    sha256: "00".into(),
                    resumed_bytes: 0,
                })
                .collect(),
            directories: 0,
            links: 0,
            skipped: Vec::new(),
            failed: Vec::new(),
            bytes: count as u64,
            bytes_resumed: 0,
            seconds: 1.0,
            bytes_per_second: 1.0,
            reconnects: 0,
        };
        assert_eq!(text(&report(10), false).lines().count(), 11);
        let many = text(&report(11), false);
        assert!(many.lines().count() == 1 && many.starts_with("11 files, 11 B to b:in"), "{many}");
        assert_eq!(text(&report(11), true).lines().count(), 12);
        let once = CopyReport { directories: 1, reconnects: 1, ..report(0) };
        let once = text(&once, false);
        assert!(once.starts_with("1 empty directory, 0 B to b:in"), "{once}");
        assert!(once.contains(", through 1 broken connection;"), "{once}");
        let left_out = LeftOut { name: "x".into(), message: "why".into() };
        let (skipped, failed) = (vec![left_out.clone(); 2], vec![left_out]);
        let again = CopyReport { links: 1, bytes_resumed: 3, skipped, failed, ..report(10) };
        let again = text(&again, false);
        assert!(again.contains("\n1 link, 10 B to b:in"), "{again}");
        assert!(again.contains("/s, 3 B were there already;"), "{again}");
        assert!(again.ends_with("by the receiver; 2 skipped; 1 NOT copied\n"), "{again}");
    }

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
