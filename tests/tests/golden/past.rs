//! What earlier versions wrote is opened: their stores, as SQL in `tests/golden/past`, and their configurations.
//!
//! With `JIT_UPDATE_GOLDEN=past`, what this version leaves behind after a day of work is added there.

mod day;
mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context as _, Result, ensure};
use jit_tests::{Config, PATIENCE, Reach, tcp_connects};

use self::store::{Boot, load};
use crate::{
    file,
    run::Host,
    transcript::{Transcript, play},
};

const SSH: &str = "192.0.2.1:22";

/// What shows all that is in a store.
const SHOWN: &str = "
dave requests
dave --json requests
dave grants
dave --json grants
dave audit
";

/// What earlier versions left behind, by version.
fn past() -> Result<Vec<PathBuf>> {
    // One test adds what the others read.
    static ADDING: Mutex<()> = Mutex::new(());
    let _adding = ADDING.lock();
    let directory = Path::new(file::DIRECTORY).join("past");
    let this = directory.join(env!("CARGO_PKG_VERSION"));
    if file::updates("past") && !this.exists() {
        day::leave_behind(&this)?;
    }
    let mut found = fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.sort();
    ensure!(!found.is_empty(), "{} is empty", directory.display());
    Ok(found)
}

/// A host with what a version left behind, as if its agent had been stopped just now.
fn prepare(left: &Path, boot: Boot) -> Result<Host> {
    let host = Host::prepare(Config::enforcing("srv0"))?;
    fs::copy(left.join("config.toml"), host.agent.config_file())?;
    fs::create_dir(host.agent.state_dir())?;
    let dump = fs::read_to_string(left.join("store.sql"))?;
    load(&dump, &host.agent.state_dir().join("jit-agent.sqlite"), boot)?;
    Ok(host)
}

/// The same with the agent started.
fn start(left: &Path, boot: Boot) -> Result<Host> {
    let mut host = prepare(left, boot)?;
    host.launch()?;
    Ok(host)
}

/// All is listed as it was, and what was open is.
fn holds(host: &Host, left: &Path) -> Result<()> {
    let name = format!("past/{}/told.txt", left.file_name().context("no version")?.display());
    let mut told = Transcript::default();
    play(host, SHOWN, None, &mut told)?;
    file::check(&name, &told.0)?;

    // The log's rows to the letter, with their times and hashes.
    let log = fs::read_to_string(left.join("audit.jsonl"))?;
    let found = host.jitctl("dave", &["audit", "--jsonl"])?.success()?.stdout;
    let differs = log.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    ensure!(differs.is_none() && found.len() >= log.len(), "the audit log is not what it was: {differs:#?}");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().context("no log")?)?;
    let head = format!("{}:{}", last["seq"], last["hash"].as_str().unwrap_or_default());
    let sound = host.jitctl("dave", &["audit", "verify", "--head", &head])?.success()?.stdout;
    ensure!(sound.contains("is sound"), "{sound}");

    assert_eq!(host.agent.jitctl(&["status"])?.code(), Some(0), "{}", host.agent.status()?);
    assert_eq!(tcp_connects(&host.net.client, "192.0.2.10", SSH, PATIENCE)?, Reach::Refused, "the live grant");
    host.agent.expect_drop(&host.net.client, "192.0.2.11", SSH, "no_grant")?;
    let again = host.agent.api_raw("POST", "/v1/requests", &[day::KEY], Some(day::BODY.to_owned()))?;
    ensure!(again.status == 200, "the idempotency key is not known: {again:?}");
    host.jitctl("carol", &["revoke", "1"])?.success()?;
    host.agent.expect_drop(&host.net.client, "192.0.2.10", SSH, "no_grant")
}

#[test]
fn what_earlier_versions_wrote_in_this_boot_is_opened() -> Result<()> {
    for left in past()? {
        holds(&start(&left, Boot::This)?, &left).with_context(|| left.display().to_string())?;
    }
    Ok(())
}

#[test]
fn what_earlier_versions_wrote_before_a_reboot_is_opened() -> Result<()> {
    for left in past()? {
        holds(&start(&left, Boot::Earlier)?, &left).with_context(|| left.display().to_string())?;
    }
    Ok(())
}

#[test]
fn what_earlier_versions_accepted_last_is_in_force_where_the_file_is_broken() -> Result<()> {
    for left in past()? {
        let ports = |host: &Host| Ok::<_, anyhow::Error>(host.jitctl("root", &["--json", "ports"])?.success()?.stdout);
        let good = ports(&start(&left, Boot::This)?)?;
        let mut host = prepare(&left, Boot::This)?;
        fs::copy(left.join("accepted-config.toml"), host.agent.state_dir().join("accepted-config.toml"))?;
        let broken = fs::read_to_string(host.agent.config_file())?.replace("number = 22", "number = 0");
        fs::write(host.agent.config_file(), broken)?;
        host.launch()?;
        let faults = host.agent.faults()?;
        ensure!(faults.contains("the last accepted configuration stays in force"), "{}: {faults}", left.display());
        assert_eq!(ports(&host)?, good, "{}", left.display());
    }
    Ok(())
}
