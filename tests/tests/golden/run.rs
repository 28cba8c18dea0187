//! Programs in surroundings that are the same on every machine.

use std::{fs, time::Instant};

use anyhow::{Result, ensure};
use jit_tests::{Agent, Config, Namespace, Outcome, PATIENCE, Program, Sandbox, Topology};

/// The program with all that its words could depend on set.
pub(crate) fn plain(program: Program) -> Program {
    let fixed = [("TZ", "UTC"), ("LC_ALL", "C"), ("COLUMNS", "100"), ("NO_COLOR", "1"), ("RUST_LOG", "off")];
    fixed.into_iter().fold(program, |program, (name, value)| program.env(name, value))
}

/// Forgets who logged in before this test was run, which the agent would record. Where nobody did, or nobody keeps that,
/// there is nothing to forget.
fn forget_login() {
    let _ = fs::write("/proc/thread-self/loginuid", u32::MAX.to_string());
}

/// Two hosts, with an agent on one of them.
pub(crate) struct Host {
    pub(crate) agent: Agent,
    pub(crate) net: Topology,
}

impl Host {
    /// With the agent running.
    pub(crate) fn start(config: Config) -> Result<Self> {
        let mut host = Self::prepare(config)?;
        host.launch()?;
        Ok(host)
    }

    /// Starts the agent, and waits until the log has its interface, a row that could come between others otherwise.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.agent.launch()?;
        let begin = Instant::now();
        let last = |event: &str| -> Result<Option<i64>> {
            let rows = self.agent.api("GET", &format!("/v1/audit?event={event}"), None)?.json()?;
            Ok(rows["value"].as_array().and_then(|rows| rows.last()?["seq"].as_i64()))
        };
        while last("attached")? < last("started")? {
            ensure!(begin.elapsed() < PATIENCE, "no interface is covered: {}", self.agent.status()?);
        }
        Ok(())
    }

    /// With the agent's configuration written.
    pub(crate) fn prepare(config: Config) -> Result<Self> {
        forget_login();
        let net = Topology::new()?;
        let agent = Agent::prepare(&net.sandbox, &net.server, config)?;
        Ok(Self { agent, net })
    }

    /// Runs `jitctl` as a user.
    pub(crate) fn jitctl(&self, user: &str, arguments: &[&str]) -> Result<Outcome> {
        let program = as_user(user, &self.net.sandbox, "jitctl")?;
        run(program.arg("--socket").arg(self.agent.socket()).args(arguments), &self.net.server)
    }

    /// Runs `jit-agent` as root.
    pub(crate) fn jit_agent(&self, arguments: &[&str]) -> Result<Outcome> {
        let program = as_user("root", &self.net.sandbox, "jit-agent")?;
        run(program.args(arguments).arg("--config").arg(self.agent.config_file()), &self.net.server)
    }
}

/// A binary of this workspace, run by a user of the sandbox.
pub(crate) fn as_user(user: &str, sandbox: &Sandbox, binary: &str) -> Result<Program> {
    let binary = sandbox.binary(binary)?;
    Ok(if user == "root" { Program::new(binary) } else { Program::new_as(user, binary) })
}

/// Runs a program to its end.
pub(crate) fn run(program: Program, namespace: &Namespace) -> Result<Outcome> {
    plain(program).run_in(namespace, PATIENCE)
}
