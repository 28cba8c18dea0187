//! Users who do their worst: strangers without a role, who go through many user ids, and requesters.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::{
    process::{Gid, Uid, setpriority_process},
    thread::{gettid, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde_json::{Value, json};

use super::PARKED;
use crate::requests::connection::{Connection, request};

/// The strangers, as many as ordinary users with subordinate user ids.
const STRANGERS: u32 = 16;
/// The connections that each stranger tries to hold.
const HELD: usize = 16;
/// The first of the strangers' user ids, and how many each has.
const FIRST_STRANGER: u32 = 100_000;
const IDS_OF_STRANGER: u32 = 65_536;
/// The niceness of all attacking threads. Together they then get about as much of the processor as the agent, as when
/// systemd shares it out between services and users.
const NICE: i32 = 14;
/// The connections of each requester.
const THREADS_OF_REQUESTER: usize = 8;

/// The user ids of the requesters: alice, bob, dave and pusher of the sandbox.
pub(super) const REQUESTERS: [u32; 4] = [1000, 1001, 1003, 1004];

/// An attack that goes on until this value is stopped.
pub(super) struct Attack {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Begins the attack on this socket.
    pub(super) fn begin(socket: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut start = |user: u32, work: fn(&Path, u32, &AtomicBool)| {
            let (socket, over) = (socket.to_owned(), Arc::clone(&over));
            threads.push(thread::spawn(move || {
                // An attacker who can't be given less of the processor still attacks.
                let _ = setpriority_process(Some(gettid()), NICE);
                work(&socket, user, &over);
            }));
        };
        (0..STRANGERS).for_each(|number| start(number, stranger));
        for uid in REQUESTERS {
            (0..THREADS_OF_REQUESTER).for_each(|_| start(uid, requester));
        }
        Self { over, threads }
    }

    /// Ends the attack.
    pub(super) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        // A thread that panicked attacked less; the figures show what there was.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Makes the calling thread a user. Root can be taken back.
pub(super) fn become_user(uid: u32) -> Result<()> {
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).context("root can't be taken back")?;
    set_thread_groups(&[]).context("groups can't be left")?;
    let group = Gid::from_raw(uid);
    set_thread_res_gid(group, group, group).context("the group can't be changed")?;
    set_thread_res_uid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::ROOT).context("the user can't be changed")
}

/// Sends large requests under ever other user ids, and holds as many connections as it gets.
fn stranger(socket: &Path, number: u32, over: &AtomicBool) {
    let justification = "x".repeat(1000);
    let port = json!({"number": 22, "allowedSourceAddressPrefixes": vec!["192.0.2.1"; 256], "duration": "PT1H"});
    let body = json!({"ports": vec![port; 60], "justification": justification}).to_string();
    let submit = request("POST", "/v1/requests", &body);
    let revoke = request("POST", "/v1/grants/revoke", r#"{"all":true}"#);
    let list = request("GET", "/v1/requests?limit=200", "");
    let mut held: Vec<UnixStream> = Vec::new();
    for step in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let uid = FIRST_STRANGER + number * IDS_OF_STRANGER + step % IDS_OF_STRANGER;
        if become_user(uid).is_err() {
            return;
        }
        let Ok(mut stream) = UnixStream::connect(socket) else { continue };
        drop(stream.set_read_timeout(Some(Duration::from_secs(1))));
        drop(stream.set_write_timeout(Some(Duration::from_secs(1))));
        let bytes = match step % 3 {
            0 => &submit,
            1 => &revoke,
            _ => &list,
        };
        drop(stream.write_all(bytes));
        drop(stream.read(&mut [0; 4096]));
        held.push(stream);
        if held.len() > HELD {
            held.remove(0);
        }
    }
}

/// Parks the largest requests, opens and ends as many grants as it may, and lists all of its own.
fn requester(socket: &Path, uid: u32, over: &AtomicBool) {
    if become_user(uid).is_err() {
        return;
    }
    let mut mine = Requester { socket: socket.to_owned(), uid, connection: None };
    for step in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        mine.misuse(step);
    }
}

struct Requester {
    socket: PathBuf,
    uid: u32,
    connection: Option<Connection>,
}

impl Requester {
    fn call(&mut self, method: &str, path: &str, body: &str) -> Value {
        if self.connection.is_none() {
            self.connection = Connection::open(&self.socket).ok();
        }
        let answer = self.connection.as_mut().map(|connection| connection.call(method, path, body));
        match answer {
            Some(Ok(answer)) => serde_json::from_slice(&answer.body).unwrap_or_default(),
            _ => {
                self.connection = None;
                Value::Null
            }
        }
    }

    fn misuse(&mut self, step: u32) {
        match step % 40 {
            0 => drop(self.call("POST", "/v1/requests", &parked(self.uid, step))),
            10 => {
                let made = self.call("POST", "/v1/requests", &many(self.uid, step));
                let ids: Vec<_> = made["grants"].as_array().into_iter().flatten().map(|grant| &grant["id"]).collect();
                let reason = "x".repeat(1000);
                self.call("POST", "/v1/grants/revoke", &json!({"ids": ids, "reason": reason}).to_string());
            }
            20 => drop(self.call("POST", "/v1/grants/revoke", &json!({"ids": vec![1; 1024]}).to_string())),
            30 => {
                drop(self.call("POST", "/v1/requests", &json!({"ports": vec![json!({"number": 22}); 64]}).to_string()));
            }
            step if step % 2 == 1 => drop(self.call("GET", "/v1/requests?limit=200", "")),
            _ => drop(self.call("GET", "/v1/status", "")),
        }
    }
}

/// A request that waits for approval, with the longest texts.
fn parked(uid: u32, step: u32) -> String {
    let sources: Vec<_> =
        (0..16_384).map(|n| format!("2001:db8:{uid:x}:{step:x}:1111:2222:3333:{:x}", n % 32)).collect();
    let port = json!({"number": PARKED, "allowedSourceAddressPrefixes": sources, "duration": "PT1H"});
    json!({"ports": [port], "justification": "x".repeat(1000)}).to_string()
}

/// A request for as many grants as one user may have.
fn many(uid: u32, step: u32) -> String {
    let sources: Vec<_> = (0..32).map(|n| format!("2001:db8:{uid:x}:{step:x}::{n:x}")).collect();
    let port = |number| json!({"number": number, "allowedSourceAddressPrefixes": sources, "duration": "PT1H"});
    json!({"ports": [port(22), port(3389), port(5985)], "justification": "x".repeat(1000)}).to_string()
}
