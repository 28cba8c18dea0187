//! A channel for commands to the machine, through a port of the machine that needs no network.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::{UnixListener, UnixStream},
    process::Stdio,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jit_tests::Process;

/// The time limit for a command, which only a command that hangs exceeds. The limit is long, since there is no KVM.
const LIMIT: Duration = Duration::from_secs(240);
/// The time beyond the limit for the way to the machine and back.
const MARGIN: Duration = Duration::from_secs(60);

/// The host's end of the channel.
pub(crate) struct Channel {
    stream: UnixStream,
    lines: Receiver<String>,
    number: u64,
}

/// The output of a command, and how the command ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    /// Standard output and standard error.
    pub(crate) output: String,
}

impl Channel {
    /// Waits until QEMU connects to its end of the socket, while QEMU runs.
    pub(crate) fn accept(listener: &UnixListener, qemu: &Process) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("QEMU can't connect"),
            }
            // QEMU connects before the machine starts, or ends because it can't connect.
            ensure!(qemu.is_running(), "QEMU: {}", qemu.report());
            thread::sleep(Duration::from_millis(20));
        };
        stream.set_nonblocking(false)?;
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stream, lines, number: 0 })
    }

    /// Waits until the machine accepts commands after a start.
    pub(crate) fn ready(&mut self, within: Duration) -> Result<()> {
        self.line(within, |line| line.starts_with("ready ").then_some(())).context("the machine does not come up")
    }

    /// Runs a command in the machine's shell, as root.
    pub(crate) fn run(&mut self, command: &str) -> Result<Answer> {
        self.start(command)?;
        let number = format!("{} ", self.number);
        let answer = self
            .line(LIMIT + MARGIN, |line| line.strip_prefix(&number).map(str::to_owned))
            .with_context(|| format!("no answer to `{command}`"))?;
        let (status, output) = answer.split_once(' ').unwrap_or((&answer, ""));
        let status = status.parse().with_context(|| format!("`{command}` was answered with '{answer}'"))?;
        Ok(Answer { status, output: decoded(output)?.trim_end().to_owned() })
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn done(&mut self, command: &str) -> Result<String> {
        let answer = self.run(command)?;
        ensure!(answer.status == 0, "`{command}` ended with {}: {}", answer.status, answer.output);
        Ok(answer.output)
    }

    /// Makes the machine run a command without waiting for the command's end.
    pub(crate) fn start(&mut self, command: &str) -> Result<()> {
        self.number += 1;
        let line = format!("{} {} {}\n", self.number, LIMIT.as_secs(), encoded(command)?);
        self.stream.write_all(line.as_bytes()).with_context(|| format!("cannot send `{command}`"))
    }

    /// Returns the first line that `wanted` accepts. Other lines may be left from earlier commands.
    fn line<T>(&mut self, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("nothing came in {within:?}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the machine is gone"),
            }
        }
    }
}

fn encoded(text: &str) -> Result<String> {
    through(&["-w0"], text.as_bytes()).map(|text| text.trim().to_owned())
}

fn decoded(text: &str) -> Result<String> {
    through(&["--decode"], text.as_bytes())
}

/// Pipes bytes through coreutils' `base64`.
fn through(options: &[&str], input: &[u8]) -> Result<String> {
    let mut command = std::process::Command::new("base64");
    let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("base64")?;
    let mut stdin = child.stdin.take().context("base64 takes no input")?;
    let input = input.to_owned();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let written = writer.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    ensure!(output.status.success() && written.is_ok(), "base64 ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
