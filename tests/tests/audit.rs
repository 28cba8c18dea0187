//! The audit log: acts of people on one side, what `jitctl audit` shows and finds on the other.

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, Port, Topology};

const ALICE: &str = "192.0.2.10";

#[test]
fn what_was_done_is_shown_and_a_changed_row_is_named() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").port(Port::tcp(22).max("1h")))?;
    agent.jitctl(&["request", "--port", "22", "--from", ALICE, "--for", "10m", "-m", "=ticket 7"])?.success()?;
    agent.jitctl(&["revoke", "--all", "-m", "done"])?.success()?;

    let shown = agent.jitctl(&["audit", "--since", "1h", "--user", "root", "--port", "22"])?.success()?.stdout;
    let events: Vec<_> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    ensure!(events.contains(&"granted") && events.last() == Some(&"revoked"), "{shown}");
    ensure!(shown.contains(ALICE) && shown.contains("22/tcp") && shown.contains("done"), "{shown}");
    assert_eq!(agent.jitctl(&["audit", "--user", "alice"])?.success()?.stdout, "nothing in the audit log fits\n");
    let csv = agent.jitctl(&["audit", "--csv", "--event", "requested"])?.success()?.stdout;
    ensure!(csv.starts_with("seq,time,event,") && csv.contains(",'=ticket 7,"), "{csv}");
    let refused = agent.jitctl_as("bob", &["audit"])?;
    ensure!(refused.code() == Some(4) && refused.stdout.is_empty(), "{refused:?}");

    let sound = agent.jitctl(&["audit", "verify"])?.success()?.stdout;
    let noted = sound.trim().rsplit(' ').next().context("no head")?.to_owned();
    agent.restart()?;
    agent.jitctl(&["audit", "verify", "--head", &noted])?.success()?;

    agent.stop()?;
    let store = rusqlite::Connection::open(agent.state_dir().join("jit-agent.sqlite"))?;
    let seq: i64 = store.query_row("SELECT seq FROM audit WHERE event = 'granted'", [], |row| row.get(0))?;
    store.execute("UPDATE audit SET detail = replace(detail, 'root', 'bob') WHERE seq = ?", [seq])?;
    drop(store);
    agent.launch()?;
    let found = agent.jitctl(&["audit", "verify"])?;
    ensure!(found.code() == Some(1) && found.stderr.contains(&format!("audit row {seq} was changed")), "{found:?}");
    Ok(())
}
