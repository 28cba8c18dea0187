//! Who may make requests, which texts people and programs get, and how `jitctl` ends.

use std::{fs, time::Instant};

use anyhow::{Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Reach, Topology, tcp_connects};
use toml::{Table, Value as Toml};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";

fn with_admins(names: &[&str]) -> Config {
    let names: Vec<Toml> = names.iter().map(|name| Toml::from(*name)).collect();
    let roles = Table::from_iter([("admin".to_owned(), Toml::from(names))]);
    Config::enforcing("srv0").port(Port::tcp(22).max("1h")).set("roles", Toml::Table(roles))
}

fn request(from: &str) -> [&str; 9] {
    ["request", "--port", "22", "--from", from, "--for", "10m", "-m", "test"]
}

#[test]
fn a_user_without_a_role_is_told_so_and_gets_nothing_else() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, with_admins(&["@jit-users"]))?;
    let grant = agent.grant(22, "TCP", OTHER, 600)?;
    let id = grant.id.to_string();
    let asked = request(ALICE);
    let commands: [&[&str]; 7] =
        [&["status"], &["ports"], &["requests"], &["grants"], &["revoke", &id], &["revoke", "--all"], &asked];
    for args in commands {
        let outcome = agent.jitctl_as("bob", args)?;
        ensure!(outcome.code() == Some(4) && outcome.stdout.is_empty(), "{outcome:?}");
        ensure!(
            outcome.stderr.contains("bob (uid 1001) has no role") && outcome.stderr.contains("` in [roles]"),
            "{outcome:?}"
        );
        ensure!(!outcome.stderr.contains(OTHER), "{outcome:?}");
    }
    let outcome = agent.jitctl_as("bob", &["--json", "grants"])?;
    ensure!(outcome.stderr.contains(r#""status": 403"#) && outcome.stderr.contains("not_permitted"), "{outcome:?}");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "the grant was revoked by bob");
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}

#[test]
fn a_member_of_an_admin_group_may_ask_and_is_recorded() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, with_admins(&["@jit-users"]))?;
    agent.jitctl_as("alice", &request(ALICE))?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    let listed = agent.jitctl_as("alice", &["--json", "requests"])?.success()?.json()?;
    assert_eq!(
        (&listed["value"][0]["requestor"], &listed["value"][0]["requestorUid"]),
        (&"alice".into(), &1000.into())
    );
    agent.grant(22, "TCP", OTHER, 600)?;
    let ended = agent.jitctl(&["revoke", "--user", "alice"])?.success()?;
    ensure!(ended.stdout.contains("of alice"), "{ended:?}");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "root's grant is still there");
    Ok(())
}

#[test]
fn a_user_named_in_the_role_may_ask_and_without_any_role_only_root_may() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, with_admins(&["bob"]))?;
    agent.jitctl_as("bob", &["grants"])?.success()?;
    assert_eq!(agent.jitctl_as("alice", &["grants"])?.code(), Some(4));
    agent.configure(with_admins(&[]))?;
    agent.restart()?;
    for user in ["alice", "bob"] {
        assert_eq!(agent.jitctl_as(user, &["grants"])?.code(), Some(4), "{user}");
    }
    agent.jitctl(&["grants"])?.success()?;
    Ok(())
}

#[test]
fn a_role_that_names_nobody_warns_and_the_agent_starts() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, with_admins(&["zoe", "@jit-users", "@nobody-here"]))?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let status = agent.jitctl(&["status"])?;
    assert_eq!(status.code(), Some(7), "{status:?}");
    for name in ["zoe", "@nobody-here"] {
        ensure!(status.stdout.contains(&format!("[roles] admin: there is no user or group `{name}`")), "{status:?}");
    }
    agent.jitctl_as("alice", &request(ALICE))?.success()?;
    Ok(())
}

