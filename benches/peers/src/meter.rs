//! The server's process as the client sees it, and the measured part of a run: when it began and ended, and what both
//! processes used in between.
//!
//! The client asks by the server's standard input, a word a line: `usage`, or `total` once all is sent. The server
//! answers on its standard output. It ends when its input closes, so it never outlives the client.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::identity::Identity;
use crate::options::Options;
use crate::peer::Peer;
use crate::schedule::Usage;

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(peer: Peer, options: &Options) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(options.for_server(peer))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("the server has no output")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("the server has no input")?;
        Ok(input.write_all(line.as_bytes())?)
    }

    fn answer(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim().strip_prefix("failed: ") {
            _ if line.is_empty() => Err("the server ended".into()),
            Some(error) => Err(format!("the server: {error}").into()),
            None => Ok(line.trim().into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended already; there is nothing to do about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the measured part of a run took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub duration: Duration,
    pub client: Usage,
    pub server: Usage,
}

/// A moment, and what both processes had used by then.
struct Moment {
    at: Instant,
    client: Usage,
    server: Usage,
}

pub struct Meter {
    server: Server,
    begun: Option<Moment>,
    measured: Option<Measured>,
}

impl Meter {
    /// Starts the server and returns its port as well.
    pub fn start(
        peer: Peer,
        options: &Options,
        identity: &Identity,
    ) -> Result<(Self, u16), Failure> {
        let mut server = Server::start(peer, options)?;
        server.tell(&identity.to_line())?;
        let line = server.answer()?;
        let port = line.parse().map_err(|_| format!("the server said '{line}', not its port"))?;
        Ok((Self { server, begun: None, measured: None }, port))
    }

    fn ask(&mut self, word: &str) -> Result<String, Failure> {
        self.server.tell(&format!("{word}\n"))?;
        self.server.answer()
    }

    /// The measured part begins now.
    pub fn begin(&mut self) -> Result<(), Failure> {
        let server = Usage::from_line(&self.ask("usage")?)?;
        self.begun = Some(Moment { client: Usage::now()?, server, at: Instant::now() });
        Ok(())
    }

    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Since the measured part began.
    pub fn elapsed(&self) -> Duration {
        self.begun.as_ref().map_or(Duration::ZERO, |begun| begun.at.elapsed())
    }

    /// The measured part ends now.
    pub fn end(&mut self) -> Result<(), Failure> {
        let duration = self.elapsed();
        let client = Usage::now()?;
        let server = Usage::from_line(&self.ask("usage")?)?;
        self.note(duration, client, server)
    }

    /// The measured part ends when the server has taken all that was sent; returns how much that is. Blocks: what is
    /// sent must be on its way without further help of this thread.
    pub fn end_with_total(&mut self) -> Result<u64, Failure> {
        let answer = self.ask("total")?;
        let duration = self.elapsed();
        let client = Usage::now()?;
        let (total, server) = answer.split_once(' ').ok_or("a total has two parts")?;
        self.note(duration, client, Usage::from_line(server)?)?;
        Ok(total.parse()?)
    }

    fn note(&mut self, duration: Duration, client: Usage, server: Usage) -> Result<(), Failure> {
        let begun = self.begun.as_ref().ok_or("the measured part never began")?;
        let between = |before: Usage, after: Usage| Usage {
            processor: after.processor.saturating_sub(before.processor),
            resident_bytes: after.resident_bytes.saturating_sub(before.resident_bytes),
        };
        self.measured = Some(Measured {
            duration,
            client: between(begun.client, client),
            server: between(begun.server, server),
        });
        Ok(())
    }

    pub fn measured(self) -> Result<Measured, Failure> {
        self.measured.ok_or_else(|| "the measured part never ended".into())
    }
}
