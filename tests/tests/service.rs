//! The agent as a service: what the unit denies to it, what it reports to the service manager, what monitoring sees.

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Program, Stream, Topology};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/systemd/jit-agent.service");
const ALERTS: &str = include_str!("../../dist/prometheus/jit-agent.rules.yml");

/// The highest exposure that the unit may have, in tenths.
const EXPOSURE: &str = "20";
/// Metrics that are present only at times.
const AT_TIMES: [&str; 1] = ["jit_agent_trial_seconds_remaining"];

#[test]
fn the_unit_leaves_little_to_whoever_takes_over_the_agent() -> Result<()> {
    let analysis = ["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE, UNIT];
    let outcome = Program::new("systemd-analyze").args(analysis).spawn()?.outcome(PATIENCE)?.success()?;
    ensure!(outcome.stdout.contains("Overall exposure level for jit-agent.service"), "{outcome:?}");
    Ok(())
}

#[test]
fn nothing_that_may_fail_at_boot_keeps_the_unit_from_starting() -> Result<()> {
    let unit = std::fs::read_to_string(UNIT)?;
    let values = |key: &str| -> Vec<&str> {
        unit.lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .flat_map(str::split_whitespace)
            .collect()
    };
    // These keys imply requirements on mounts and on other units.
    for key in
        ["Requires", "Requisite", "BindsTo", "RequiresMountsFor", "StateDirectory", "LogsDirectory", "PrivateTmp"]
    {
        assert_eq!(values(key), [""; 0], "{key}");
    }
    assert_eq!(values("DefaultDependencies"), ["no"]);
    assert_eq!(values("StartLimitIntervalSec"), ["0"]);
    assert_eq!(values("Restart"), ["always"]);
    ensure!(values("Before").contains(&"network-pre.target") && values("Wants").contains(&"network-pre.target"));
    ensure!(values("ReadWritePaths").iter().all(|path| path.starts_with('-')), "a path that is missing is an error");
    Ok(())
}

#[test]
fn the_watchdog_is_fed_after_the_ports_are_locked() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::prepare(&net.sandbox, &net.server, Config::enforcing(&net.server_device))?;
    // WATCHDOG_PID names the process that the service manager means.
    let process = Program::new("sh")
        .args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
        .arg(net.sandbox.binary("jit-agent")?)
        .args(["run", "--config"])
        .arg(agent.config_file())
        .env("WATCHDOG_USEC", "100000")
        .notify_at(net.sandbox.path("watched"))
        .spawn_in(&net.server)?;
    process.wait_for_line(Stream::Notify, "READY=1", PATIENCE)?;
    for _ in 0..3 {
        let mark = process.mark();
        process.wait_for_line_after(mark, Stream::Notify, "WATCHDOG=1", PATIENCE)?;
    }
    let said = process.text(Stream::Notify);
    ensure!(said.starts_with("READY=1"), "{said}");
    Ok(())
}

#[test]
fn without_a_watchdog_no_keep_alive_is_sent() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, Config::enforcing(&net.server_device))?;
    let process = agent.process()?.text(Stream::Notify);
    agent.stop()?;
    ensure!(!process.contains("WATCHDOG"), "{process}");
    Ok(())
}

/// The names of the metrics in the expressions of the alerts.
fn figures() -> Vec<&'static str> {
    let expressions = ALERTS.lines().filter_map(|line| line.trim_start().strip_prefix("expr: "));
    let names = expressions.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    names.filter(|name| name.starts_with("jit_agent_")).collect()
}

#[test]
fn every_alert_is_about_a_figure_that_the_agent_has() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing(&net.server_device))?;
    let page = agent.api("GET", "/metrics", None)?;
    ensure!(page.status == 200, "{page:?}");
    let names = figures();
    ensure!(names.len() >= 8, "{names:?}");
    for name in names.iter().filter(|name| !AT_TIMES.contains(name)) {
        let line =
            page.body.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name}: {page:?}"))?;
        let rest = &line[name.len()..];
        ensure!(rest.starts_with(['{', ' ']), "{name} is not in {}", page.body);
    }
    Ok(())
}
