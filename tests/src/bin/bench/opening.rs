//! The delay between a request and the first packet that passes: the real daemon, its real socket and store, and probes
//! over a real veth.
//!
//! The calling thread sends probes from the source that is about to be granted, and checks after each probe whether it
//! arrived, without pause. Meanwhile a second thread sends the request, on a connection of its own as `jitctl` does.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jit_tests::{Agent, Config, Namespace, PATIENCE, Port, Process, Topology};
use serde_json::{Value, json};

use crate::{samples::Samples, state_dir::StateDir};

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "request-to-packet";

/// The locked service.
pub(crate) const SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 5000);
/// The network of the sources for which requests are timed, one source for each request (RFC 2544).
const SOURCES: (Ipv4Addr, &str) = (Ipv4Addr::new(198, 18, 0, 1), "198.18.0.0/16");
/// A second network of allowed sources.
const OTHER_SOURCES: &str = "198.19.0.0/16";
/// The number of probes before each request, which must not arrive.
const LOCKED_PROBES: u32 = 16;

/// The results, in the order of a request's course.
pub(crate) struct Opening {
    /// Type and device of the store's file system.
    pub(crate) file_system: String,
    /// Milliseconds from before connecting to the socket to having received the first probe.
    pub(crate) to_packet: Samples,
    /// Milliseconds from before connecting to the socket to having read the whole answer.
    pub(crate) to_answer: Samples,
    /// Microseconds between two probes: a packet may be recognised by so much too late.
    pub(crate) probe_interval: Samples,
    /// The number of requests whose packet passed before the answer had arrived.
    pub(crate) packet_first: usize,
}

/// The moments at which a request was sent and its answer had arrived.
struct Exchange {
    sent: Instant,
    answered: Instant,
}

/// Measures requests one after the other, each for another source.
///
/// # Errors
/// A part can't be set up, a probe passes before its request, or no probe passes after its request.
pub(crate) fn run(requests: u32) -> Result<Opening> {
    Stage::new(|_| Ok(()))?.measure(requests)
}

/// The daemon in front of a service, and the clients' network.
pub(crate) struct Stage {
    /// The daemon.
    pub(crate) agent: Agent,
    /// The network.
    pub(crate) net: Topology,
    /// The directory of the daemon's store.
    pub(crate) state: StateDir,
    receiver: UdpSocket,
}

impl Stage {
    /// Starts the daemon with a store that `fill` may have created in its directory.
    ///
    /// # Errors
    /// A part can't be set up.
    pub(crate) fn new(fill: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let state = StateDir::new()?;
        fill(state.path())?;
        let net = Topology::new()?;
        // Every address of the network belongs to the client, without listing each.
        net.client.ip(&format!("route add local {} dev lo", SOURCES.1))?;
        net.server.ip(&format!("route add {} dev {}", SOURCES.1, net.server_device))?;
        let config = Config::enforcing(&net.server_device)
            .port(Port::udp(SERVICE.1).allow(&[SOURCES.1, OTHER_SOURCES]).max("1h"))
            .set("state_dir", state.path().to_string_lossy().into_owned());
        let agent = Agent::start(&net.sandbox, &net.server, config)?;
        let receiver = net.server.enter(|| UdpSocket::bind(SERVICE))?.context("cannot bind the service's port")?;
        receiver.set_nonblocking(true)?;
        Ok(Self { agent, net, state, receiver })
    }

    /// Measures requests one after the other, each for another source that has no grant yet.
    ///
    /// # Errors
    /// A probe passes before its request, or no probe passes after its request.
    pub(crate) fn measure(&self, requests: u32) -> Result<Opening> {
        let Self { agent, net, state, receiver } = self;
        let measured = measure(&agent.socket(), &net.client, receiver, requests);
        let said = || agent.process().map_or_else(|_| "it isn't running".to_owned(), Process::report);
        let (rows, packet_first) = measured.with_context(|| format!("the agent: {}", said()))?;
        let column = |value: fn(&Row) -> f64| Samples::new(rows.iter().map(value).collect());
        Ok(Opening {
            file_system: state.file_system()?,
            to_packet: column(|row| row.to_packet.as_secs_f64() * 1e3),
            to_answer: column(|row| row.to_answer.as_secs_f64() * 1e3),
            probe_interval: column(|row| row.probe_interval.as_secs_f64() * 1e6),
            packet_first,
        })
    }
}

/// The times of one request.
struct Row {
    to_packet: Duration,
    to_answer: Duration,
    probe_interval: Duration,
}

