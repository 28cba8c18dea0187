//! Enforcement is enabled without locking anybody out: the trial, its end, the fallback, and unloading.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use jit_tests::{
    Agent, Config, Outcome, PATIENCE, Port, Program, Reach, SILENCE, TcpServer, TcpSession, Topology, tcp_connects,
};

/// The operator's address, from which SSH sessions come.
const OPERATOR: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
/// The shortest trial.
const SHORTEST: Duration = Duration::from_secs(10);

/// A host that observes, with an SSH service and a comment in its configuration file.
struct Host {
    net: Topology,
    agent: Agent,
    _ssh: TcpServer,
}

impl Host {
    fn new(config: impl FnOnce(Config) -> Config) -> Result<Self> {
        let net = Topology::new()?;
        let ssh = TcpServer::echo(&net.server, SSH)?;
        let port = Port::tcp(22).allow(&["192.0.2.0/24"]).max("1h");
        let config = config(Config::enforcing("srv0").set("mode", "observe").port(port));
        let agent = Agent::start(&net.sandbox, &net.server, config)?;
        Ok(Self { net, agent, _ssh: ssh })
    }

    /// Runs a command of `jit-agent` as the operator would.
    fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        let program = Program::new(self.net.sandbox.binary("jit-agent")?).args(arguments);
        let session = format!("{OPERATOR} 50000 192.0.2.1 22");
        let program = program.arg("--config").arg(self.agent.config_file()).env("SSH_CONNECTION", session);
        program.run_in(&self.net.server, PATIENCE)
    }

    fn reach(&self, from: &str, within: Duration) -> Result<Reach> {
        tcp_connects(&self.net.client, from, SSH, within)
    }

    /// Expects that the operator gets in and nobody else does.
    #[track_caller]
    fn expect_shut(&self) -> Result<()> {
        assert_eq!(self.reach(OPERATOR, PATIENCE)?, Reach::Open, "the operator");
        assert_eq!(self.reach(OTHER, SILENCE)?, Reach::Silent, "others");
        Ok(())
    }

    #[track_caller]
    fn expect_open(&self) -> Result<()> {
        assert_eq!(self.reach(OTHER, PATIENCE)?, Reach::Open);
        Ok(())
    }

    /// Waits until others get in, which must not happen before `until`.
    fn until_open(&self, until: Instant) -> Result<()> {
        let deadline = until + PATIENCE;
        while self.reach(OTHER, SILENCE)? != Reach::Open {
            ensure!(Instant::now() < deadline, "the trial does not end");
        }
        ensure!(Instant::now() >= until, "the trial ended early");
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(self.agent.config_file())?)
    }

    fn mode(&self) -> Result<String> {
        Ok(self.agent.status()?["mode"].as_str().unwrap_or_default().to_owned())
    }
}

/// Expects that the outcome has this exit code and contains these words.
#[track_caller]
fn refused(outcome: &Outcome, code: i32, words: &str) -> Result<()> {
    ensure!(outcome.code() == Some(code) && outcome.stderr.contains(words), "{code}, {words}: {outcome:?}");
    Ok(())
}

