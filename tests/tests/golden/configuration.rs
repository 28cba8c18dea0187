//! The keys of the configuration: what each takes, what is said of one that can't be used, and what is made of a file that is
//! broken.

mod broken;
mod refused;

use std::fs;

use anyhow::Result;
use jit_tests::{
    Config, FrameSender,
    verdicts::frame::{Ipv4, protocol, segment},
};

use crate::{
    file,
    run::Host,
    transcript::{Transcript, play},
};

/// Every key with another value than its default.
const FULL: &str = include_str!("../../golden/full.toml");

/// What shows the settings. Nobody but those in the file has a role.
const SHOWN: &str = "
# what is in force
dave status
dave ports
dave --json ports

# who may do what
dave audit --event granted
dave request --port 22 --from 192.0.2.10 --for 10m -m test
alice request --port 22/tcp --from 192.0.2.10 --for 10m -m 'too long a time, and no such source'
alice request --port 22/tcp --from 198.51.100.1 --for 5m
alice request --port 8443/udp --from 2001:db8::1 --for 1h
alice request --port 8443/udp --from 2001:db8::2 --for 1h -m 'one more than the quota'
alice approve 1 --yes
bob approve 1 --yes
pusher request --port 22/tcp --from 198.51.100.1 --for 5m -m test --requestor zoe@example.org
carol ports set 22 --max 10m
carol why 203.0.113.7 22
";

#[test]
fn every_key_is_taken_and_takes_effect() -> Result<()> {
    let mut host = Host::prepare(Config::enforcing("srv0"))?;
    fs::write(host.agent.config_file(), FULL)?;
    // What else it says depends on the kernel.
    let checked = host.jit_agent(&["check"])?.success()?.stdout;
    let about = |line: &&str| line.contains("config.toml") || line.starts_with("warning");
    let mut told = Transcript::default();
    told.heading("jit-agent check");
    checked.lines().filter(about).for_each(|line| told.0.push_str(&format!("{line}\n")));
    told.0.push('\n');
    host.launch()?;
    play(&host, SHOWN, None, &mut told)?;

    let mut fragment = Ipv4::new([192, 0, 2, 10].into(), protocol::TCP, segment(22));
    fragment.fragment = 1;
    FrameSender::new(&host.net.client, "cli0")?.send(&fragment.frame())?;
    told.0.push_str(&format!("fragments refused: {}\n", host.agent.counted("fragment_refused")?));

    told.heading("what is kept for a start with a broken file");
    told.0.push_str(&fs::read_to_string(host.agent.state_dir().join("accepted-config.toml"))?);
    file::check("full.txt", &told.0)
}

#[test]
fn files_of_conf_d_are_put_together() -> Result<()> {
    let mut host = Host::prepare(Config::enforcing("srv0"))?;
    let mut told = Transcript::default();
    let beside = host.agent.config_file().with_file_name("conf.d");
    fs::create_dir(&beside)?;
    let main = fs::read_to_string(host.agent.config_file())?;
    fs::write(
        host.agent.config_file(),
        main + "[[port]]\nnumber = 22\nprotocol = 'tcp'\n[roles]\nviewer = ['dave']\n",
    )?;
    fs::write(beside.join("10-more.toml"), "retention = '10d'\n[[port]]\nnumber = 443\nprotocol = 'tcp'\n")?;
    fs::write(beside.join("20-people.toml"), "[roles]\nviewer = ['alice']\nrequester = ['alice']\n")?;
    fs::write(beside.join("30-other.conf"), "no such key = 1")?;
    fs::write(beside.join(".40-hidden.toml"), "no such key = 1")?;
    host.launch()?;
    play(&host, "dave ports\nalice ports\nbob ports\nalice audit --event granted\n", None, &mut told)?;
    told.heading("what is kept for a start with a broken file");
    told.0.push_str(&fs::read_to_string(host.agent.state_dir().join("accepted-config.toml"))?);
    told.heading("a key in two files");
    fs::write(beside.join("50-twice.toml"), "retention = '20d'\n")?;
    play(&host, "root jit-agent check --config {config}\nroot reload\ndave status\n", None, &mut told)?;
    file::check("conf-d.txt", &told.0)
}
