//! Port policies that change while the agent runs and clients are connected.

use std::fs;

use anyhow::{Result, ensure};
use jit_tests::{
    Agent, Config, Outcome, PATIENCE, Port, Reach, SILENCE, Stream, TcpServer, TcpSession, Topology, tcp_connects,
};
use rustix::process::Signal;

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const WEB: &str = "192.0.2.1:8080";

/// An agent that protects 22/tcp, with comments in its file.
fn start(net: &Topology) -> Result<Agent> {
    let config = Config::enforcing("srv0").port(Port::tcp(22).allow(&["192.0.2.0/24"]).max("1h"));
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config)?;
    let text = fs::read_to_string(agent.config_file())?;
    fs::write(agent.config_file(), format!("# about this host\n{text}# the end\n"))?;
    agent.launch()?;
    Ok(agent)
}

fn text(agent: &Agent) -> Result<String> {
    Ok(fs::read_to_string(agent.config_file())?)
}

/// What the agent keeps of what it sets itself.
fn own(agent: &Agent) -> Result<String> {
    Ok(fs::read_to_string(agent.state_dir().join("policy.toml"))?)
}

fn rewrite(agent: &Agent, from: &str, to: &str) -> Result<()> {
    let text = text(agent)?;
    ensure!(text.contains(from), "no {from} in {text}");
    Ok(fs::write(agent.config_file(), text.replace(from, to))?)
}

/// Expects that the outcome has this exit code and contains these words.
fn refused(outcome: &Outcome, code: i32, words: &str) -> Result<()> {
    ensure!(outcome.code() == Some(code) && outcome.stderr.contains(words), "{code}, {words}: {outcome:?}");
    Ok(())
}

#[test]
fn an_added_port_is_locked_at_once_and_open_again_when_its_removal_is_confirmed() -> Result<()> {
    let net = Topology::new()?;
    let _web = TcpServer::echo(&net.server, WEB)?;
    let agent = start(&net)?;
    let reach = |from| tcp_connects(&net.client, from, WEB, PATIENCE);
    let silent = || tcp_connects(&net.client, ALICE, WEB, SILENCE);
    assert_eq!(reach(ALICE)?, Reach::Open);
    let mut session = TcpSession::open(&net.client, ALICE, WEB)?;
    ensure!(session.echoes(PATIENCE)?);

    let before = text(&agent)?;
    agent.jitctl(&["ports", "add", "8080", "--max", "30m", "--justification", "optional"])?.success()?;
    assert_eq!(silent()?, Reach::Silent);
    ensure!(!session.echoes(SILENCE)?, "an established connection is locked too");
    let listed = agent.jitctl(&["ports"])?.success()?;
    ensure!(listed.stdout.contains("8080/tcp"), "{listed:?}");
    let written = own(&agent)?;
    for part in ["number = 8080", "max_duration = \"30m\""] {
        ensure!(written.contains(part), "{part} is not in {written}");
    }
    assert_eq!(text(&agent)?, before, "the file of the owner stays as it is");
    refused(&agent.jitctl(&["ports", "add", "8080"])?, 1, "8080/tcp has a policy already")?;

    agent.grant(8080, "TCP", OTHER, 600)?;
    assert_eq!((reach(OTHER)?, silent()?), (Reach::Open, Reach::Silent));
    refused(&agent.jitctl(&["ports", "remove", "8080"])?, 3, "would be unprotected: 8080/tcp\n1 grant would end")?;
    assert_eq!(silent()?, Reach::Silent, "nothing is opened before it is confirmed");
    agent.jitctl(&["ports", "remove", "8080", "--yes"])?.success()?;
    assert_eq!(reach(ALICE)?, Reach::Open);
    assert_eq!(agent.grant_counts()?, (0, 0));
    ensure!(own(&agent).is_err() && text(&agent)? == before, "nothing is left that the files don't say");
    Ok(())
}

#[test]
fn narrower_sources_end_a_connection_when_that_is_confirmed_and_not_before() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, SSH)?;
    let mut agent = start(&net)?;
    agent.grant(22, "TCP", ALICE, 600)?;
    agent.grant(22, "TCP", OTHER, 600)?;
    let mut alice = TcpSession::open(&net.client, ALICE, SSH)?;
    let mut other = TcpSession::open(&net.client, OTHER, SSH)?;
    let set = ["ports", "set", "22", "--allow", OTHER];
    refused(&agent.jitctl(&set)?, 3, "1 grant would end")?;
    ensure!(alice.echoes(PATIENCE)? && other.echoes(PATIENCE)?, "before it is confirmed");
    let done = agent.jitctl(&[&set[..], &["--yes"]].concat())?.success()?;
    ensure!(done.stdout.contains("1 grant ended"), "{done:?}");
    ensure!(!alice.echoes(SILENCE)?, "its source is no longer allowed");
    ensure!(other.echoes(PATIENCE)?);
    let request = ["request", "--port", "22", "--from", ALICE, "--for", "5m", "-m", "test"];
    assert_eq!(agent.jitctl(&request)?.code(), Some(3));
    ensure!(own(&agent)?.contains("max_duration = \"1h\""), "what was not named stays: {}", own(&agent)?);
    agent.restart()?;
    ensure!(other.echoes(PATIENCE)?, "also after a restart");
    assert_eq!(agent.jitctl(&request)?.code(), Some(3));
    Ok(())
}

