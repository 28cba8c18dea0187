//! A million rows of the audit log: the time that a filter takes to find some rows, and an export to write all of them.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_agent::{
    clock::{Clock, SystemClock},
    store::{Checkpoint, Ending, GrantEnd, NewGrantRow, NewOutcome, NewRequestRow, Store},
};
use jit_policy::{NewRequest, Person, PortId, Protocol, Requestor};

use super::{connection::Connection, memory};
use crate::{opening::Stage, samples::Samples};

/// The least number of rows of the log.
pub(super) const ROWS: u32 = 1_000_000;
/// Grants of each request that fills the log. Each grant has two rows, for its beginning and its end.
const GRANTS_OF_REQUEST: u32 = 2000;
/// The number of users who send the requests by turns.
const USERS: u32 = 50;
/// The number of times that each question is asked.
const ROUNDS: usize = 7;
/// Rows in an answer.
const LIMIT: u32 = 100;

/// The results.
pub(super) struct Audit {
    /// Milliseconds to find the rows of one user.
    pub(super) by_user: Samples,
    /// Milliseconds to find the rows of one port in the last hour.
    pub(super) by_port: Samples,
    /// Seconds of an export of all rows.
    pub(super) export: f64,
    /// The size of the export in mebibytes.
    pub(super) size: f64,
    /// The largest growth of the agent's memory during the export, in mebibytes.
    pub(super) growth: f64,
}

/// Whether the agent answers questions about its log.
pub(super) fn is_available(stage: &Stage) -> Result<bool> {
    let answer = Connection::open(&stage.agent.socket())?.call("GET", "/v1/audit", "")?;
    // The path has no query here, since a query is refused before an unknown path is.
    if answer.status == 404 {
        return Ok(false);
    }
    answer.expect(200)?;
    Ok(true)
}

/// Fills a store's log with requests whose grants have all ended.
pub(super) fn fill(dir: &Path) -> Result<()> {
    let mut store = Store::open(dir).context("cannot make a store to be filled")?;
    let now = SystemClock.wall();
    let clocks = Checkpoint {
        machine_id: "benchmark".to_owned(),
        boot_id: "benchmark".to_owned(),
        boot: SystemClock.boot(),
        wall: now,
    };
    let requests = ROWS.div_ceil(2 * GRANTS_OF_REQUEST);
    for number in 0..requests {
        // The requests are an hour apart; the last one is made now.
        let wall = now - Duration::from_secs(3600) * (requests - 1 - number);
        let grant = |grant: u32| NewGrantRow {
            port: PortId { number: if grant.is_multiple_of(100) { 3389 } else { 22 }, protocol: Protocol::Tcp },
            source: IpAddr::V4(Ipv4Addr::from(u32::from(super::OTHERS) + grant)).into(),
            start: wall,
            end_wall: wall,
            end_boot: clocks.boot,
        };
        let row = NewRequestRow {
            requestor: Requestor {
                sender: Person { uid: 1000 + number % USERS, name: format!("user{}", number % USERS), login: None },
                named: None,
            },
            asked: NewRequest { ports: Vec::new(), justification: "benchmark".to_owned() },
            start: wall,
            clocks: clocks.clone(),
            key: None,
            outcome: NewOutcome::Grants((0..GRANTS_OF_REQUEST).map(grant).collect()),
        };
        let (_, ids) = store.begin_request(&row).context("cannot fill a store")?;
        let ending = Ending { state: GrantEnd::Expired, wall, by: None, reason: String::new() };
        let ended: Vec<_> = ids.into_iter().map(|id| (id, None)).collect();
        store.end_grants(&ended, &ending).context("cannot fill a store")?;
    }
    let rows = store.verify_audit().context("the store that was filled is broken")?.seq;
    ensure!(rows >= i64::from(ROWS), "the store that was filled has {rows} audit rows in place of {ROWS}");
    Ok(())
}

/// Measures questions about the log of a stage whose store was [filled](fill).
pub(super) fn run(stage: &Stage) -> Result<Audit> {
    let socket = stage.agent.socket();
    let mut connection = Connection::open(&socket)?;
    let since = SystemClock.wall() - Duration::from_secs(3600);
    let mut time = |query: String| -> Result<Samples> {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            connection.call("GET", &format!("/v1/audit?{query}&limit={LIMIT}"), "")?.expect(200)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Samples::new(times))
    };
    let by_user = time("user=user7".to_owned())?;
    let by_port = time(format!("port=3389&since={since}"))?;
    let pid = stage.agent.process()?.id();
    memory::forget_peak(pid)?;
    let before = memory::resident(pid)?;
    let start = Instant::now();
    let (status, bytes) = Connection::download(&socket, "/v1/audit?format=csv")?;
    let export = start.elapsed().as_secs_f64();
    ensure!(status == 200, "the export was answered with status {status}");
    let growth = memory::peak(pid)? - before;
    Ok(Audit { by_user, by_port, export, size: bytes as f64 / 1024.0 / 1024.0, growth })
}
