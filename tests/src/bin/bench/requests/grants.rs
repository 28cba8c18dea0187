//! Ten thousand grants: opened by one request, restored by a daemon that starts, and present during further requests.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{connection::Connection, memory, revoke_all};
use crate::{
    opening::{Opening, Stage, body_for},
    samples::Samples,
};

/// The number of live grants.
pub(super) const GRANTS: u32 = 10_000;
/// The number of times that one request opens the grants, and that the daemon starts.
const ROUNDS: u32 = 5;
/// The number of requests that are timed next to the grants.
const REQUESTS: u32 = 500;
/// The longest wait until all grants are in force.
const LONGEST_START: Duration = Duration::from_secs(30);

/// The results.
pub(super) struct Grants {
    /// Milliseconds of one request that opens all grants.
    pub(super) made: Samples,
    /// Milliseconds from starting the daemon to an answer that says that all grants are in force.
    pub(super) restart: Samples,
    /// The daemon's resident memory after that, in mebibytes.
    pub(super) resident: Samples,
    /// The times of further requests next to the grants.
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
