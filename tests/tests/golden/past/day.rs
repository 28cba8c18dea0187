//! A day's work, after which something of every kind is in the store.

use std::{fs, path::Path, time::Instant};

use anyhow::{Result, ensure};
use jit_tests::{Config, PATIENCE, Reach, tcp_connects};
use rusqlite::Connection;

use super::{SSH, store::dump};
use crate::{
    run::Host,
    story,
    transcript::{Transcript, play},
};

/// A request that is made again.
pub(super) const KEY: (&str, &str) = ("idempotency-key", "the same again");
pub(super) const BODY: &str = r#"{"ports": [{"number": 3389, "protocol": "UDP", "allowedSourceAddressPrefix": "198.51.100.1", "duration": "PT1H"}], "justification": "once"}"#;

const MORNING: &str = "
alice request --port 22 --from 192.0.2.10 --for 10m -m 'stays open'
alice extend 1 --for 1h
alice request --port 22 --from 192.0.2.11 2001:db8::/64 --for 10m -m 'more than the quota'
alice request --port 22 --from 192.0.2.11 --for 10m -m 'is revoked, \u{fc}n\u{ef}c\u{f6}de'
bob request --port 5986 --from 192.0.2.11 --for 1h -m 'is approved'
carol approve 3 --yes
bob extend 3 --for 2h
carol approve 4 --yes
pusher request --port 5986 --from 2001:db8:1::/48 --for 1h -m 'is denied' --requestor zoe@example.org
carol deny 5 -m 'not today'
alice request --port 5986 --from 192.0.2.10 --for 1h -m 'is cancelled'
alice cancel 6
alice request --port 5986 --from 192.0.2.12 --for 1h -m 'waits'
bob request --port 5986 --from 192.0.2.13 --for 1h -m 'times out'
root request --port 3389/udp --from 2001:db8::/64 --for 1s -m 'expires'
root request --port 3389/udp --from 192.0.2.10 --for 1h -m 'fails'
root ports add 443 --allow 192.0.2.0/24 --max 2h
root request --port 443 --from 192.0.2.10 --for 1h -m 'ends with its port'
root ports set 443 --max 30m --yes
root ports remove 443 --yes
";

const EVENING: &str = "
alice revoke 2 -m 'done'
root jit-agent disable --yes --config {config}
root@192.0.2.99 jit-agent enable --console --yes --config {config}
root jit-agent confirm --config {config}
root reload
";

fn wait_until(host: &Host, path: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let begin = Instant::now();
    loop {
        let found = host.agent.api("GET", path, None)?.json()?;
        if is_so(&found) {
            return Ok(());
        }
        ensure!(begin.elapsed() < 2 * PATIENCE, "{path} stays {found:#}");
    }
}

fn wait_for_event(host: &Host, event: &str) -> Result<()> {
    wait_until(host, &format!("/v1/audit?event={event}"), |found| !found["value"][0].is_null())
}

/// Writes what this version leaves behind into a directory.
pub(super) fn leave_behind(directory: &Path) -> Result<()> {
    // Longer than any day on which this is read.
    let config: Config = story::config().set("retention", "36500d").set("break_glass", vec!["2001:db8::10"]);
    let mut host = Host::start(config)?;
    let mut told = Transcript::default();
    play(&host, MORNING, None, &mut told)?;
    let made = host.agent.api_raw("POST", "/v1/requests", &[KEY], Some(BODY.to_owned()))?;
    ensure!(made.status == 201, "{made:?}");
    for source in ["192.0.2.10", "192.0.2.11"] {
        assert_eq!(tcp_connects(&host.net.client, source, SSH, PATIENCE)?, Reach::Refused);
    }
    assert_eq!(tcp_connects(&host.net.client, "2001:db8::10", "[2001:db8::1]:22", PATIENCE)?, Reach::Refused);
    for event in ["first_connection", "break_glass_used", "expired"] {
        wait_for_event(&host, event)?;
    }
    play(&host, EVENING, None, &mut told)?;

    // As if time had passed, and as if the agent had been killed before it answered.
    host.agent.stop()?;
    let path = host.agent.state_dir().join("jit-agent.sqlite");
    let store = Connection::open(&path)?;
    store.execute("UPDATE requests SET decide_boot = 1 WHERE justification = 'times out'", [])?;
    let unanswered = "SELECT id FROM requests WHERE justification = 'fails'";
    store.execute(&format!("UPDATE grants SET state = 'opening' WHERE request_id = ({unanswered})"), [])?;
    drop(store);
    host.launch()?;
    for event in ["timed_out", "failed"] {
        wait_for_event(&host, event)?;
    }

    let log = host.jitctl("dave", &["audit", "--jsonl"])?.success()?.stdout;
    host.agent.stop()?;
    fs::create_dir_all(directory)?;
    fs::write(directory.join("store.sql"), dump(&path)?)?;
    fs::write(directory.join("audit.jsonl"), log)?;
    fs::copy(host.agent.config_file(), directory.join("config.toml"))?;
    fs::copy(host.agent.state_dir().join("accepted-config.toml"), directory.join("accepted-config.toml"))?;
    Ok(())
}
