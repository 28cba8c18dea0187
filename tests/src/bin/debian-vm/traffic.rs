//! Datagrams of a client with a grant and of a stranger, while something happens to the agent.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use jit_tests::{Namespace, PATIENCE};

use crate::wire::{CLIENT, MACHINE, STRANGER};

/// The port of the service that echoes datagrams.
pub(crate) const PORT: u16 = 5000;

/// The length of one datagram, which holds a number.
const LENGTH: usize = size_of::<u64>();
/// The least number of datagrams that each sender sends, however soon the event is over.
const ENOUGH: u64 = 50;
/// The pause between two datagrams.
const PACE: Duration = Duration::from_millis(20);
/// The time limit for an answer. The limit is long, since the machine has no KVM and is busy with the event.
const LATE: Duration = Duration::from_secs(20);

/// Both senders, while they run.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Result<(u64, u64)>>,
    stranger: JoinHandle<Result<(u64, u64)>>,
}

impl Traffic {
    /// Starts both senders as soon as the client was answered once.
    pub(crate) fn start(outside: &Namespace) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let client = socket(outside, CLIENT)?;
        // The first datagram makes the service start a process for this client. Without this wait, each further
        // datagram would start another process.
        client.set_read_timeout(Some(2 * PATIENCE))?;
        client.send(&[0; LENGTH])?;
        client.recv(&mut [0; LENGTH]).context("the client's first datagram was not answered")?;
        let client = sender(client, &stop, true);
        let stranger = sender(socket(outside, STRANGER)?, &stop, false);
        Ok(Self { stop, client, stranger })
    }

    /// Stops the senders: every datagram of the client must have come back, and no datagram of the stranger.
    pub(crate) fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |thread: JoinHandle<_>| thread.join().map_err(|_| anyhow!("the thread that sends panicked"))?;
        let ((sent, answered), (knocks, heard)) = (joined(self.client)?, joined(self.stranger)?);
        ensure!(answered == sent, "{} of {sent} datagrams with a grant were lost", sent - answered);
        ensure!(heard == 0, "{heard} of {knocks} datagrams without a grant were answered");
        Ok(())
    }
}

fn socket(outside: &Namespace, from: &str) -> Result<UdpSocket> {
    let socket = outside.enter(|| UdpSocket::bind((from, 0)))??;
    socket.connect((MACHINE, PORT))?;
    Ok(socket)
}

/// Sends until `stop` is set and enough datagrams were sent, and counts the datagrams sent and returned. If all
/// datagrams should return, the sender waits for the outstanding ones.
fn sender(socket: UdpSocket, stop: &Arc<AtomicBool>, all: bool) -> JoinHandle<Result<(u64, u64)>> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let (mut sent, mut answered) = (0, 0);
        socket.set_read_timeout(Some(PACE))?;
        while !stop.load(Ordering::Relaxed) || sent < ENOUGH {
            sent += 1;
            socket.send(&u64::to_be_bytes(sent))?;
            answered += take(&socket)?;
            thread::sleep(PACE / 2);
        }
        let end = Instant::now() + if all { LATE } else { PACE };
        while Instant::now() < end && answered < sent {
            answered += take(&socket)?;
        }
        Ok((sent, answered))
    })
}

/// The number of datagrams that have arrived or arrive within the pace. A service that was kept waiting answers several
/// datagrams with one, since it echoes through a pipe.
fn take(socket: &UdpSocket) -> Result<u64> {
    match socket.recv(&mut [0; 65536]) {
        Ok(length) => Ok((length / LENGTH) as u64),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
        // A refusal by a port that isn't locked and where nobody listens is an answer to the stranger too.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(1),
        Err(error) => Err(error.into()),
    }
}
