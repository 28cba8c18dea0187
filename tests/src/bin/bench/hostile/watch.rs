//! What well-behaved users see, and what the agent holds, for a time.

use std::{
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::{WAITING, attack::become_user};
use crate::{
    requests::{connection::Connection, memory},
    samples::Samples,
};

/// The pause between two calls of the approver and of `why`.
const PAUSE: Duration = Duration::from_millis(20);
/// The user id of carol, who approves.
const APPROVER: u32 = 1002;

/// What was seen for a time. Times are milliseconds.
pub(super) struct Seen {
    pub(super) revoke: Samples,
    pub(super) list: Samples,
    pub(super) why: Samples,
    /// Requests of root a second, each with its revocation.
    pub(super) requests: f64,
    /// Mebibytes that were resident at most.
    pub(super) resident: f64,
}

/// Watches for so long. `waiting` are the requests that the approver must see in each list.
pub(super) fn watch(socket: &Path, pid: u32, waiting: &[i64], length: Duration) -> Result<Seen> {
    memory::forget_peak(pid)?;
    let begin = Instant::now();
    let is_over = || begin.elapsed() >= length;
    thread::scope(|scope| {
        let revoke = scope.spawn(|| requests(socket, is_over));
        let why = scope.spawn(|| asked(socket, is_over));
        let list = scope.spawn(|| {
            become_user(APPROVER)?;
            lists(socket, waiting, is_over)
        });
        let panicked = || anyhow!("a client has panicked");
        let revoke = revoke.join().map_err(|_| panicked())??;
        let requests = revoke.len() as f64 / begin.elapsed().as_secs_f64();
        Ok(Seen {
            revoke: Samples::new(revoke),
            list: Samples::new(list.join().map_err(|_| panicked())??),
            why: Samples::new(why.join().map_err(|_| panicked())??),
            requests,
            resident: memory::peak(pid)?,
        })
    })
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// Makes and revokes requests as root. Returns how long each revocation took.
fn requests(socket: &Path, is_over: impl Fn() -> bool) -> Result<Vec<f64>> {
    let mut connection = Connection::open(socket)?;
    let mut taken = Vec::new();
    while !is_over() {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + taken.len() as u32);
        let port = json!({"number": 22, "allowedSourceAddressPrefix": source, "duration": "PT1H"});
        let body = json!({"ports": [port], "justification": "work"}).to_string();
        let made: Value = serde_json::from_slice(&connection.call("POST", "/v1/requests", &body)?.expect(201)?.body)?;
        let body = json!({"ids": [made["grants"][0]["id"]]}).to_string();
        let begin = Instant::now();
        connection.call("POST", "/v1/grants/revoke", &body)?.expect(200)?;
        taken.push(milliseconds(begin));
    }
    Ok(taken)
}

/// Asks what would become of a packet, as root.
fn asked(socket: &Path, is_over: impl Fn() -> bool) -> Result<Vec<f64>> {
    let mut connection = Connection::open(socket)?;
    let mut taken = Vec::new();
    while !is_over() {
        let begin = Instant::now();
        connection.call("GET", "/v1/why?source=192.0.2.7&port=22", "")?.expect(200)?;
        taken.push(milliseconds(begin));
        thread::sleep(PAUSE);
    }
    Ok(taken)
}

/// Lists all that waits, part by part, as an approver.
fn lists(socket: &Path, waiting: &[i64], is_over: impl Fn() -> bool) -> Result<Vec<f64>> {
    let mut connection = Connection::open(socket)?;
    let mut taken = Vec::new();
    while !is_over() {
        let begin = Instant::now();
        let (mut ids, mut next) = (Vec::new(), Some(WAITING.to_owned()));
        while let Some(path) = next {
            let part = connection.call("GET", &path, "")?.expect(200)?;
            let part: Value = serde_json::from_slice(&part.body).context("the list is no JSON")?;
            ids.extend(part["value"].as_array().into_iter().flatten().filter_map(|request| request["id"].as_i64()));
            next = part["nextLink"].as_str().map(str::to_owned);
        }
        taken.push(milliseconds(begin));
        ensure!(waiting.iter().all(|id| ids.contains(id)), "the list of what waits is not complete: {ids:?}");
        thread::sleep(PAUSE);
    }
    Ok(taken)
}
