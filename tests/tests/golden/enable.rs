//! Enforcement turned on and off: what is said, what is written into the file, and what is written down meanwhile.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use jit_tests::{Config, PATIENCE, Port, TcpServer, TcpSession};
use serde_json::Value;

use crate::{
    file,
    normal::normal,
    run::Host,
    transcript::{Transcript, play},
};

const SSH: &str = "192.0.2.1:22";

const BEFORE: &str = "
# shut on trial
root@192.0.2.10 jit-agent enable --config {config}
root@192.0.2.10 jit-agent enable --trial 5m --grant 20m --console --yes --config {config}
root status
root grants
root jit-agent enable --console --yes --config {config}
root ports add 8080
root reload
";

const CONFIRMED: &str = "
# confirmed
root jit-agent confirm --config {config}
root jit-agent confirm --config {config}
root status
";

const CHANGED: &str = "
# a change that cuts off who makes it
root@192.0.2.10 ports set 22 --allow 192.0.2.11
root@192.0.2.10 ports set 22 --allow 192.0.2.11 --yes
";

const DISABLED: &str = "
# taken back, and disabled
root jit-agent disable --config {config}
root jit-agent disable --config {config}
root jit-agent disable --yes --config {config}
root jit-agent disable --yes --config {config}
root audit
";

/// The agent's answer about enforcement.
fn enforcement(host: &Host, told: &mut Transcript) -> Result<()> {
    told.heading("GET /v1/enforcement");
    told.0.push_str(&normal(&host.agent.api("GET", "/v1/enforcement", None)?.body));
    Ok(())
}

/// The configuration file.
fn configuration(host: &Host, told: &mut Transcript) -> Result<()> {
    told.heading("the configuration file");
    told.0.push_str(&fs::read_to_string(host.agent.config_file())?);
    Ok(())
}

/// The trial that is written down, of which the first line has the checksum.
fn trial(host: &Host, told: &mut Transcript) -> Result<()> {
    let text = fs::read_to_string(host.agent.state_dir().join("trial.json"))?;
    let (checksum, record) = text.split_once('\n').context("no checksum")?;
    let mut record: Value = serde_json::from_str(record)?;
    ensure!(record["until"].is_u64(), "{record}");
    record["until"] = "{any}".into();
    told.heading("trial.json");
    told.0.push_str(&normal(checksum));
    told.0.push_str(&normal(&record.to_string()));
    Ok(())
}

#[test]
fn enforcement_is_turned_on_and_off_in_the_same_words() -> Result<()> {
    let port = Port::tcp(22).allow(&["192.0.2.0/24"]).max("1h");
    let host = Host::start(Config::enforcing("srv0").set("mode", "observe").port(port))?;
    let _ssh = TcpServer::echo(&host.net.server, SSH)?;
    let mut own = TcpSession::open(&host.net.client, "192.0.2.10", SSH)?;
    let _other = TcpSession::open(&host.net.client, "192.0.2.11", SSH)?;
    let text = fs::read_to_string(host.agent.config_file())?;
    fs::write(host.agent.config_file(), format!("# kept\n{text}"))?;
    host.jitctl("root", &["reload"])?.success()?;

    let mut told = Transcript::default();
    enforcement(&host, &mut told)?;
    play(&host, BEFORE, None, &mut told)?;
    enforcement(&host, &mut told)?;
    configuration(&host, &mut told)?;
    trial(&host, &mut told)?;
    play(&host, CONFIRMED, None, &mut told)?;
    configuration(&host, &mut told)?;
    ensure!(own.echoes(PATIENCE)?, "the operator's own connection is cut");
    play(&host, CHANGED, None, &mut told)?;
    trial(&host, &mut told)?;
    play(&host, DISABLED, None, &mut told)?;
    configuration(&host, &mut told)?;
    file::check("enable.txt", &told.0)
}
