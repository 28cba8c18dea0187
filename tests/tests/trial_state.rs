//! Damaged or forged records of a trial: the agent starts, says what is wrong, opens nothing, and does not enforce for
//! ever what nobody confirmed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use jit_agent::datapath::xdp::pinned_enforces;
use jit_policy::BootTime;
use jit_tests::{Agent, Config, Outcome, PATIENCE, Port, Program, Reach, SILENCE, TcpServer, Topology, tcp_connects};
use serde_json::{Value, json};

/// The operator's address, from which SSH sessions come.
const OPERATOR: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";

struct Host {
    net: Topology,
    agent: Agent,
    _ssh: TcpServer,
}

impl Host {
    fn new(mode: &str) -> Result<Self> {
        let net = Topology::new()?;
        let ssh = TcpServer::echo(&net.server, SSH)?;
        let port = Port::tcp(22).allow(&["192.0.2.0/24"]).max("1h");
        let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").set("mode", mode).port(port))?;
        Ok(Self { net, agent, _ssh: ssh })
    }

    fn run(&self, program: Program) -> Result<Outcome> {
        program.env("SSH_CONNECTION", format!("{OPERATOR} 50000 192.0.2.1 22")).run_in(&self.net.server, PATIENCE)
    }

    fn jit_agent(&self, arguments: &[&str]) -> Result<Outcome> {
        let program = Program::new(self.net.sandbox.binary("jit-agent")?).args(arguments);
        self.run(program.arg("--config").arg(self.agent.config_file()))
    }

    fn trial(&self) -> PathBuf {
        self.agent.state_dir().join("trial.json")
    }

    /// Kills the agent, replaces the record of its trial, and starts the agent again.
    fn restart_with(&mut self, replace: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.agent.kill9();
        let trial = self.trial();
        clear(&trial)?;
        replace(&trial)?;
        self.agent.launch()
    }

    /// Expects that the agent reports a fault that contains these parts.
    #[track_caller]
    fn expect_fault(&self, parts: &[&str]) -> Result<()> {
        let faults = self.agent.faults()?;
        for part in parts {
            ensure!(faults.contains(part), "{part:?} is not in {faults}");
        }
        Ok(())
    }

    fn reach(&self, from: &str) -> Result<Reach> {
        let reach = tcp_connects(&self.net.client, from, SSH, SILENCE)?;
        if reach == Reach::Silent { Ok(reach) } else { tcp_connects(&self.net.client, from, SSH, PATIENCE) }
    }
}

