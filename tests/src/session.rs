//! Conversations that go on while something happens to the agent. They show which packets are lost, and when.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{Namespace, PATIENCE, SILENCE, probe::tcp_open};

/// The time after which an answer counts as lost. The time is long, since a busy machine may be late.
const LOST: Duration = Duration::from_secs(1);
/// The pause between two datagrams of [`Traffic`].
const PACE: Duration = Duration::from_millis(1);

/// An established TCP connection to an echo service.
pub struct TcpSession {
    stream: TcpStream,
    lines: u32,
}

impl TcpSession {
    /// Connects from the address `from` of `namespace` to `to` (`ADDRESS:PORT`).
    ///
    /// # Errors
    /// The connection can't be made.
    pub fn open(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        let stream = namespace.enter(|| tcp_open(from, to, PATIENCE))??;
        let stream = stream.with_context(|| format!("cannot connect from {from} to {to}"))?;
        Ok(Self { stream, lines: 0 })
    }

    /// Whether a line that is sent now comes back within `within`.
    ///
    /// # Errors
    /// The connection is closed or reset, which no dropped packet does.
    pub fn echoes(&mut self, within: Duration) -> Result<bool> {
        self.lines += 1;
        let line = format!("line {}\n", self.lines);
        self.stream.write_all(line.as_bytes()).context("cannot write to the connection")?;
        self.stream.set_read_timeout(Some(within))?;
        let mut seen = Vec::new();
        while !seen.ends_with(line.as_bytes()) {
            let mut part = [0; 256];
            match self.stream.read(&mut part) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => seen.extend_from_slice(&part[..length]),
                Err(error) if is_timeout(&error) => return Ok(false),
                Err(error) => return Err(error).context("cannot read from the connection"),
            }
        }
        Ok(true)
    }
}

/// A UDP socket of a client that talks to an echo service.
pub struct UdpSession {
    socket: UdpSocket,
    number: u64,
}

/// The end of access, as observed by a client that sent one datagram after the other.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The moment at which the last answered datagram was sent.
    pub last_answered: Instant,
    /// The moment at which the first unanswered datagram was sent.
    pub first_lost: Instant,
}

impl UdpSession {
    /// Opens a socket with the address `from` of `namespace`, for talking to `to` (`ADDRESS:PORT`).
    ///
    /// # Errors
    /// An address is wrong, or `from` isn't the namespace's.
    pub fn open(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        let address: IpAddr = from.parse().with_context(|| format!("'{from}' is no IP address"))?;
        let socket = namespace.enter(|| UdpSocket::bind((address, 0)))?;
        let socket = socket.with_context(|| format!("cannot bind {from}"))?;
        socket.connect(to).with_context(|| format!("no way from {from} to {to}"))?;
        Ok(Self { socket, number: 0 })
    }

    /// Sends datagrams, each after the answer to the previous one, until a datagram is lost.
    ///
    /// # Errors
    /// The very first datagram is lost, or no datagram is lost within `within`.
    pub fn until_lost(&mut self, within: Duration) -> Result<Cut> {
        let started = Instant::now();
        let mut last_answered = None;
        while started.elapsed() < within {
            let now = Instant::now();
            if self.exchange(LOST)? {
                last_answered = Some(now);
                thread::sleep(PACE);
            } else {
                let last_answered = last_answered.context("not even the first datagram was answered")?;
                return Ok(Cut { last_answered, first_lost: now });
            }
        }
        bail!("all datagrams were answered for {within:?}")
    }

    fn exchange(&mut self, within: Duration) -> io::Result<bool> {
        self.number += 1;
        let datagram = self.number.to_be_bytes();
        self.socket.send(&datagram)?;
        self.socket.set_read_timeout(Some(within))?;
        let mut answer = [0; 16];
        loop {
            match self.socket.recv(&mut answer) {
                Ok(length) if answer[..length] == datagram => return Ok(true),
                // This is a late answer to a datagram that was given up.
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts the datagrams that have arrived, without waiting.
    fn drain(&self) -> io::Result<u64> {
        self.socket.set_nonblocking(true)?;
        let mut received = 0;
        loop {
            match self.socket.recv(&mut [0; 16]) {
                Ok(_) => received += 1,
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.socket.set_nonblocking(false)?;
        Ok(received)
    }
}

/// About a thousand datagrams a second to an echo service, from a thread of their own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Tally>>,
}

/// The fate of some datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of datagrams that were sent.
    pub sent: u64,
    /// The number of datagrams that were answered.
    pub answered: u64,
}

impl Traffic {
    /// Traffic that should be answered completely: the next datagram is sent when the last one was answered or is lost.
    ///
    /// # Errors
    /// The errors of [`UdpSession::open`].
    pub fn answered(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        let mut session = UdpSession::open(namespace, from, to)?;
        Ok(Self::start(move |tally| {
            tally.sent += 1;
            tally.answered += u64::from(session.exchange(LOST)?);
            Ok(())
        }))
    }

    /// Traffic that should not be answered at all: the sender does not wait for answers.
    ///
    /// # Errors
    /// The errors of [`UdpSession::open`].
    pub fn unanswered(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        let session = UdpSession::open(namespace, from, to)?;
        Ok(Self::start(move |tally| {
            session.socket.send(&tally.sent.to_be_bytes())?;
            tally.sent += 1;
            tally.answered += session.drain()?;
            Ok(())
        }))
    }

    fn start(mut step: impl FnMut(&mut Tally) -> io::Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) {
                step(&mut tally)?;
                thread::sleep(PACE);
            }
            Ok(tally)
        });
        Self { stop, thread }
    }

    /// Ends the traffic.
    ///
    /// # Errors
    /// There was an error other than silence, or too little traffic to prove anything.
    pub fn finish(self) -> Result<Tally> {
        // Answers on their way need some time.
        thread::sleep(SILENCE);
        self.stop.store(true, Ordering::Relaxed);
        let tally = self.thread.join().map_err(|_| anyhow!("the thread that sends panicked"))??;
        ensure!(tally.sent > 100, "only {} datagrams were sent", tally.sent);
        Ok(tally)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
