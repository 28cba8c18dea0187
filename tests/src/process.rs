//! Child processes that can't outlive the test.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::Write as _,
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{net::UnixDatagram, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    Namespace,
    capture::{Capture, Stream},
    sys,
};

/// A program with its arguments, ready to be run in a namespace.
pub struct Program {
    command: Command,
    shown: String,
    notify: Option<PathBuf>,
}

impl Program {
    /// The program at `path`, or the program of that name in `PATH`.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let path = path.as_ref();
        let shown = Path::new(path).file_name().unwrap_or(path).to_string_lossy().into_owned();
        let mut command = Command::new(path);
        command.stdin(Stdio::null());
        // A test must not depend on whether the test itself runs over SSH or under systemd.
        for variable in ["SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "NOTIFY_SOCKET", "LISTEN_FDS"] {
            command.env_remove(variable);
        }
        // A child must not look for the session of its ancestors either.
        command.env("SSH_CONNECTION", "");
        Self { command, shown, notify: None }
    }

    /// The program, run by another user of the sandbox, by name, with the groups that the sandbox gives that user.
    pub fn new_as(user: &str, path: impl AsRef<OsStr>) -> Self {
        // When a process changes its user, the kernel forgets the signal for the death of the parent.
        let options = ["--reuid", user, "--regid", user, "--init-groups", "--pdeathsig", "KILL", "--"];
        Self::new("setpriv").args(options).arg(path)
    }

    /// The program, run by `user` after another user logged in and became `user`, as by `sudo`.
    pub fn new_as_after_login(login_uid: u32, user: &str, path: impl AsRef<OsStr>) -> Self {
        let script = format!("echo {login_uid} > /proc/self/loginuid && exec \"$@\"");
        let options = ["--reuid", user, "--regid", user, "--init-groups", "--pdeathsig", "KILL", "--"];
        Self::new("sh").args(["-c", &script, "sh", "setpriv"]).args(options).arg(path)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        // Writing to a String can't fail.
        let _ = write!(self.shown, " {}", quoted(arg.as_ref()));
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Program::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Lets the test write to the program's standard input, which is empty otherwise.
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// Listens at `socket`, a new path, for the program's reports by sd_notify(3).
    #[must_use]
    pub fn notify_at(mut self, socket: PathBuf) -> Self {
        self.command.env("NOTIFY_SOCKET", &socket);
        self.notify = Some(socket);
        self
    }

    /// The command as a person would type it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Starts the program in the network namespace `namespace`.
    ///
    /// # Errors
    /// The program can't be executed.
    pub fn spawn_in(self, namespace: &Namespace) -> Result<Process> {
        namespace.enter(|| self.spawn())?
    }

    /// Runs the program in `namespace` to its end.
    ///
    /// # Errors
    /// The program can't be executed or doesn't end within `within`. Its exit status isn't checked.
    pub fn run_in(self, namespace: &Namespace, within: Duration) -> Result<Outcome> {
        self.spawn_in(namespace)?.outcome(within)
    }

    /// Starts the program in the current network namespace.
    ///
    /// # Errors
    /// The program can't be executed.
    pub fn spawn(mut self) -> Result<Process> {
        let capture = Capture::default();
        let notify = match &self.notify {
            Some(path) => {
                let socket = UnixDatagram::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
                Some(Arc::new(socket))
            }
            None => None,
        };
        sys::die_with_this_thread(&mut self.command);
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`: is it installed?", self.shown))?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("cannot open a pidfd")?;
        if let Some(pipe) = child.stdout.take() {
            capture.read_lines(Stream::Stdout, pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            capture.read_lines(Stream::Stderr, pipe);
        }
        if let Some(socket) = &notify {
            capture.read_notifications(Arc::clone(socket));
        }
        let (id, stdin, at_exit) = (child.id(), child.stdin.take(), capture.clone());
        let waiter = thread::spawn(move || {
            // Waiting for a child of one's own fails only when somebody else reaped the child.
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
            if let Some(socket) = notify {
                let _ = socket.shutdown(Shutdown::Both);
            }
            at_exit.exited(status);
        });
        Ok(Process { id, pidfd, stdin, capture, shown: self.shown, waiter: Some(waiter) })
    }
}

fn quoted(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("'{text}'") }
}

/// A running child. Dropping the value kills and reaps the child.
pub struct Process {
    id: u32,
    pidfd: OwnedFd,
    stdin: Option<ChildStdin>,
    capture: Capture,
    shown: String,
    waiter: Option<JoinHandle<()>>,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The child's output to `stream` so far, whole lines only.
    #[must_use]
    pub fn text(&self, stream: Stream) -> String {
        self.capture.text(stream)
    }

    /// A mark for [`Process::wait_for_line_after`]: the number of lines so far, of all streams.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.capture.line_count()
    }

    /// Waits for a line of `stream` that contains `wanted`, those already written included, and returns it.
    ///
    /// # Errors
    /// The time is over, or the process ended without such a line; the text shows all output.
    pub fn wait_for_line(&self, stream: Stream, wanted: &str, within: Duration) -> Result<String> {
        self.wait_for_line_after(0, stream, wanted, within)
    }

    /// Like [`Process::wait_for_line`], for lines that were written after `mark` was taken.
    ///
    /// # Errors
    /// The errors of [`Process::wait_for_line`].
    pub fn wait_for_line_after(&self, mark: usize, stream: Stream, wanted: &str, within: Duration) -> Result<String> {
        self.capture.wait_for_line(mark, stream, wanted, within).with_context(|| {
            format!("`{}` wrote no line with '{wanted}' to {stream:?} in {within:?}: {}", self.shown, self.report())
        })
    }

    /// Whether the child still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.capture.wait_for_exit(false, Duration::ZERO).is_none()
    }

    /// Waits for the child's end.
    ///
    /// # Errors
    /// The child still runs after `within`.
    pub fn wait(&self, within: Duration) -> Result<ExitStatus> {
        self.capture
            .wait_for_exit(false, within)
            .with_context(|| format!("`{}` did not end in {within:?}: {}", self.shown, self.report()))
    }

    /// Waits for the child's end, and returns all output.
    ///
    /// # Errors
    /// The child still runs after `within`.
    pub fn outcome(self, within: Duration) -> Result<Outcome> {
        let status = self.capture.wait_for_exit(true, within).with_context(|| {
            format!("`{}` did not end and close its output in {within:?}: {}", self.shown, self.report())
        })?;
        let (stdout, stderr) = (self.text(Stream::Stdout), self.text(Stream::Stderr));
        Ok(Outcome { command: self.shown.clone(), status, stdout, stderr })
    }

    /// Writes a line to the child's standard input.
    ///
    /// # Errors
    /// The program was not started with [`Program::with_stdin`], or the child has closed its standard input.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the process was started without `with_stdin`")?;
        stdin.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("cannot write to `{}`", self.shown))
    }

    /// Sends a signal. A child that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        // The pidfd can't name another process, so sending fails only if the child has ended.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Asks the child to end (SIGTERM), and waits for the end.
    ///
    /// # Errors
    /// The child still runs after `within`.
    pub fn terminate(&self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(within)
    }

    /// Kills the child (SIGKILL), and returns when it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }

    /// All output and how the child ended, for the message of a failing test.
    #[must_use]
    pub fn report(&self) -> String {
        self.capture.report()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The result of a program that ran to its end.
#[derive(Debug)]
pub struct Outcome {
    /// The command as a person would type it.
    pub command: String,
    /// How the program ended.
    pub status: ExitStatus,
    /// The program's standard output.
    pub stdout: String,
    /// The program's standard error.
    pub stderr: String,
}

impl Outcome {
    /// The exit code; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns the outcome if the exit code is 0.
    ///
    /// # Errors
    /// The exit code is another; the text shows all output.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "`{}` ended with {}\n{}{}", self.command, self.status, self.stdout, self.stderr);
        Ok(self)
    }

    /// The program's standard output, parsed as JSON.
    ///
    /// # Errors
    /// The standard output isn't JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| {
            format!("`{}` wrote no JSON, but '{}'", self.command, OsString::from(&self.stdout).display())
        })
    }
}
