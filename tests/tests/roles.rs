//! Roles and permissions: real users and groups of the system use the real socket.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Reach, Topology, tcp_connects};
use toml::{Table, Value as Toml};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const WINRM: &str = "192.0.2.1:5986";
const ALICE_UID: u32 = 1000;

/// The roles: alice requests, bob and carol approve (bob requests too), dave views, pusher delegates. Port 5986
/// requires approval.
fn config() -> Config {
    let list = |names: &[&str]| Toml::from(names.iter().map(|name| Toml::from(*name)).collect::<Vec<_>>());
    let roles = Table::from_iter([
        ("requester".to_owned(), list(&["@jit-users", "bob"])),
        ("approver".to_owned(), list(&["@jit-approvers"])),
        ("viewer".to_owned(), list(&["@jit-viewers"])),
        ("delegate".to_owned(), list(&["pusher"])),
    ]);
    Config::enforcing("srv0")
        .port(Port::tcp(22).max("1h"))
        .port(Port::tcp(5986).set("approval", "required"))
        .set("roles", Toml::Table(roles))
}

fn request<'a>(port: &'a str, from: &'a str) -> [&'a str; 9] {
    ["request", "--port", port, "--from", from, "--for", "10m", "-m", "test"]
}

#[test]
fn each_role_does_what_it_is_for_and_a_refusal_names_the_one_that_is_missing() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.jitctl_as("alice", &request("22", ALICE))?.success()?;
    agent.jitctl_as("bob", &request("22", OTHER))?.success()?;
    let add = ["ports", "add", "80"];
    let cases: [(&str, &[&str], Option<&str>); 18] = [
        ("alice", &["status"], None),
        ("alice", &["ports"], None),
        ("alice", &["audit"], Some("viewer")),
        ("alice", &["why", ALICE, "22"], Some("viewer")),
        ("alice", &["approve", "1", "--yes"], Some("approver")),
        ("alice", &["revoke", "--all"], Some("approver")),
        ("alice", &["reload"], Some("admin")),
        ("dave", &["grants"], None),
        ("dave", &["audit"], None),
        ("dave", &["revoke", "1"], Some("requester")),
        ("dave", &["deny", "1", "-m", "no"], Some("approver")),
        ("carol", &["audit"], None),
        ("carol", &["extend", "1", "--for", "20m"], Some("requester")),
        ("carol", &["revoke", "2"], None),
        ("carol", &add, Some("admin")),
        ("pusher", &["ports"], None),
        ("pusher", &["audit"], Some("viewer")),
        ("pusher", &["approve", "1", "--yes"], Some("approver")),
    ];
    for (user, command, missing) in cases {
        let outcome = agent.jitctl_as(user, command)?;
        match missing {
            None => ensure!(outcome.code() == Some(0), "{user}: {outcome:?}"),
            Some(role) => {
                let named = outcome.stderr.contains(&format!("to `{role}` in [roles]"));
                ensure!(outcome.code() == Some(4) && named && outcome.stdout.is_empty(), "{user}: {outcome:?}");
            }
        }
    }
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "alice's grant is still there");
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")
}

#[test]
fn a_requester_sees_and_ends_only_their_own() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.jitctl_as("alice", &request("22", ALICE))?.success()?;
    agent.grant(22, "TCP", OTHER, 600)?;
    for command in ["grants", "requests"] {
        let listed = agent.jitctl_as("alice", &[command])?.success()?.stdout;
        ensure!(listed.contains("alice") && !listed.contains("root") && !listed.contains(OTHER), "{listed}");
        let all = agent.jitctl_as("dave", &[command])?.success()?.stdout;
        ensure!(all.contains("alice") && all.contains("root"), "{all}");
    }
    for id in ["2", "99"] {
        let refused = agent.jitctl_as("alice", &["revoke", id])?;
        ensure!(refused.code() == Some(1) && refused.stderr.contains(&format!("no grant {id}")), "{refused:?}");
    }
    agent.jitctl_as("alice", &["extend", "1", "--for", "20m"])?.success()?;
    agent.jitctl_as("alice", &["revoke", "1"])?.success()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "root's grant is still there");
    Ok(())
}

