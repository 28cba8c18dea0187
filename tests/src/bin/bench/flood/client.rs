//! A client of an unprotected port next to a flood of a locked port.
//!
//! One processor sends and receives the flood, at the same rate for all filters, with which each filter can cope. A
//! flood as fast as that processor goes would be larger for a better filter. Client and server share the other
//! processor, and the client's packets arrive in the flooded device's only queue.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use jit_tests::PATIENCE;
use rustix::{net, net::sockopt::set_socket_linger};

use super::{
    Entry,
    arena::{Arena, SERVER4},
    filter::Filter,
    generator::Generator,
    traffic::Traffic,
};
use crate::{
    cores::{Cores, pin, pinned},
    samples::Samples,
};

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "client";
/// The traffic of the flood next to which the client is measured.
pub(crate) const BESIDE: Traffic = Traffic::Ipv4Tcp;

/// The server's port, which is unprotected.
const SERVICE: u16 = 8080;
/// The time for which the client sends requests in a round without a flood.
const DURATION: Duration = Duration::from_millis(400);
/// Packets of the flood a second.
pub(crate) const OFFERED: u32 = 400_000;
/// The number of times that 65,536 frames are made in a round. Most of them are not sent.
const SWEEPS: u32 = 16;
/// The content of a request, and of its answer.
const MESSAGE: [u8; 64] = [b'.'; 64];

/// The measured service of a client.
pub(crate) struct Client {
    /// The service without a flood and without a filter.
    pub(crate) quiet: Service,
    /// The service next to a flood, in the order of the filters. `None` for a filter that can't be loaded, and for the
    /// bare program, which drops the client's packets too.
    pub(crate) beside: Vec<(Filter, Option<Service>)>,
}

/// How a client was served.
pub(crate) struct Service {
    /// Packets of the flood a second in each round.
    pub(crate) flooded: Samples,
    /// Requests a second in each round.
    pub(crate) rate: Samples,
    /// Milliseconds within which 99 of 100 requests were answered, in each round.
    pub(crate) p99: Samples,
}

impl Client {
    pub(super) fn new(requests: Requests) -> Self {
        let Requests { quiet, beside, .. } = requests;
        let beside =
            beside.into_iter().map(|(filter, rounds)| (filter, (!rounds.is_empty()).then(|| service(&rounds))));
        Self { quiet: service(&quiet), beside: beside.collect() }
    }
}

fn service(rounds: &[Round]) -> Service {
    let each = |value: fn(&Round) -> f64| Samples::new(rounds.iter().map(value).collect());
    Service { flooded: each(|round| round.flooded), rate: each(|round| round.rate), p99: each(|round| round.p99) }
}

struct Round {
    flooded: f64,
    rate: f64,
    p99: f64,
}

/// The servers, and the rounds measured so far.
pub(super) struct Requests {
    quiet: Vec<Round>,
    beside: Vec<(Filter, Vec<Round>)>,
    _servers: Vec<Server>,
}

impl Requests {
    /// Starts one server for each filter.
    pub(super) fn new(entries: &mut [Entry], cores: Cores) -> Result<Self> {
        let mut servers = Vec::new();
        for arena in entries.iter_mut().filter_map(served) {
            servers.push(pinned(cores.other, || Server::start(arena))??);
        }
        let beside = entries.iter().map(|entry| (entry.filter, Vec::new())).collect();
        Ok(Self { quiet: Vec::new(), beside, _servers: servers })
    }

    /// Measures one round next to each flood.
    pub(super) fn round(
        &mut self,
        entries: &mut [Entry],
        generator: &Generator,
        round: u32,
        cores: Cores,
    ) -> Result<()> {
        let first = entries.iter().find_map(|entry| entry.arena.as_ref().ok()).context("there is nothing to flood")?;
        self.quiet.push(pinned(cores.other, || first.client.enter(quiet))???);
        let mut order: Vec<_> = entries.iter_mut().zip(&mut self.beside).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (entry, (filter, rounds)) in order {
            let Some(arena) = served(entry) else { continue };
            let client = arena.client.clone();
            let asked = pinned(cores.other, || client.enter(|| beside(arena, generator, cores)))??;
            rounds.push(asked.with_context(|| format!("a client beside a flood of {}", filter.meaning()))?);
        }
        Ok(())
    }
}

/// The arena, if a client can be served there: the bare program drops the client's packets too.
fn served(entry: &mut Entry) -> Option<&mut Arena> {
    entry.arena.as_mut().ok().filter(|_| entry.filter != Filter::BareDrop)
}

/// A server that answers one connection after the other. Dropping the value ends the server.
struct Server(Arc<TcpListener>);

impl Server {
    /// Starts the server on a thread that inherits this thread's processor.
    fn start(arena: &Arena) -> Result<Self> {
        let listener = arena.server.enter(|| TcpListener::bind(format!("{SERVER4}:{SERVICE}")))?;
        let listener = Arc::new(listener.with_context(|| format!("cannot listen on port {SERVICE}"))?);
        let accepting = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                let mut message = MESSAGE;
                if stream.read_exact(&mut message).is_ok() {
                    // The client notices a failure here.
                    let _ = stream.write_all(&message);
                }
            }
        });
        Ok(Self(listener))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Shutting a listening socket down wakes accept(2), which then fails.
        let _ = net::shutdown(&*self.0, net::Shutdown::Both);
    }
}

/// Sends requests without a flood.
fn quiet() -> Result<Round> {
    let started = Instant::now();
    ask(|| started.elapsed() >= DURATION)
}

/// Sends requests during a flood.
fn beside(arena: &mut Arena, generator: &Generator, cores: Cores) -> Result<Round> {
    let ended = AtomicBool::new(false);
    let before = arena.received()?;
    let sender = arena.sender(generator);
    let started = Instant::now();
    let asked = thread::scope(|scope| {
        // This thread is in the client's network namespace.
        let flood = scope.spawn(|| {
            let sent = pin(cores.flood).and_then(|()| sender.send_paced(SWEEPS));
            ended.store(true, Ordering::Relaxed);
            sent
        });
        let asked = ask(|| ended.load(Ordering::Relaxed));
        flood.join().map_err(|_| anyhow!("the thread that sends the flood panicked"))??;
        asked
    })?;
    let flooded = (arena.received()? - before) as f64 / started.elapsed().as_secs_f64();
    Ok(Round { flooded, ..asked })
}

/// Sends one request after the other, each on a connection of its own.
fn ask(ended: impl Fn() -> bool) -> Result<Round> {
    let server: SocketAddr = format!("{SERVER4}:{SERVICE}").parse()?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while !ended() {
        let sent = Instant::now();
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("cannot connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&MESSAGE).context("cannot send a request")?;
        stream.read_exact(&mut [0; MESSAGE.len()]).context("a request was not answered")?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
        // The connection is reset instead of closed, since the port of a closed connection stays in use for a minute.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Round { flooded: 0.0, rate, p99: Samples::new(times).quantile(0.99) })
}
