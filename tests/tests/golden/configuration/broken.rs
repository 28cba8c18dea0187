//! Files that are no configuration, and what is in force all the same.

use std::{fs, path::Path};

use anyhow::Result;
use jit_tests::Config;

use crate::{
    file,
    run::Host,
    transcript::{Transcript, play},
};

/// The places that the test needs, before all that is broken.
const PLACES: &str = "socket = '/run/sandbox/agent-server/agent.sock'
state_dir = '/run/sandbox/agent-server/state'
bpffs_dir = '/run/sandbox/bpf/jit-agent-server'
";

/// Broken files, one for each line; `;` ends a line of the file.
const FILES: &str = "
mode = 'enforce'; interfaces = ['srv0']; no_such_key = 1
mode = 'enforce'; interfaces = ['srv0']; break_glass = ['host']; [[port]]; number = 443; protocol = 'tcp'
mode = 'enforce'; interfaces = ['srv0']; [[port]]; number = 443; protocol = 'icmp'
mode = 'enforce'; interfaces = ['srv0']; [[port]]; number = 443; protocol = 'tcp'; [[port]]; number = 443; protocol = 'any'
mode = 'enfore'; interfaces = ['srv0']; [[port]]; number = 443; protocol = 'tcp'; [roles]; viewer = ['dave']
interfaces = ['srv0']; retention = '3h'; scope = 'some'; [roles]; viewer = ['dave']; owner = ['bob']
interfaces = ['srv0', 'srv0']; fragments = 'drop'; [roles]; viewer = ['dave']
";

/// A file of `conf.d` that is no TOML, beside a main file that is right.
const NO_TOML: &str = "mode = 'enforce'
[[port
";

#[test]
fn of_a_broken_file_the_same_is_in_force() -> Result<()> {
    let mut host = Host::prepare(Config::enforcing("srv0"))?;
    let mut told = Transcript::default();
    let mut hold = |heading: &str, text: &str| -> Result<()> {
        told.heading(heading);
        fs::write(host.agent.config_file(), format!("{PLACES}{text}"))?;
        host.launch()?;
        play(&host, "root status\nroot ports\ndave ports\n", None, &mut told)?;
        host.agent.stop()?;
        host.agent.unload()?.success()?;
        Ok(fs::remove_dir_all(host.agent.state_dir())?)
    };
    for line in FILES.lines().filter(|line| !line.is_empty()) {
        hold(line, &line.replace("; ", "\n"))?;
    }
    let beside = Path::new("/run/sandbox/agent-server/conf.d");
    fs::create_dir(beside)?;
    fs::write(beside.join("10-no.toml"), NO_TOML)?;
    hold("mode = 'enforce' in a file that is no TOML", "interfaces = ['srv0']\n[roles]\nviewer = ['dave']\n")?;
    file::check("broken.txt", &told.0)
}

#[test]
fn what_was_accepted_last_is_in_force_until_the_file_is_correct() -> Result<()> {
    let mut host = Host::start(Config::enforcing("srv0").set("break_glass", vec!["203.0.113.7"]))?;
    let good = fs::read_to_string(host.agent.config_file())?;
    let mut told = Transcript::default();
    host.agent.stop()?;
    fs::write(host.agent.config_file(), good.replace("mode", "mood"))?;
    host.launch()?;
    play(&host, BROKEN, None, &mut told)?;
    fs::write(host.agent.config_file(), good)?;
    play(&host, CORRECTED, None, &mut told)?;
    file::check("accepted.txt", &told.0)
}

const BROKEN: &str = "
# broken
root status
root ports
root why 203.0.113.7 22
root ports add 443
root reload
root jit-agent check --config {config}
";

const CORRECTED: &str = "
# corrected
root reload
root status
root ports add 443
";
