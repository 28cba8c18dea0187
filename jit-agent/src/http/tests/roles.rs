//! Tests that streams end when the role of who reads them is taken away.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
};

use super::*;
use crate::{accounts::Answer, core::names::LookUps, testing::people::viewer};

/// An agent that asks this channel for the numbers of names.
fn asking(mut machine: Machine) -> (Agent, Receiver<LookUps>) {
    let (look_ups, wanted) = channel();
    machine.look_ups = look_ups;
    (Agent::start(machine), wanted)
}

/// Answers that no user and no group has the names.
fn take_all_roles(agent: &Agent, wanted: Receiver<LookUps>) {
    let (core, state) = (agent.core.clone(), agent.machine.dir.path().to_owned());
    thread::spawn(move || core.follow_names(&wanted, &state, |_| Answer::Absent));
    // The answer of the first round may be under way, and this is the second one.
    agent.wait(agent.core.look_up_names());
    get_as(agent, &viewer(), "/v1/status").problem(403, "not_permitted");
}

fn open(agent: &Agent, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(agent.socket_of(&viewer())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    // An answer has begun when its first bytes are there.
    stream.read_exact(&mut [0; 12]).unwrap();
    stream
}

#[test]
fn a_stream_of_packets_ends_when_the_role_of_its_reader_is_taken_away() {
    let (agent, wanted) = asking(Machine::usual());
    let mut stream = open(&agent, "/v1/events");
    take_all_roles(&agent, wanted);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn an_export_of_the_audit_log_breaks_off_when_the_role_of_its_reader_is_taken_away() {
    let machine = Machine::usual();
    drop(machine.store());
    let insert = "WITH RECURSIVE rows (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM rows WHERE seq < 20000)
        INSERT INTO audit (seq, wall, event, detail, previous, hash)
        SELECT seq, 0, 'denied', '{}', zeroblob(32), zeroblob(32) FROM rows";
    machine.sql().execute_batch(insert).unwrap();
    let (agent, wanted) = asking(machine);
    let mut stream = open(&agent, "/v1/audit?format=jsonl");
    take_all_roles(&agent, wanted);
    let mut rest = Vec::new();
    // The end of the connection shows that the export is not complete.
    drop(stream.read_to_end(&mut rest));
    let rows = rest.iter().filter(|byte| **byte == b'\n').count();
    assert!(rows < 20_000, "{rows}");
}