#[test]
fn a_confirmed_trial_enforces_for_good_and_disable_observes_again() -> Result<()> {
    let mut host = Host::new(|config| config)?;
    host.expect_open()?;
    let mut other = TcpSession::open(&host.net.client, OTHER, SSH)?;
    let mut own = TcpSession::open(&host.net.client, OPERATOR, SSH)?;
    let before = host.text()?;
    let asked = host.run(&["enable", "--console"])?;
    refused(&asked, 3, "WILL BE CUT")?;
    for part in ["ports that will be shut: 22/tcp", OTHER, OPERATOR, "add --yes"] {
        ensure!(asked.stderr.contains(part), "{part:?} is not in {asked:?}");
    }
    host.expect_open()?;

    let enabled = host.run(&["enable", "--console", "--yes"])?.success()?;
    ensure!(enabled.stdout.contains("jit-agent confirm") && enabled.stdout.contains("in 10 min"), "{enabled:?}");
    host.expect_shut()?;
    ensure!(own.echoes(PATIENCE)?, "the operator's own connection");
    ensure!(!other.echoes(SILENCE)?, "another's connection");
    assert_eq!(host.text()?, before, "the file stays as it is until the trial is confirmed");
    let status = host.agent.jitctl(&["status"])?.success()?;
    ensure!(status.stdout.contains("mode     enforce, on trial for"), "{status:?}");
    refused(&host.run(&["enable", "--console", "--yes"])?, 1, "a trial runs until")?;

    let confirmed = host.run(&["confirm"])?.success()?;
    ensure!(confirmed.stdout.contains("confirmed: enforcement is on"), "{confirmed:?}");
    let own = || fs::read_to_string(host.agent.state_dir().join("policy.toml"));
    ensure!(own()?.contains("mode = \"enforce\""), "{}", own()?);
    assert_eq!(host.text()?, before, "the file of the owner stays as it is");
    host.agent.restart()?;
    host.expect_shut()?;
    refused(&host.run(&["confirm"])?, 1, "no trial runs")?;

    refused(&host.run(&["disable"])?, 3, "open to everybody from now on: 22/tcp")?;
    host.expect_shut()?;
    host.run(&["disable", "--yes"])?.success()?;
    host.expect_open()?;
    ensure!(!host.agent.state_dir().join("policy.toml").exists(), "it observes as the file says");
    let audit = host.agent.jitctl(&["audit"])?.success()?;
    for event in ["enabled", "confirmed", "disabled"] {
        ensure!(audit.stdout.contains(event), "{event} is not in {audit:?}");
    }
    Ok(())
}

#[test]
fn an_unconfirmed_trial_ends_with_the_agent_killed_and_a_restart_before_that_goes_on_with_it() -> Result<()> {
    let mut host = Host::new(|config| config)?;
    host.run(&["enable", "--console", "--yes", "--trial", "20s"])?.success()?;
    let until = Instant::now() + Duration::from_secs(20) - Duration::from_secs(2);
    host.expect_shut()?;
    host.agent.kill9();
    host.expect_shut()?;
    host.agent.launch()?;
    host.expect_shut()?;
    ensure!(host.agent.status()?["trial"]["kind"] == "enable", "{}", host.agent.status()?);
    host.agent.kill9();
    host.until_open(until)?;
    host.agent.launch()?;
    host.expect_open()?;
    assert_eq!(host.mode()?, "observe");
    Ok(())
}

#[test]
fn an_agent_that_lives_ends_an_unconfirmed_trial_and_says_so() -> Result<()> {
    let host = Host::new(|config| config)?;
    host.run(&["enable", "--console", "--yes", "--trial", "10s"])?.success()?;
    let until = Instant::now() + SHORTEST - Duration::from_secs(2);
    host.expect_shut()?;
    host.until_open(until)?;
    // The kernel ends the trial at its deadline, and the agent a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !host.agent.jitctl(&["audit", "--event", "trial_ended"])?.success()?.stdout.contains("trial_ended") {
        ensure!(Instant::now() < deadline, "the agent does not say that the trial has ended");
    }
    assert_eq!(host.mode()?, "observe");
    ensure!(!host.agent.state_dir().join("trial.json").exists());
    Ok(())
}

#[test]
fn without_a_fallback_nothing_is_shut() -> Result<()> {
    let host = Host::new(|config| config.set("break_glass", vec!["203.0.113.7"]))?;
    host.run(&["enable", "--yes"])?.success()?;
    host.expect_shut()?;
    host.run(&["disable"])?.success()?;
    host.expect_open()?;

    let host = Host::new(|config| config)?;
    refused(&host.run(&["enable", "--yes"])?, 3, "there is no way back")?;
    host.expect_open()?;
    assert_eq!(host.agent.grant_counts()?, (0, 0));
    Ok(())
}

