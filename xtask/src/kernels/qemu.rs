//! Boots a kernel in QEMU and reads what the guest reports on the serial console.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{exec, paths};

/// The time limit from power on to power off. Two to six minutes are usual without KVM, several times as many on a busy
/// machine.
const LIMIT: Duration = Duration::from_secs(1500);

/// How many of its last lines are repeated of a guest that failed.
const LAST_LINES: usize = 25;

/// What the guest reported.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    pub(crate) skips: Vec<String>,
    pub(crate) failures: Vec<String>,
    /// How many checks passed and failed, if the guest got to its end.
    pub(crate) result: Option<(u64, u64)>,
}

impl Report {
    fn add(&mut self, line: &str) {
        if let Some(skip) = line.strip_prefix("SKIP") {
            self.skips.push(skip.trim_start_matches([':', ' ']).to_owned());
        } else if let Some(failure) = line.strip_prefix("FAILED ") {
            self.failures.push(failure.to_owned());
        } else if let Some(counts) = line.strip_prefix("kernel-guest: ") {
            self.result = result(counts);
        }
        self.lines.push(line.to_owned());
    }

    /// The end of the console's output.
    pub(crate) fn last_lines(&self) -> String {
        self.lines[self.lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// Reads "3 passed, 0 failed".
fn result(counts: &str) -> Option<(u64, u64)> {
    let (passed, failed) = counts.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

/// Boots the kernel and waits until the guest powers off. Shows the guest's console, each line after `name`.
pub(crate) fn boot(name: &str, kernel: &Path, initramfs: &Path) -> Result<Report> {
    let program = paths::executable("qemu-system-x86_64").context("there is no qemu-system-x86_64")?;
    // A machine that hangs must not outlive this process, however the process ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    // KVM is not used, since it is missing or hangs in many virtual machines, and the few seconds don't matter.
    command
        .args(["-accel", "tcg", "-m", "1024", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", exec::shown(&command)))?;
    let outcome = watch(name, &mut child);
    // A guest that hangs must not stay. If QEMU has already ended, the kill does nothing.
    child.kill()?;
    let status = child.wait()?;
    let report = outcome?;
    if report.lines.is_empty() {
        bail!("{} printed nothing ({status})", exec::shown(&command));
    }
    Ok(report)
}

fn watch(name: &str, child: &mut Child) -> Result<Report> {
    let lines = lines(child.stdout.take().context("QEMU has no output")?);
    let mut report = Report::default();
    let end = Instant::now() + LIMIT;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("[{name}] {line}");
                report.add(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(report),
            Err(RecvTimeoutError::Timeout) => {
                let last = report.last_lines();
                bail!("the guest did not power off within {} s; it last said:\n{last}", LIMIT.as_secs())
            }
        }
    }
}

/// Reads lines in a thread, so that waiting for a line can time out.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(cleaned(&line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The line without the control sequences by which the firmware sets up a terminal. They would clear the user's screen.
fn cleaned(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // A control sequence ends with its first letter.
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else if !character.is_control() || character == '\t' {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_lines_are_understood() {
        let mut report = Report::default();
        let lines =
            ["ok bpffs", "FAILED load: no such map", "SKIP frags: needs 5.18", "kernel-guest: 1 passed, 1 failed"];
        lines.iter().for_each(|line| report.add(line));
        assert_eq!(report.result, Some((1, 1)));
        assert_eq!(report.failures, ["load: no such map"]);
        assert_eq!(report.skips, ["frags: needs 5.18"]);
    }

    #[test]
    fn a_damaged_result_is_none() {
        assert_eq!(result("1 passed"), None);
        assert_eq!(result("x passed, 0 failed"), None);
    }

    #[test]
    fn terminal_sequences_are_dropped() {
        assert_eq!(cleaned(b"\x1bc\x1b[?7l\x1b[2Jok bpffs\r"), "ok bpffs");
    }
}