#[test]
fn a_port_that_requires_approval_opens_when_someone_else_approves() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let asked = agent.jitctl_as("alice", &request("5986", ALICE))?;
    ensure!(asked.code() == Some(6) && asked.stdout.contains("request 1 waits for approval"), "{asked:?}");
    agent.expect_drop(&net.client, ALICE, WINRM, "no_grant")?;
    let pending = agent.jitctl_as("carol", &["requests", "--pending"])?.success()?.stdout;
    ensure!(pending.contains("alice") && pending.contains("waits for approval"), "{pending}");

    let approved = agent.jitctl_as("carol", &["approve", "1", "--yes"])?.success()?.stdout;
    ensure!(approved.contains("5986/tcp open for 192.0.2.10"), "{approved}");
    assert_eq!(tcp_connects(&net.client, ALICE, WINRM, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    let again = agent.jitctl_as("bob", &["deny", "1", "-m", "late"])?;
    ensure!(again.code() == Some(1) && again.stderr.contains("is approved by carol"), "{again:?}");
    Ok(())
}

#[test]
fn nobody_approves_their_own_request_by_sudo_or_through_a_delegate() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.jitctl_as("alice", &request("5986", ALICE))?;
    agent.jitctl_as("bob", &request("5986", OTHER))?;
    let pushed = [&request("5986", OTHER)[..], &["--requestor", "carol"]].concat();
    assert_eq!(agent.jitctl_as("pusher", &pushed)?.code(), Some(6));
    for outcome in [
        agent.jitctl_as("bob", &["approve", "2", "--yes"])?,
        agent.jitctl_after_login(ALICE_UID, "carol", &["approve", "1", "--yes"])?,
        agent.jitctl_as("carol", &["approve", "3", "--yes"])?,
    ] {
        ensure!(outcome.code() == Some(4) && outcome.stderr.contains("someone else has to approve it"), "{outcome:?}");
    }
    for source in [ALICE, OTHER] {
        agent.expect_drop(&net.client, source, WINRM, "no_grant")?;
    }
    let denied = agent.jitctl(&["--json", "audit", "--event", "denied"])?.success()?.json()?;
    let by = &denied["value"][1]["detail"]["by"];
    assert_eq!((&by["name"], &by["login_name"]), (&"carol".into(), &"alice".into()), "{denied}");
    agent.jitctl_as("bob", &["approve", "3", "--yes"])?.success()?;
    Ok(())
}

#[test]
fn a_delegate_and_whom_it_names_are_both_recorded() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let pushed = [&request("22", ALICE)[..], &["--requestor", "zoe@example.org"]].concat();
    agent.jitctl_as("pusher", &pushed)?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    let refused = agent.jitctl_as("alice", &[&request("22", OTHER)[..], &["--requestor", "bob"]].concat())?;
    ensure!(refused.code() == Some(4) && refused.stderr.contains("`delegate`"), "{refused:?}");
    let logged = agent.jitctl(&["audit", "--event", "requested"])?.success()?.stdout;
    ensure!(logged.contains("zoe@example.org via pusher"), "{logged}");
    let revoked = agent.jitctl(&["revoke", "--user", "zoe@example.org"])?.success()?.stdout;
    ensure!(revoked.contains("of zoe@example.org via pusher"), "{revoked}");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")
}

#[test]
fn whoever_waits_for_a_decision_learns_it() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let asked = [&request("5986", ALICE)[..], &["--wait"]].concat();
    for (decision, code, told) in [
        (&["approve", "1", "--yes"] as &[&str], 0, "5986/tcp open for"),
        (&["deny", "2", "-m", "not today"], 3, "not today"),
    ] {
        let waiting = agent.client(&asked)?.spawn_in(&net.server)?;
        while agent.api("GET", "/v1/requests?status=Pending", None)?.json()?["value"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            ensure!(waiting.is_running(), "{}", waiting.report());
        }
        agent.jitctl_as("carol", decision)?.success()?;
        let outcome = waiting.outcome(PATIENCE)?;
        ensure!(outcome.code() == Some(code), "{outcome:?}");
        ensure!(outcome.stdout.contains(told) || outcome.stderr.contains(told), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn connections_are_in_the_audit_log_by_first_and_last_and_ports_say_who_was_there_last() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.jitctl_as("alice", &request("22", ALICE))?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused);
    let begin = Instant::now();
    while agent.api("GET", "/v1/audit?event=first_connection", None)?.json()?["value"][0].is_null() {
        ensure!(begin.elapsed() < PATIENCE, "the first connection is not noted");
    }
    agent.jitctl_as("alice", &["revoke", "1"])?.success()?;
    let logged = agent.jitctl(&["--json", "audit", "--port", "22"])?.success()?.json()?;
    let events: Vec<_> =
        logged["value"].as_array().context("no list")?.iter().filter_map(|row| row["event"].as_str()).collect();
    assert_eq!(events, ["requested", "granted", "first_connection", "revoked", "last_connection"]);
    let ports = agent.api("GET", "/v1/ports", None)?.json()?;
    let port = &ports["value"][0];
    assert_eq!((&port["lastUser"], &port["approvedRequests"]), (&"alice".into(), &1.into()), "{ports}");
    Ok(())
}