fn clear(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(metadata) if metadata.is_dir() => Ok(fs::remove_dir(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
    }
}

/// Writes a record with the checksum that the agent would give it.
fn write_record(path: &Path, text: &str) -> Result<()> {
    let plain = path.with_extension("plain");
    fs::write(&plain, text)?;
    let sum = Program::new("sha256sum").arg(&plain).spawn()?.outcome(PATIENCE)?.success()?;
    let sum = sum.stdout.split(' ').next().context("no checksum")?.to_owned();
    fs::remove_file(plain)?;
    Ok(fs::write(path, format!("# sha256 {sum}\n{text}"))?)
}

/// The record in a file.
fn record(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    Ok(serde_json::from_str(text.split_once('\n').context("no record")?.1)?)
}

type Replace = Box<dyn Fn(&Path) -> Result<()>>;

/// Contents that may replace a record, and what the agent says about each.
fn hostile(record: &Value) -> Vec<(Replace, Vec<&'static str>)> {
    let text = record.to_string();
    let half = text[..text.len() / 2].to_owned();
    let with = |key: &str, raw: &str| {
        let mut changed = record.clone();
        changed[key] = json!("VALUE");
        let text = changed.to_string().replace("\"VALUE\"", raw);
        Box::new(move |path: &Path| write_record(path, &text)) as Replace
    };
    vec![
        (Box::new(move |path| Ok(fs::write(path, &half)?)), vec!["is cut short", "remove it"]),
        (Box::new(move |path| Ok(fs::write(path, format!("# sha256 00\n{text}"))?)), vec!["checksum", "remove it"]),
        (Box::new(|path| Ok(fs::write(path, [0xff; 4096])?)), vec!["UTF-8", "remove it"]),
        (
            Box::new(|path| Ok(fs::File::create(path)?.set_len(1 << 40)?)),
            vec!["has 1099511627776 bytes, more than anything", "remove it"],
        ),
        (with("until", "-5"), vec!["invalid value: integer `-5`, expected u64", "remove it"]),
        (with("until", "36893488147419103232"), vec!["invalid type: floating point", "remove it"]),
        (with("until", "18446744073709551615"), vec!["until = 18446744073709551615", "longer than 1 h"]),
        (with("tried", "\"interfaces = 7\""), vec!["no configuration that could be tried", "remove it"]),
        (Box::new(|path| Ok(fs::create_dir(path)?)), vec!["is no file, but a directory", "remove it"]),
        (Box::new(|path| Ok(symlink("/dev/zero", path)?)), vec!["is no file, but a symbolic link", "remove it"]),
        (
            Box::new(|path| Program::new("mkfifo").arg(path).spawn()?.outcome(PATIENCE)?.success().map(drop)),
            vec!["is no file, but a pipe", "remove it"],
        ),
    ]
}

#[test]
fn a_trial_whose_record_can_not_be_used_is_over_and_the_ports_are_as_before_it() -> Result<()> {
    let mut host = Host::new("observe")?;
    host.jit_agent(&["enable", "--console", "--yes"])?.success()?;
    let record = record(&host.trial())?;
    let mut cases = hostile(&record);
    let other_boot = {
        let mut record = record.clone();
        record["boot_id"] = json!("00000000-0000-0000-0000-000000000000");
        record.to_string()
    };
    cases.push((Box::new(move |path| write_record(path, &other_boot)), vec![]));
    for (replace, parts) in cases {
        host.restart_with(replace)?;
        if !parts.is_empty() {
            host.expect_fault(&parts)?;
            host.expect_fault(&[&host.trial().display().to_string()])?;
        }
        let status = host.agent.status()?;
        ensure!(status["mode"] == "observe" && status["trial"].is_null(), "{parts:?}: {status}");
        assert_eq!(host.reach(OTHER)?, Reach::Open, "{parts:?}");
        // The operator removes the file that the fault names, and then no fault is left.
        clear(&host.trial())?;
        host.jit_agent(&["enable", "--console", "--yes"])?.success()?;
        assert_eq!(host.reach(OTHER)?, Reach::Silent, "{parts:?}");
    }
    Ok(())
}

#[test]
fn a_record_that_can_not_be_used_opens_nothing_where_the_files_enforce() -> Result<()> {
    let mut host = Host::new("enforce")?;
    let made_up = json!({
        "kind": "enable", "boot_id": "", "until": 1, "files": [], "tried": "mode = 'observe'", "change": null,
        "shut": [], "unloaded": null,
    });
    for (replace, parts) in hostile(&made_up) {
        host.restart_with(replace)?;
        // In this test, a record with a late end counts as a record of another boot.
        if parts.contains(&"remove it") {
            host.expect_fault(&parts)?;
        }
        assert_eq!(host.reach(OTHER)?, Reach::Silent, "{parts:?}");
        ensure!(host.agent.status()?["mode"] == "enforce", "{parts:?}");
    }
    Ok(())
}

#[test]
fn a_change_on_trial_stays_in_force_without_an_agent_until_a_successor_ends_it() -> Result<()> {
    let mut host = Host::new("enforce")?;
    host.agent.grant(22, "TCP", OPERATOR, 600)?;
    let done = host.run(host.agent.client(&["ports", "set", "22", "--allow", OTHER, "--yes"])?)?.success()?;
    ensure!(done.stdout.contains("ON TRIAL"), "{done:?}");
    assert_eq!((host.reach(OPERATOR)?, host.reach(OTHER)?), (Reach::Silent, Reach::Silent));
    let mut over = record(&host.trial())?;
    over["until"] = json!(1);
    let in_the_far_future = BootTime(u64::MAX - 1);
    host.agent.kill9();
    ensure!(pinned_enforces(&host.agent.bpffs_dir(), in_the_far_future), "the kernel ends the trial by itself");
    write_record(&host.trial(), &over.to_string())?;
    host.agent.launch()?;
    assert_eq!((host.reach(OPERATOR)?, host.reach(OTHER)?), (Reach::Open, Reach::Silent));
    ensure!(host.agent.jitctl(&["audit", "--event", "trial_ended"])?.success()?.stdout.contains("trial_ended"));
    ensure!(pinned_enforces(&host.agent.bpffs_dir(), in_the_far_future));
    Ok(())
}

#[test]
fn edited_files_whose_trial_can_not_be_read_any_more_do_not_cut_off_for_ever_who_tried_them() -> Result<()> {
    let mut host = Host::new("enforce")?;
    host.agent.grant(22, "TCP", OPERATOR, 600)?;
    let text = fs::read_to_string(host.agent.config_file())?;
    let narrowed = text.replace("192.0.2.0/24", "198.51.100.0/24");
    ensure!(narrowed != text, "{text}");
    fs::write(host.agent.config_file(), narrowed)?;
    let done = host.run(host.agent.client(&["reload", "--yes"])?)?.success()?;
    ensure!(done.stdout.contains("ON TRIAL"), "{done:?}");
    assert_eq!(host.reach(OPERATOR)?, Reach::Silent);
    host.restart_with(|path| Ok(fs::write(path, "")?))?;
    host.expect_fault(&["is cut short", "not known whether these files were tried", "last accepted configuration"])?;
    ensure!(host.agent.status()?["mode"] == "enforce");
    let ports = host.agent.api("GET", "/v1/ports", None)?.body;
    ensure!(ports.contains("192.0.2.0/24") && !ports.contains("198.51.100.0/24"), "{ports}");
    assert_eq!(host.reach(OTHER)?, Reach::Silent);
    host.agent.grant(22, "TCP", OPERATOR, 600)?;
    assert_eq!(host.reach(OPERATOR)?, Reach::Open);
    Ok(())
}
