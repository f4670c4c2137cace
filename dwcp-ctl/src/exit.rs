//! Exit codes: what they mean, in one place.

use std::process::ExitCode;

/// How a command of `dwcp-ctl` ended. `--help` lists the codes; tests assert them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all is well.
    Ok,
    /// 1: a problem was found, or the command failed.
    Problem,
    /// 2: the command line is wrong.
    Usage,
    /// 3: it works, but worse than it should.
    Degraded,
    /// 4: the daemon or the peer cannot be reached.
    Unreachable,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Problem => 1,
            Self::Usage => 2,
            Self::Degraded => 3,
            Self::Unreachable => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// `dwcpd`: the configuration is wrong (EX_CONFIG of sysexits.h). Restarting does not help.
pub const DAEMON_CONFIG: u8 = 78;
/// `dwcpd`: a device that the configuration requires is not there (EX_UNAVAILABLE).
pub const DAEMON_UNAVAILABLE: u8 = 69;

/// The text `dwcp-ctl --help` ends with.
pub const CTL_CODES: &str = "\
Exit codes:
  0  all is well
  1  a problem was found, or the command failed
  2  the command line is wrong
  3  it works, but degraded
  4  the daemon or the peer cannot be reached";

/// The text `dwcpd --help` ends with.
pub const DAEMON_CODES: &str = "\
Exit codes:
   0  stopped; nothing was lost
   1  stopped with work cut off or messages un-acked, or failed; the log says what
   2  the command line is wrong
  69  a device the configuration requires is not there
  78  the configuration is wrong

Signals:
  HUP   reload the configuration, all or nothing
  USR2  restart: a new process takes over, this one ends what it has begun
  TERM  drain: nothing new, what runs may end, then stop; a second one stops at once
  INT   as TERM";

/// A command's failure: how to exit and what to say on stderr.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong and what to do, for people.
    pub message: String,
}

impl Failure {
    /// A problem: exit code 1.
    pub fn problem(message: impl Into<String>) -> Self {
        Self { exit: Exit::Problem, message: message.into() }
    }

    /// A wrong command line: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Nobody answers: exit code 4.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, message: message.into() }
    }
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        // Many errors repeat their source in their own words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = source.source();
    }
    // A peer may have chosen some of them.
    escaped(&text)
}

/// Words that somebody else has chosen, such as a peer, or whoever named a file: what would steer a terminal, begin a line or
/// turn the order of letters around is written as its number.
pub fn escaped(words: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut text = String::with_capacity(words.len());
    for letter in words.chars() {
        match steers(letter) {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("{source}: another process has it")]
        struct Wrapped {
            source: std::io::Error,
        }
        let source = std::io::Error::other("cannot listen");
        assert_eq!(chain(&Wrapped { source }), "cannot listen: another process has it");
    }

    #[test]
    fn the_help_lists_every_code() {
        for exit in [Exit::Ok, Exit::Problem, Exit::Usage, Exit::Degraded, Exit::Unreachable] {
            assert!(CTL_CODES.contains(&format!("\n  {}  ", exit.code())));
        }
        for code in [DAEMON_CONFIG, DAEMON_UNAVAILABLE] {
            assert!(DAEMON_CODES.contains(&format!("\n  {code}  ")));
        }
    }

    #[test]
    fn words_of_others_steer_no_terminal() {
        let words = "no\u{1b}[2J\r\n\u{9b}1A\u{202e}txt.exe \u{e4}\u{1f600} \\ `x`";
        let shown = r"no\u{1b}[2J\r\n\u{9b}1A\u{202e}txt.exe ";
        assert_eq!(escaped(words), format!("{shown}\u{e4}\u{1f600} \\ `x`"));
        let error = std::io::Error::other("the peer closed it: \u{1b}]0;x\u{7}");
        assert_eq!(chain(&error), r"the peer closed it: \u{1b}]0;x\u{7}");
    }
}