#[test]
fn an_unloaded_agent_stays_unloaded_over_restarts_until_enabled() -> Result<()> {
    let mut host = Host::new(|config| config.set("mode", "enforce"))?;
    assert_eq!(host.reach(OTHER, SILENCE)?, Reach::Silent);
    let unloaded = host.run(&["unload"])?.success()?;
    ensure!(unloaded.stdout.contains("this holds until `jit-agent enable`"), "{unloaded:?}");
    host.expect_open()?;
    for _ in 0..2 {
        host.agent.restart()?;
        host.expect_open()?;
        let status = host.agent.jitctl(&["status"])?;
        ensure!(status.code() == Some(7) && status.stdout.contains("was unloaded by root"), "{status:?}");
    }
    host.run(&["enable", "--console", "--yes"])?.success()?;
    host.expect_shut()?;
    host.run(&["confirm"])?.success()?;
    host.agent.restart()?;
    host.expect_shut()?;

    // The agent keeps running while its program is unloaded.
    host.run(&["unload"])?.success()?;
    host.expect_open()?;
    host.run(&["enable", "--console", "--yes"])?.success()?;
    host.expect_shut()?;
    host.agent.kill9();
    host.expect_shut()
}

#[test]
fn a_change_that_cuts_off_its_author_is_on_trial() -> Result<()> {
    let host = Host::new(|config| config.set("mode", "enforce"))?;
    host.agent.grant(22, "TCP", OPERATOR, 600)?;
    host.expect_shut()?;
    let before = host.text()?;
    let session = format!("{OPERATOR} 50000 192.0.2.1 22");
    let set = host.agent.client(&["ports", "set", "22", "--allow", OTHER, "--yes"])?.env("SSH_CONNECTION", session);
    let done = set.run_in(&host.net.server, PATIENCE)?.success()?;
    ensure!(done.stdout.contains("ON TRIAL, since it cuts you off"), "{done:?}");
    assert_eq!(host.reach(OPERATOR, SILENCE)?, Reach::Silent);
    assert_eq!(host.text()?, before);
    refused(&host.agent.jitctl(&["ports", "add", "8080"])?, 1, "`jit-agent confirm`")?;
    host.run(&["disable"])?.success()?;
    host.expect_shut()
}

#[test]
fn without_an_agent_the_commands_say_what_to_do() -> Result<()> {
    let mut host = Host::new(|config| config)?;
    host.agent.stop()?;
    refused(&host.run(&["enable", "--console", "--yes"])?, 5, "systemctl start jit-agent")?;
    refused(&host.run(&["confirm"])?, 5, "systemctl start jit-agent")?;
    refused(&host.run(&["disable", "--yes"])?, 5, "jit-agent unload")
}

#[test]
fn break_glass_gets_in_without_store_and_without_agent_and_its_use_is_audited_when_there_is_one() -> Result<()> {
    let config = |config: Config| config.set("mode", "enforce").set("break_glass", vec![OPERATOR]);
    let mut host = Host::new(config)?;
    host.expect_shut()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let audit = host.agent.jitctl(&["audit", "--event", "break_glass_used"])?.success()?;
        if audit.stdout.contains(OPERATOR) {
            break;
        }
        ensure!(Instant::now() < deadline, "{audit:?}");
    }
    host.agent.kill9();
    host.expect_shut()?;
    fs::write(host.agent.state_dir().join("jit-agent.sqlite"), "no store")?;
    host.agent.launch()?;
    host.expect_shut()?;
    let status = host.agent.jitctl(&["status"])?;
    ensure!(status.code() == Some(7), "{status:?}");
    Ok(())
}

#[test]
fn broken_files_without_accepted_ones_leave_the_ports_locked_if_they_say_so() -> Result<()> {
    let mut host = Host::new(|config| config.set("mode", "enforce"))?;
    host.agent.stop()?;
    host.agent.unload()?;
    fs::remove_dir_all(host.agent.state_dir())?;
    fs::write(host.agent.config_file(), host.text()? + "\nno_such_key = 1\n")?;
    host.agent.launch()?;
    assert_eq!(host.reach(OTHER, SILENCE)?, Reach::Silent);
    ensure!(host.agent.faults()?.contains("no_such_key"), "{}", host.agent.status()?);
    Ok(())
}
