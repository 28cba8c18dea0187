//! Ten thousand grants: made by one request, found again by a daemon that starts, and beside further requests.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::connection::Connection;
use super::{memory, revoke_all};
use crate::opening::{Opening, Stage, body_for};
use crate::samples::Samples;

/// Live grants.
pub(super) const GRANTS: u32 = 10_000;
/// How often one request makes them, and how often the daemon starts.
const ROUNDS: u32 = 5;
/// Requests that are timed beside them.
const REQUESTS: u32 = 500;
/// Longest wait until all are in force.
const LONGEST_START: Duration = Duration::from_secs(30);

/// What was measured.
pub(super) struct Grants {
    /// Milliseconds of one request for all of them.
    pub(super) made: Samples,
    /// Milliseconds from starting the daemon to an answer that says that all are in force.
    pub(super) restart: Samples,
    /// Mebibytes of the daemon then.
    pub(super) resident: Samples,
    /// Further requests beside them.
    pub(super) opening: Opening,
}

pub(super) fn run(stage: &mut Stage) -> Result<Grants> {
    let sources: Vec<_> = (0..GRANTS).map(|number| Ipv4Addr::from(u32::from(super::OTHERS) + number)).collect();
    let body = body_for(&sources);
    let mut made = Vec::new();
    for _ in 0..ROUNDS {
        revoke_all(stage)?;
        let mut connection = Connection::open(&stage.agent.socket())?;
        let start = Instant::now();
        connection.call("POST", "/v1/requests", &body)?.expect(201)?;
        made.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let live = u64::from(GRANTS);
    let (mut restart, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let status = stage.agent.stop()?;
        ensure!(status.success(), "the stopped agent ended with {status}");
        let start = Instant::now();
        stage.agent.launch()?;
        while stage.agent.grant_counts()? != (live, live) {
            ensure!(start.elapsed() < LONGEST_START, "the agent does not enforce {live} grants after its restart");
        }
        restart.push(start.elapsed().as_secs_f64() * 1e3);
        resident.push(memory::resident(stage.agent.process()?.id())?);
    }
    let opening = stage.measure(REQUESTS)?;
    let [made, restart, resident] = [made, restart, resident].map(Samples::new);
    Ok(Grants { made, restart, resident, opening })
}