fn measure(socket: &Path, client: &Namespace, receiver: &UdpSocket, requests: u32) -> Result<(Vec<Row>, usize)> {
    let (to_sender, bodies) = mpsc::channel::<String>();
    let (to_prober, exchanges) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || send_requests(socket, &bodies, &to_prober));
        // Moved here so that it is dropped when this closure returns, which ends the other thread.
        let to_sender = to_sender;
        let (mut rows, mut packet_first) = (Vec::new(), 0);
        for number in 0..requests {
            let source = Ipv4Addr::from(u32::from(SOURCES.0) + number);
            let prober = Prober::new(client, receiver, source, number)?;
            for _ in 0..LOCKED_PROBES {
                ensure!(!prober.probe()?, "a packet from {source} passed before the request for it");
            }
            to_sender.send(body(source)).context("the thread that sends requests has ended")?;
            let (first, probe_interval) = prober.probe_until_passed()?;
            let exchange = exchanges.recv_timeout(PATIENCE).context("the request was not answered")??;
            let to_packet = first.checked_duration_since(exchange.sent);
            let to_packet = to_packet.with_context(|| format!("a packet from {source} passed before its request"))?;
            packet_first += usize::from(first < exchange.answered);
            rows.push(Row { to_packet, to_answer: exchange.answered - exchange.sent, probe_interval });
        }
        Ok((rows, packet_first))
    })
}

/// Sends one request for each body until there are no more bodies.
fn send_requests(socket: &Path, bodies: &Receiver<String>, to_prober: &Sender<Result<Exchange>>) {
    for body in bodies {
        if to_prober.send(exchange(socket, &body)).is_err() {
            return;
        }
    }
}

/// The body of a request for one source.
pub(crate) fn body(source: Ipv4Addr) -> String {
    body_for(&[source])
}

/// The body of a request for these sources.
pub(crate) fn body_for(sources: &[Ipv4Addr]) -> String {
    let port = json!({ "number": SERVICE.1, "allowedSourceAddressPrefixes": sources, "duration": "PT1H" });
    json!({ "ports": [port], "justification": "benchmark" }).to_string()
}

/// Sends one request on a connection of its own. Written by hand, since a client's runtime would be part of the
/// measurement.
fn exchange(socket: &Path, body: &str) -> Result<Exchange> {
    let head = "POST /v1/requests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut answer = Vec::new();
    let sent = Instant::now();
    let mut stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes()).context("cannot send the request")?;
    stream.read_to_end(&mut answer).context("cannot read the answer")?;
    let answered = Instant::now();
    let shown = String::from_utf8_lossy(&answer);
    ensure!(shown.starts_with("HTTP/1.1 201 "), "the request was answered with '{shown}'");
    Ok(Exchange { sent, answered })
}

/// Sends datagrams from one source, and checks whether they arrive.
struct Prober<'a> {
    socket: UdpSocket,
    receiver: &'a UdpSocket,
    source: Ipv4Addr,
    mark: [u8; 4],
}

impl<'a> Prober<'a> {
    fn new(client: &Namespace, receiver: &'a UdpSocket, source: Ipv4Addr, number: u32) -> Result<Self> {
        let socket = client.enter(|| UdpSocket::bind((source, 0)))?.with_context(|| format!("cannot bind {source}"))?;
        socket.connect(SERVICE)?;
        Ok(Self { socket, receiver, source, mark: number.to_be_bytes() })
    }

    /// Sends a probe, and returns whether it arrived. The veth delivers a packet within the sender's call, if at all.
    fn probe(&self) -> Result<bool> {
        self.socket.send(&self.mark).with_context(|| format!("cannot send from {}", self.source))?;
        let mut found = [0; 4];
        match self.receiver.recv(&mut found) {
            // Another mark belongs to a probe of an earlier source.
            Ok(_) => Ok(found == self.mark),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("cannot receive at the service's port"),
        }
    }

    /// The moment at which the first probe had arrived, and the mean time between two probes.
    fn probe_until_passed(&self) -> Result<(Instant, Duration)> {
        let started = Instant::now();
        for probes in 1_u32.. {
            let passed = self.probe()?;
            let now = Instant::now();
            if passed {
                return Ok((now, (now - started) / probes));
            }
            ensure!(now - started < PATIENCE, "no packet from {} passed within {PATIENCE:?}", self.source);
        }
        bail!("no packet from {} passed", self.source)
    }
}

impl Opening {
    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { file_system, to_packet, to_answer, probe_interval, packet_first } = self;
        json!({
            "name": NAME,
            "fileSystem": file_system,
            "millisecondsToFirstPacket": to_packet.to_json(),
            "millisecondsToAnswer": to_answer.to_json(),
            "microsecondsBetweenProbes": probe_interval.to_json(),
            "packetBeforeAnswer": packet_first,
        })
    }
}
