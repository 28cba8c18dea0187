//! The scene of the demo: the two hosts, the services, the agent, and the observations that the demo makes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jit_tests::{
    Agent, Config, Outcome, PATIENCE, Port, Process, Program, SshServer, Stream, TcpServer, Topology, http_get,
};

use crate::stage::Stage;

/// The server's addresses.
pub(crate) const SERVER: &str = "192.0.2.1";
pub(crate) const SERVER6: &str = "2001:db8::1";

/// The client's IPv4 addresses: the granted one and another one.
pub(crate) const ALICE: &str = "192.0.2.10";
pub(crate) const OTHER: &str = "192.0.2.11";
/// The client's IPv6 addresses: two in the granted prefix, and one in another prefix.
pub(crate) const ALICE6: &str = "2001:db8::10";
pub(crate) const NEIGHBOUR6: &str = "2001:db8::11";
pub(crate) const OTHER6: &str = "2001:db8:1::10";

/// The end of a grant of a known length. The length counts from some moment while the request was under way.
#[derive(Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) earliest_end: Instant,
    pub(crate) latest_end: Instant,
}

pub(crate) struct Scene {
    net: Topology,
    ssh: SshServer,
    _web: TcpServer,
    agent: Agent,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let net = Topology::new()?;
        let ssh = SshServer::start(&net.sandbox, &net.server, 22)?;
        let web = TcpServer::web(&net.server, "[::]:80", "Hello from the web server.\n")?;
        let agent = Agent::prepare(&net.sandbox, &net.server, Self::configuration())?;
        Ok(Self { net, ssh, _web: web, agent })
    }

    /// The agent's configuration, except for the paths of its files.
    pub(crate) fn configuration() -> Config {
        let port = Port::tcp(22).allow(&["192.0.2.0/24", "2001:db8::/32"]).max("1h");
        Config::enforcing("srv0").port(port)
    }

    pub(crate) fn start_agent(&mut self, stage: &Stage) -> Result<()> {
        stage.command("jit-agent run --config config.toml &")?;
        self.agent.launch()
    }

    pub(crate) fn kill_agent(&mut self, stage: &Stage) -> Result<()> {
        stage.command(&format!("kill -KILL {}", self.agent.process()?.id()))?;
        self.agent.kill9();
        Ok(())
    }

    /// The output of the agent, for the report of a failure.
    pub(crate) fn agent_report(&self) -> String {
        self.agent.process().map_or_else(|_| "it isn't running".to_owned(), Process::report)
    }

    /// Runs `jitctl` on the server, and shows command and output.
    pub(crate) fn jitctl(&self, stage: &Stage, args: &[&str]) -> Result<Outcome> {
        stage.command(Program::new("jitctl").args(args).shown())?;
        let outcome = self.agent.jitctl(args)?;
        stage.output(&outcome.stdout)?;
        stage.output(&outcome.stderr)?;
        Ok(outcome)
    }

    /// Requests port 22 for `from`; returns when the grant will end.
    pub(crate) fn request(&self, stage: &mut Stage, from: &str, seconds: u64, why: &str) -> Result<Grant> {
        let duration = Duration::from_secs(seconds);
        let before = Instant::now();
        let args = ["request", "--port", "22", "--from", from, "--for", &format!("{seconds}s"), "-m", why];
        let outcome = self.jitctl(stage, &args)?;
        let grant = Grant { earliest_end: before + duration, latest_end: Instant::now() + duration };
        match outcome.code() {
            Some(0) => stage.fact(true, &format!("granted to {from}, for {seconds} s"))?,
            _ => stage.fact(false, &format!("NOT granted: jitctl ended with {}", outcome.status))?,
        }
        Ok(grant)
    }

    /// Fetches a page from port 80, which must succeed.
    pub(crate) fn expect_web(&self, stage: &mut Stage, from: &str) -> Result<()> {
        let server = bracketed(server_for(from));
        stage.say(&format!("GET http://{server}/ from {from}"))?;
        let page = http_get(&self.net.client, from, &format!("{server}:80"), PATIENCE)?;
        match page {
            Some(page) => {
                stage.output(&page)?;
                stage.fact(true, &format!("port 80 is reachable from {from}"))
            }
            None => stage.fact(false, &format!("port 80 does not answer to {from}")),
        }
    }

    /// Runs a command over SSH, which must succeed.
    pub(crate) fn expect_ssh(&self, stage: &mut Stage, from: &str) -> Result<()> {
        let outcome = self.run_ssh(stage, from)?;
        let inside = outcome.code() == Some(0) && outcome.stdout == "alice\n";
        let observed = if inside { "gets in" } else { "does NOT get in" };
        stage.fact(inside, &format!("ssh {observed} from {from}"))
    }

    /// Runs a command over SSH, and expects that no packet comes back.
    pub(crate) fn expect_no_ssh(&self, stage: &mut Stage, from: &str) -> Result<()> {
        let outcome = self.run_ssh(stage, from)?;
        let silent = outcome.code() == Some(255) && outcome.stderr.contains("timed out");
        let observed =
            if silent { "is shut out: no answer at all, not even a refusal" } else { "is NOT met by silence" };
        stage.fact(silent, &format!("ssh from {from} {observed}"))
    }

    fn run_ssh(&self, stage: &Stage, from: &str) -> Result<Outcome> {
        let to = server_for(from);
        stage.command(&format!("ssh -b {from} alice@{to} whoami"))?;
        let outcome = self.ssh.client(from, to, "whoami").run_in(&self.net.client, PATIENCE)?;
        stage.output(&outcome.stdout)?;
        stage.output(&outcome.stderr)?;
        Ok(outcome)
    }

    /// Opens an SSH session that returns every line that it receives.
    pub(crate) fn open_session(&self, stage: &Stage, from: &str) -> Result<Session> {
        let to = server_for(from);
        stage.command(&format!("ssh -b {from} alice@{to} cat"))?;
        let client = self.ssh.client(from, to, "echo connected; cat").with_stdin().spawn_in(&self.net.client)?;
        client.wait_for_line(Stream::Stdout, "connected", PATIENCE).context("the SSH session did not start")?;
        Ok(Session { client })
    }
}

/// An established SSH session.
pub(crate) struct Session {
    client: Process,
}

impl Session {
    /// Types a line, and returns whether the line comes back within `within`.
    pub(crate) fn echoes(&mut self, line: &str, within: Duration) -> Result<bool> {
        let mark = self.client.mark();
        self.client.write_line(line)?;
        Ok(self.client.wait_for_line_after(mark, Stream::Stdout, line, within).is_ok())
    }
}

fn server_for(from: &str) -> &'static str {
    if from.contains(':') { SERVER6 } else { SERVER }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
