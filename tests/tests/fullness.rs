//! Full kernel tables: a request is refused with the table's name and size, nothing of the request is left behind, and
//! space becomes free again.

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, PATIENCE, Port, Reach, Topology, tcp_connects};
use serde_json::Value;

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const PORT: &str = "192.0.2.1:3389";
/// Entries of the table of IPv4 hosts. A grant of port `any` takes one entry for each of three protocols.
const CAPACITY: usize = 65_536;
/// Requests that fill the table, and sources of each request. A source takes 3 entries, so that 16 entries are left.
const REQUESTS: usize = 12;
const SOURCES: usize = 1_820;
/// The largest number of grants that can be revoked by number at once.
const AT_ONCE: usize = 1_024;

/// Addresses that belong to nobody.
fn sources(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect()
}

fn ids(grants: &Value) -> Result<Vec<i64>> {
    let grants = grants.as_array().context("no list of grants")?;
    Ok(grants.iter().filter_map(|grant| grant["id"].as_i64()).collect())
}

fn expect_full(agent: &Agent, protocol: &str, sources: &[String]) -> Result<()> {
    let before = agent.grant_counts()?;
    let answer = agent.request(3389, protocol, sources, 600)?;
    ensure!(answer.status == 507 && answer.json()?["code"] == "table_full", "{answer:?}");
    for part in ["HOSTS4", &CAPACITY.to_string(), "full", "revoke some"] {
        ensure!(answer.body.contains(part), "{part:?} is not in {answer:?}");
    }
    ensure!(before == agent.grant_counts()?, "{before:?} grants before, {:?} after", agent.grant_counts()?);
    Ok(())
}

#[test]
fn a_full_table_refuses_a_request_whole_and_revoking_makes_room() -> Result<()> {
    let net = Topology::new()?;
    let roles = toml::Table::from_iter([("requester".to_owned(), vec!["alice"].into())]);
    let config = Config::enforcing("srv0").port(Port::new(3389, "any").max("24h")).set("roles", roles);
    let mut agent = Agent::start(&net.sandbox, &net.server, config)?;
    let mut first = Vec::new();
    for number in 0..REQUESTS {
        let mut asked = sources(number * SOURCES, SOURCES);
        if number == 0 {
            OTHER.clone_into(&mut asked[0]);
        }
        let answer = agent.request(3389, "*", &asked, 80_000)?;
        ensure!(answer.status == 201, "request {number}: {answer:?}");
        if number == 0 {
            first = ids(&answer.json()?["grants"])?;
        }
    }
    let granted = (REQUESTS * SOURCES) as u64;
    assert_eq!(agent.grant_counts()?, (granted, granted));

    // The last twentieth of the table is reserved for admins. The requests above came from an admin.
    let refused =
        agent.jitctl_as("alice", &["request", "--port", "3389/udp", "--from", ALICE, "--for", "10m", "-m", "x"])?;
    ensure!(refused.code() == Some(1) && refused.stderr.contains("kept for admins"), "{refused:?}");
    assert_eq!(agent.grant_counts()?, (granted, granted));

    // 16 entries are left: five of these sources fit, and one third of the sixth.
    let mut too_many = sources(100_000, 10);
    ALICE.clone_into(&mut too_many[0]);
    expect_full(&agent, "*", &too_many)?;
    agent.expect_drop(&net.client, ALICE, PORT, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, PORT, PATIENCE)?, Reach::Refused, "an earlier grant was lost");
    let failed = agent.api("GET", "/v1/requests", None)?.json()?;
    assert_eq!(failed["value"][0]["status"], "Failed", "{}", failed["value"][0]);

    // Nothing of the refused request was left behind: exactly as many sources fit as before.
    let fits = agent.request(3389, "*", &too_many[1..6], 600)?;
    ensure!(fits.status == 201, "{fits:?}");
    expect_full(&agent, "*", &too_many[..1])?;
    let last = agent.request(3389, "UDP", &too_many[6..7], 600)?;
    ensure!(last.status == 201, "{last:?}");
    expect_full(&agent, "TCP", &too_many[..1])?;
    agent.expect_drop(&net.client, ALICE, PORT, "no_grant")?;

    // Book, store and kernel agree: a successor finds the same grants.
    let before = agent.grant_counts()?;
    assert_eq!(before, (granted + 6, granted + 6));
    agent.kill9();
    agent.launch()?;
    assert_eq!(agent.grant_counts()?, before);
    assert_eq!(agent.faults()?, "");
    agent.expect_drop(&net.client, ALICE, PORT, "no_grant")?;

    first.chunks(AT_ONCE).try_for_each(|ids| agent.revoke(ids))?;
    agent.expect_drop(&net.client, OTHER, PORT, "no_grant")?;
    agent.grant(3389, "*", ALICE, 600)?;
    assert_eq!(tcp_connects(&net.client, ALICE, PORT, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    Ok(())
}
