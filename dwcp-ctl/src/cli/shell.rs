//! `dwcp-ctl completions` and `man`.

use std::path::Path;

use clap::Command;

use crate::exit::{Exit, Failure};

pub(super) fn completions(
    shell: clap_complete::Shell,
    command: &mut Command,
) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "dwcp-ctl", &mut text);
    write(&text)
}

pub(super) fn man(directory: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    match directory {
        Some(directory) => {
            let made = std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command, directory));
            made.map_err(|error| Failure::problem(format!("{}: {error}", directory.display())))?;
            Ok(Exit::Ok)
        }
        None => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut text);
            rendered.map_err(|error| Failure::problem(error.to_string()))?;
            write(&text)
        }
    }
}

fn write(text: &[u8]) -> Result<Exit, Failure> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::problem(format!("cannot write: {error}")))
        }
        _ => Ok(Exit::Ok),
    }
}
