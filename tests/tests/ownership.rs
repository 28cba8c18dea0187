//! What others could change is no configuration and no state: the agent says so, with the remedy, and opens nothing.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use jit_tests::{Agent, Config, Port, Topology};

const STRANGER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
/// A user who is neither root nor the agent's user: alice.
const ALICE: u32 = 1000;

fn config() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22))
}

/// The configuration that a stranger would like to have.
fn opening() -> Config {
    config().set("break_glass", vec!["0.0.0.0/0"])
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| path.display().to_string())
}

fn give_to_alice(path: &Path) -> Result<()> {
    chown(path, Some(ALICE), Some(ALICE)).with_context(|| path.display().to_string())
}

#[track_caller]
fn expect_parts(text: &str, parts: &[String]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    Ok(())
}

#[test]
fn files_that_others_could_change_are_refused_and_what_was_accepted_stays_in_force() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let (main, conf_d) = (agent.config_file(), agent.dir().join("conf.d"));
    let more = conf_d.join("x.toml");
    fs::create_dir(&conf_d)?;
    fs::write(&more, "")?;
    let mode = |path: &PathBuf, mode: u32| (path.clone(), format!("mode {mode:04o}"), "chmod go-w", Some(mode));
    let owner = |path: &PathBuf| (path.clone(), format!("uid {ALICE}"), "chown root", None);
    for (path, what, remedy, new_mode) in [
        mode(&main, 0o666),
        mode(&main, 0o660),
        owner(&main),
        mode(&more, 0o602),
        owner(&more),
        mode(&conf_d, 0o777),
        owner(&conf_d),
    ] {
        let before = fs::metadata(&path)?;
        agent.configure(opening())?;
        match new_mode {
            Some(mode) => set_mode(&path, mode)?,
            None => give_to_alice(&path)?,
        }
        let parts = [path.display().to_string(), what, format!("{remedy} {}", path.display())];
        let reload = agent.jitctl(&["reload", "--yes", "--allow-open", "break_glass=0.0.0.0/0"])?;
        ensure!(reload.code() == Some(1), "{reload:?}");
        expect_parts(&reload.stderr, &parts)?;
        // For root, the user to whom the main file belongs is the agent's.
        if path != main || new_mode.is_some() {
            let check = agent.subcommand("check")?;
            ensure!(check.code() == Some(1), "{check:?}");
            expect_parts(&check.stderr, &parts)?;
        }
        agent.restart()?;
        agent.expect_drop(&net.client, STRANGER, SSH, "no_grant")?;
        expect_parts(&agent.faults()?, &[parts.as_slice(), &["accepted configuration stays".to_owned()]].concat())?;
        set_mode(&path, before.mode() & 0o7777)?;
        chown(&path, Some(before.uid()), Some(before.gid()))?;
        agent.configure(config())?;
        agent.jitctl(&["reload"])?.success()?;
        ensure!(agent.jitctl(&["status"])?.code() == Some(0), "{}", agent.faults()?);
    }
    Ok(())
}

#[test]
fn of_the_very_first_files_nothing_that_opens_is_used_if_others_could_change_them() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, opening())?;
    set_mode(&agent.config_file(), 0o666)?;
    let text = fs::read_to_string(agent.config_file())?;
    // The directories that the files name can be trusted.
    ensure!(text.contains("state_dir"), "{text}");
    fs::create_dir(agent.state_dir())?;
    let socket = agent.socket();
    agent.launch()?;
    ensure!(socket.exists(), "{text}");
    let status = agent.status()?;
    ensure!(status["mode"] == "enforce", "{status}");
    agent.expect_drop(&net.client, STRANGER, SSH, "no_grant")?;
    Ok(())
}

#[test]
fn a_state_directory_that_others_could_change_is_a_fault_and_says_nothing() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.stop()?;
    let state = agent.state_dir();
    fs::write(state.join("unloaded"), "by a stranger")?;
    set_mode(&state, 0o777)?;
    agent.launch()?;
    agent.expect_drop(&net.client, STRANGER, SSH, "no_grant")?;
    let state = state.display();
    let parts = [format!("state_dir can't be trusted: {state} has mode 0777"), format!("chmod go-w {state}")];
    expect_parts(&agent.faults()?, &parts)?;
    let refused = agent.request(22, "TCP", &[STRANGER], 600)?;
    ensure!(refused.status == 503 && refused.body.contains("has mode 0777"), "{refused:?}");
    Ok(())
}

#[test]
fn a_directory_of_pins_that_somebody_else_made_becomes_the_agents() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    fs::create_dir(agent.bpffs_dir())?;
    give_to_alice(&agent.bpffs_dir())?;
    agent.launch()?;
    let made = fs::metadata(agent.bpffs_dir())?;
    assert_eq!((made.uid(), made.mode() & 0o7777), (0, 0o700));
    ensure!(agent.jitctl(&["status"])?.code() == Some(0), "{}", agent.faults()?);
    Ok(())
}

#[test]
fn a_check_by_root_takes_files_of_the_user_of_the_service_with_a_warning() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    for path in [agent.config_file(), agent.dir().to_owned()] {
        give_to_alice(&path)?;
    }
    let check = net.server.enter(|| agent.subcommand("check"))??.success()?;
    let main = agent.config_file();
    expect_parts(&check.stdout, &[format!("{} belongs to uid {ALICE}", main.display()), "chown root".to_owned()])
}
