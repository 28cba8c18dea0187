//! The output of a child process so far, line by line, and waiting for more output without polling.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    os::unix::net::UnixDatagram,
    process::ExitStatus,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The source of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A datagram sent to `$NOTIFY_SOCKET`, see sd_notify(3).
    Notify,
}

/// The record of one child, shared with the threads that read from it.
#[derive(Clone, Default)]
pub(crate) struct Capture {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<(Stream, String)>,
    open_pipes: usize,
    exit: Option<ExitStatus>,
}

impl State {
    /// Whether neither lines nor an exit status can follow any more.
    fn complete(&self) -> bool {
        self.exit.is_some() && self.open_pipes == 0
    }

    fn text(&self, wanted: Stream) -> String {
        let mut text = String::new();
        for (stream, line) in &self.lines {
            if *stream == wanted {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

impl Capture {
    /// Reads `pipe` to its end, on a thread of its own.
    pub(crate) fn read_lines(&self, stream: Stream, pipe: impl Read + Send + 'static) {
        self.lock().open_pipes += 1;
        let capture = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line);
                capture.update(|state| state.lines.push((stream, text.trim_end_matches(['\r', '\n']).to_owned())));
                line.clear();
            }
            capture.update(|state| state.open_pipes -= 1);
        });
    }

    /// Reads notifications on a thread of its own, until the socket is shut down.
    pub(crate) fn read_notifications(&self, socket: Arc<UnixDatagram>) {
        let capture = self.clone();
        thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length @ 1..) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                capture.update(|state| state.lines.extend(text.lines().map(|l| (Stream::Notify, l.to_owned()))));
            }
        });
    }

    pub(crate) fn exited(&self, status: ExitStatus) {
        self.update(|state| state.exit = Some(status));
    }

    pub(crate) fn text(&self, stream: Stream) -> String {
        self.lock().text(stream)
    }

    pub(crate) fn line_count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Waits for a line that contains `wanted` among those from number `from` on. `None` when the time is over or no
    /// more lines can follow.
    pub(crate) fn wait_for_line(&self, from: usize, stream: Stream, wanted: &str, within: Duration) -> Option<String> {
        let find = |state: &State| {
            let mut lines = state.lines.iter().skip(from);
            lines.find(|(s, line)| *s == stream && line.contains(wanted)).map(|(_, line)| line.clone())
        };
        find(&self.wait_until(within, |state| find(state).is_some() || state.complete()))
    }

    /// Waits for the exit status; `with_output` also for the ends of both pipes, which grandchildren may hold.
    pub(crate) fn wait_for_exit(&self, with_output: bool, within: Duration) -> Option<ExitStatus> {
        let done = |state: &State| if with_output { state.complete() } else { state.exit.is_some() };
        let state = self.wait_until(within, done);
        if done(&state) { state.exit } else { None }
    }

    /// All output, for a person who wants to know why a test failed.
    pub(crate) fn report(&self) -> String {
        let state = self.lock();
        let mut report = match state.exit {
            Some(status) => format!("it ended with {status}"),
            None => "it still runs".to_owned(),
        };
        if state.lines.is_empty() {
            report.push_str(" and said nothing");
        }
        for (stream, line) in &state.lines {
            // Writing to a String can't fail.
            let _ = write!(report, "\n  {stream:?}: {line}");
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.notify_all();
    }

    fn wait_until(&self, within: Duration, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}
