//! The number of requests a second that become durable, next to the number of writes a second that the disk makes
//! durable.

use std::{
    fs::{self, File},
    io::Write as _,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::{
    connection::{Connection, request},
    revoke_all,
};
use crate::{
    opening::{Stage, body},
    samples::Samples,
};

/// The number of rounds; the disk, one connection and many connections take turns in each.
const ROUNDS: usize = 5;
/// Bytes of one append, a page of the store's log.
const APPEND: usize = 4096;
/// The time for which the disk is measured in a round.
const DISK_TIME: Duration = Duration::from_millis(500);
/// Connections at once: as many as one user may have.
pub(super) const CONNECTIONS: usize = 32;
/// The number of threads that share the connections.
const THREADS: usize = 4;
/// Requests in a round over one connection.
const REQUESTS_OVER_ONE: usize = 500;
/// Requests in a round over each of many connections.
const REQUESTS_OVER_EACH: usize = 120;

/// The results.
pub(super) struct Rates {
    /// Appends with fdatasync a second.
    pub(super) syncs: Samples,
    /// Requests a second over one connection.
    pub(super) one: Samples,
    /// Requests a second over [`CONNECTIONS`] connections.
    pub(super) many: Samples,
}

pub(super) fn run(stage: &Stage) -> Result<Rates> {
    let mut sources = (0_u32..).map(|number| Ipv4Addr::from(u32::from(super::OTHERS) + number));
    let (mut syncs, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        syncs.push(sync_rate(stage.state.path())?);
        one.push(request_rate(stage, 1, REQUESTS_OVER_ONE, &mut sources)?);
        many.push(request_rate(stage, CONNECTIONS, REQUESTS_OVER_EACH, &mut sources)?);
        revoke_all(stage)?;
    }
    Ok(Rates { syncs: Samples::new(syncs), one: Samples::new(one), many: Samples::new(many) })
}

/// Appends that the disk makes durable one by one in a second.
fn sync_rate(dir: &Path) -> Result<f64> {
    let path = dir.join("syncs");
    let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let (mut count, start) = (0_u32, Instant::now());
    while start.elapsed() < DISK_TIME {
        file.write_all(&[0xa5; APPEND]).and_then(|()| file.sync_data()).context("cannot write to the disk")?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    fs::remove_file(&path).context("cannot remove the file of the disk's measurement")?;
    Ok(rate)
}

/// The number of requests that are answered in a second. Each connection sends its next request when it has its answer.
fn request_rate(
    stage: &Stage,
    connections: usize,
    requests_over_each: usize,
    sources: &mut impl Iterator<Item = Ipv4Addr>,
) -> Result<f64> {
    let socket = stage.agent.socket();
    let clients = (0..connections).map(|_| {
        let requests = sources.by_ref().take(requests_over_each);
        let requests: Vec<_> = requests.map(|source| request("POST", "/v1/requests", &body(source))).collect();
        Ok((Connection::open(&socket)?, requests))
    });
    let mut clients = clients.collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let parts = clients.chunks_mut(connections.div_ceil(THREADS));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| send_all(part))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a client has panicked"))?)
    })?;
    Ok((connections * requests_over_each) as f64 / start.elapsed().as_secs_f64())
}

/// Sends one request over each connection, then reads all their answers, and repeats both.
fn send_all(clients: &mut [(Connection, Vec<Vec<u8>>)]) -> Result<()> {
    let most = clients.iter().map(|(_, requests)| requests.len()).max().unwrap_or(0);
    for number in 0..most {
        for (connection, requests) in clients.iter_mut() {
            connection.send(requests.get(number).context("a client has no request left")?)?;
        }
        for (connection, _) in clients.iter_mut() {
            connection.answer()?.expect(201)?;
        }
    }
    Ok(())
}
