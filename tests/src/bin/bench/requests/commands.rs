//! The time that a command takes to admit one source, next to the commands of other tools.
//!
//! Each command runs in the daemon's namespace. Only firewalld is the host's own, where it runs: the rule that is added
//! there is for a source of the benchmark network, and is removed after ten seconds.

use std::{
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_tests::Namespace;

use super::connection::{Connection, request};
use crate::{
    opening::{SERVICE, Stage, body},
    samples::Samples,
};

/// The number of rounds; all ways take turns in each.
const ROUNDS: u32 = 51;

/// One way to admit a source.
pub(super) struct Way {
    /// The command as a person would type it.
    pub(super) name: &'static str,
    /// Milliseconds, or the reason why the way was not measured.
    pub(super) times: Result<Samples, String>,
}

enum Do {
    /// Runs a program with arguments in which `ADDRESS` stands for the source.
    Program(String, Vec<String>),
    /// Sends a request on this connection.
    Request(Connection),
    /// Does nothing, for this reason.
    Skip(String),
}

pub(super) fn run(stage: &Stage) -> Result<Vec<Way>> {
    let server = &stage.net.server;
    let socket = stage.agent.socket();
    let jitctl = stage.net.sandbox.binary("jitctl")?;
    let port = format!("{}/udp", SERVICE.1);
    let request = format!("--socket {} request --port {port} --from ADDRESS --for 1h -m benchmark", socket.display());
    let mut ways = [
        ("a request on an open connection", Do::Request(Connection::open(&socket)?)),
        ("jitctl request", program(&jitctl.to_string_lossy(), &request)),
        ("nft add element (set with timeout)", nftables(server)?),
        ("ipset add ... timeout", ipset(server)?),
        ("firewall-cmd --timeout", firewalld(&port)),
    ];
    let mut times = ways.each_ref().map(|_| Vec::new());
    for round in 0..ROUNDS {
        // Each run has a source of its own, so that no tool finds an existing entry for the source.
        for (number, ((_, way), times)) in (0..).zip(ways.iter_mut().zip(&mut times)) {
            let source = Ipv4Addr::from(u32::from(super::OTHERS) + round * 8 + number);
            if let Some(time) = once(way, server, source)? {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    let measured = ways.into_iter().zip(times).map(|((name, way), times)| match way {
        Do::Skip(reason) => Way { name, times: Err(reason) },
        Do::Program(..) | Do::Request(_) => Way { name, times: Ok(Samples::new(times)) },
    });
    Ok(measured.collect())
}

fn program(name: &str, arguments: &str) -> Do {
    Do::Program(name.to_owned(), arguments.split(' ').map(str::to_owned).collect())
}

fn once(way: &mut Do, namespace: &Namespace, source: Ipv4Addr) -> Result<Option<Duration>> {
    match way {
        Do::Skip(_) => Ok(None),
        Do::Request(connection) => {
            let request = request("POST", "/v1/requests", &body(source));
            let start = Instant::now();
            connection.send(&request)?;
            connection.answer()?.expect(201)?;
            Ok(Some(start.elapsed()))
        }
        Do::Program(name, arguments) => {
            let address = source.to_string();
            let mut command = Command::new(&*name);
            command.args(arguments.iter().map(|argument| argument.replace("ADDRESS", &address)));
            let (output, time) = namespace.enter(|| {
                let start = Instant::now();
                (command.output(), start.elapsed())
            })?;
            let output = output.with_context(|| format!("cannot run {name}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{name} ended with {}: {said}", output.status);
            Ok(Some(time))
        }
    }
}

/// The reason why a program can't be used: the program is missing, or the error that it prints.
fn problem(namespace: Option<&Namespace>, name: &str, arguments: &str) -> Result<Option<String>> {
    let mut command = Command::new(name);
    command.args(arguments.split(' '));
    let output = match namespace {
        Some(namespace) => namespace.enter(|| command.output())?,
        None => command.output(),
    };
    Ok(match output {
        Err(error) => Some(format!("{name}: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', ", "))),
    })
}

fn nftables(server: &Namespace) -> Result<Do> {
    let set = "add table inet bench; add set inet bench granted { type ipv4_addr; flags timeout; }";
    Ok(match problem(Some(server), "nft", set)? {
        Some(problem) => Do::Skip(problem),
        None => program("nft", "add element inet bench granted { ADDRESS timeout 1h }"),
    })
}

fn ipset(server: &Namespace) -> Result<Do> {
    Ok(match problem(Some(server), "ipset", "create bench hash:ip timeout 3600")? {
        Some(problem) => Do::Skip(problem),
        None => program("ipset", "add bench ADDRESS timeout 3600"),
    })
}

fn firewalld(port: &str) -> Do {
    match problem(None, "firewall-cmd", "--state") {
        Ok(None) => {}
        Ok(Some(problem)) => return Do::Skip(problem),
        Err(error) => return Do::Skip(format!("firewall-cmd: {error:#}")),
    }
    let (number, protocol) = port.split_once('/').unwrap_or((port, "udp"));
    let rule = format!("rule family=ipv4 source address=ADDRESS port port={number} protocol={protocol} accept");
    Do::Program("firewall-cmd".to_owned(), vec![format!("--add-rich-rule={rule}"), "--timeout=10s".to_owned()])
}