#[test]
fn a_group_that_appears_has_its_role_without_a_reload_also_after_a_restart_and_loses_it_when_it_is_gone() -> Result<()>
{
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, with_admins(&["@jit-late"]))?;
    let file = net.sandbox.path("group");
    let without = fs::read_to_string(&file)?;
    let refused = agent.jitctl_as("alice", &["grants"])?;
    let told = "`jitctl status` tells which names there this host does not know now";
    ensure!(refused.code() == Some(4) && refused.stderr.contains(told), "{refused:?}");

    // The group has alice's own number, which her processes have.
    fs::write(&file, format!("{without}jit-late:x:1000:alice\n"))?;
    let begin = Instant::now();
    while agent.jitctl_as("alice", &["grants"])?.code() != Some(0) {
        ensure!(begin.elapsed() < PATIENCE, "the group is not looked up again");
    }
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    agent.restart()?;
    agent.jitctl_as("alice", &request(ALICE))?.success()?;

    fs::write(&file, without)?;
    let begin = Instant::now();
    while agent.jitctl_as("alice", &["grants"])?.code() != Some(4) {
        // Whoever is refused has the names looked up.
        agent.jitctl_as("bob", &["grants"])?;
        ensure!(begin.elapsed() < PATIENCE, "the group is gone, and its role is not");
    }
    ensure!(agent.jitctl(&["status"])?.stdout.contains("there is no user or group `@jit-late`"));
    Ok(())
}

#[test]
fn jitctl_ends_with_the_documented_code() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, with_admins(&[]))?;
    let asked = request(ALICE);
    let too_long = ["request", "--port", "22", "--from", ALICE, "--for", "2h", "-m", "test"];
    let cases: [(&[&str], i32); 9] = [
        (&asked, 0),
        (&["status"], 0),
        (&["--help"], 0),
        (&["revoke", "999"], 1),
        (&["request", "--port", "22"], 2),
        (&["revoke"], 2),
        (&["bogus"], 2),
        (&too_long, 3),
        (&["revoke", "--all"], 0),
    ];
    for (args, code) in cases {
        let outcome = agent.jitctl(args)?;
        ensure!(outcome.code() == Some(code), "{code} expected: {outcome:?}");
    }
    assert_eq!(agent.jitctl_as("bob", &["status"])?.code(), Some(4));
    agent.unload()?.success()?;
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(7));
    agent.kill9();
    let unreachable = agent.jitctl(&["status"])?;
    assert_eq!(unreachable.code(), Some(5), "{unreachable:?}");
    ensure!(unreachable.stderr.contains("is jit-agent running?"), "{unreachable:?}");
    Ok(())
}

#[test]
fn json_of_jitctl_is_that_of_the_api() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, with_admins(&[]))?;
    agent.jitctl(&request(ALICE))?.success()?;
    for (command, path) in [("ports", "/v1/ports"), ("requests", "/v1/requests"), ("grants", "/v1/grants")] {
        let (mut told, mut api) =
            (agent.jitctl(&["--json", command])?.success()?.json()?, agent.api("GET", path, None)?.json()?);
        for list in [&mut told, &mut api] {
            forget_times(list);
        }
        assert_eq!(told, api, "{command}");
    }
    let status = agent.jitctl(&["--json", "status"])?.success()?.json()?;
    assert_eq!((&status["mode"], &status["grants"]["intended"]), (&"enforce".into(), &1.into()));
    let refused = agent.jitctl(&["--json", "revoke", "999"])?;
    let problem: serde_json::Value = serde_json::from_str(&refused.stderr)?;
    assert_eq!(problem["code"], "not_found", "{refused:?}");
    Ok(())
}

/// Removes the values that change from one moment to the next.
fn forget_times(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("remainingSeconds");
        object.remove("endTimeUtc");
    }
    match value {
        serde_json::Value::Object(object) => object.values_mut().for_each(forget_times),
        serde_json::Value::Array(list) => list.iter_mut().for_each(forget_times),
        _ => {}
    }
}

#[test]
fn tables_for_people_line_up() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, with_admins(&["alice"]))?;
    agent.jitctl(&request(ALICE))?.success()?;
    agent.jitctl_as("alice", &request("2001:db8:1234:5678::/64"))?.success()?;
    for (command, headings) in [
        ("grants", &["port", "source", "until", "requestor"] as &[_]),
        ("requests", &["time", "requestor", "ports", "status", "justification"]),
        ("ports", &["port", "justification", "allowed sources"]),
    ] {
        let shown = agent.jitctl(&[command])?.success()?.stdout;
        let mut lines = shown.lines();
        let head = lines.next().unwrap_or_default();
        let mut rows = 0;
        for line in lines {
            rows += 1;
            for heading in headings {
                let at = head.find(heading).ok_or_else(|| anyhow::anyhow!("no {heading} in {shown}"))?;
                let column = |index: usize| line.chars().nth(index);
                ensure!(at == 0 || column(at - 1) == Some(' '), "{heading} of '{line}' in\n{shown}");
                ensure!(column(at).is_some_and(|c| c != ' '), "{heading} of '{line}' in\n{shown}");
            }
        }
        assert!(rows >= 1, "{shown}");
    }
    Ok(())
}