#[test]
fn a_file_edited_by_hand_is_not_written_over_before_it_is_loaded() -> Result<()> {
    let net = Topology::new()?;
    let agent = start(&net)?;
    rewrite(&agent, "# about this host", "# by hand")?;
    let add = ["ports", "add", "8080"];
    refused(&agent.jitctl(&add)?, 1, "was edited since it was loaded; run `jitctl reload` first")?;
    ensure!(text(&agent)?.contains("# by hand") && !text(&agent)?.contains("8080"));
    agent.jitctl(&["reload"])?.success()?;
    agent.jitctl(&add)?.success()?;
    ensure!(text(&agent)?.contains("# by hand") && own(&agent)?.contains("8080"));
    let unconditional = agent.api("DELETE", "/v1/ports/8080/tcp", None)?;
    assert_eq!((unconditional.status, &unconditional.json()?["code"]), (428, &"precondition_required".into()));
    Ok(())
}

#[test]
fn a_bad_file_leaves_the_old_policy_in_force_however_it_is_reloaded() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = start(&net)?;
    rewrite(&agent, "number = 22", "number = 0")?;
    refused(&agent.jitctl(&["reload"])?, 1, "port number 0 is out of range")?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    ensure!(agent.faults()?.contains("port number 0"), "{}", agent.status()?);
    hang_up(&agent)?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    rewrite(&agent, "number = 0", "number = 22")?;
    hang_up(&agent)?;
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0), "{}", agent.status()?);
    rewrite(&agent, "number = 22", "number = 0")?;
    agent.restart()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    refused(&agent.jitctl(&["ports", "add", "8080"])?, 1, "is not what is in force")
}

/// Sends SIGHUP, and returns when the daemon has reported that it is ready again.
fn hang_up(agent: &Agent) -> Result<()> {
    let process = agent.process()?;
    let mark = process.mark();
    process.signal(Signal::HUP);
    process.wait_for_line_after(mark, Stream::Notify, "RELOADING=1", PATIENCE)?;
    process.wait_for_line_after(mark, Stream::Notify, "READY=1", PATIENCE)?;
    Ok(())
}

#[test]
fn a_reload_unprotects_only_what_is_named_and_takes_in_further_files() -> Result<()> {
    let net = Topology::new()?;
    let agent = start(&net)?;
    let directory = agent.config_file().with_file_name("conf.d");
    fs::create_dir(&directory)?;
    fs::write(directory.join("web.toml"), "[[port]]\nnumber = 8080\nprotocol = 'tcp'\n")?;
    hang_up(&agent)?;
    assert_eq!(tcp_connects(&net.client, ALICE, WEB, SILENCE)?, Reach::Silent);
    fs::remove_file(directory.join("web.toml"))?;
    for allowed in [&["reload", "--yes"][..], &["reload", "--yes", "--allow-open", "8081"]] {
        refused(&agent.jitctl(allowed)?, 3, "not named as to be opened: 8080/tcp")?;
    }
    hang_up(&agent)?;
    assert_eq!(tcp_connects(&net.client, ALICE, WEB, SILENCE)?, Reach::Silent, "nor by the signal");
    agent.jitctl(&["reload", "--allow-open", "8080"])?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, WEB, PATIENCE)?, Reach::Refused, "the host itself answers");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    rewrite(&agent, "interfaces = [\"srv0\"]", "interfaces = [\"srv0\"]\nmetrics_listen = \"127.0.0.1:9590\"")?;
    refused(&agent.jitctl(&["reload"])?, 1, "restart the agent to change metrics_listen")
}

#[test]
fn an_open_management_port_of_this_network_namespace_is_warned_of() -> Result<()> {
    let net = Topology::new()?;
    let _open = TcpServer::echo(&net.server, "[::]:5432")?;
    let _local = TcpServer::echo(&net.client, "192.0.2.10:6379")?;
    let agent = start(&net)?;
    let status = agent.jitctl(&["status"])?;
    for shown in [&status, &agent.subcommand("check")?] {
        ensure!(
            shown.code() == Some(0) && shown.stdout.contains("port 5432/tcp, which no policy protects"),
            "{shown:?}"
        );
        ensure!(!shown.stdout.contains("6379"), "{shown:?}");
    }
    agent.jitctl(&["ports", "add", "5432", "--allow", "192.0.2.0/24"])?.success()?;
    ensure!(!agent.jitctl(&["status"])?.stdout.contains("WARNINGS"));
    Ok(())
}
