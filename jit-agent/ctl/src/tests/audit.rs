//! Tests of `jitctl audit`.

use std::time::Duration;

use jit_agent::{store::Store, testing::audit::fill};
use jit_policy::{
    Actor, GrantId, Person, PortId, PortPolicy, Protocol, RequestId, TrialKind, Way,
    audit::{Attempt, AuditEvent, Grounds, IfAny, Kind, PortChange, Repeated, WayBack},
};
use serde_json::json;

use super::*;

/// An agent that started when the audit log had these rows already. Its start, at 17:00:12, comes after them.
fn logging(fill: impl FnOnce(&mut Store)) -> Agent {
    let machine = Machine::usual();
    fill(&mut machine.store());
    Agent::start(machine)
}

/// What `jitctl` prints while it runs, and its outcome.
fn jitctl_before(agent: &Agent, arguments: &[&str]) -> (String, Outcome) {
    let socket = agent.socket_of(&root());
    let program = ["jitctl", "--socket", socket.to_str().unwrap(), "audit"];
    let mut printed = Vec::new();
    let outcome = run_to(program.iter().chain(arguments).map(Into::into), &surroundings(), &mut printed);
    (String::from_utf8(printed).unwrap(), outcome)
}

#[test]
fn the_log_is_a_table_of_who_did_what_newest_last() {
    let log = logging(|store| fill(store, 1));
    let expected = "\
time      event    who     port    source      what
17:00:00  granted  alice   22/tcp  192.0.2.10  grant 17; until 17:30:12
17:00:10  revoked  root    22/tcp  192.0.2.10  grant 17; of alice; said \"no\",\\nand meant it\\u{1b}
17:00:20  denied   =cmd()  -       -           -1; @x
17:00:12  started  -       -       -
";
    assert_eq!(jitctl_before(&log, &[]), (expected.to_owned(), Outcome::done(String::new())));
    let (printed, outcome) = jitctl_before(&log, &["--user", "carol"]);
    assert_eq!((printed.as_str(), outcome.exit), ("nothing in the audit log fits\n", Exit::Done));
}

#[test]
fn filters_are_those_of_the_log_with_times_as_people_write_them() {
    let log = logging(|store| fill(store, 1));
    for (arguments, events) in [
        (&["--since", "15s"][..], &["revoked", "denied", "started"][..]),
        (&["--until", "17:00:10"], &["granted"]),
        (&["--since", "2026-11-22 17:00:05", "--until", "17:00:20"], &["revoked", "started"]),
        (&["--user", "alice", "--port", "22", "--event", "granted"], &["granted"]),
        (&["--user", "root"], &["revoked"]),
    ] {
        let (printed, _) = jitctl_before(&log, arguments);
        let shown: Vec<_> = printed.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(shown, events, "{arguments:?}");
    }
}

#[test]
fn all_pages_are_followed_and_exports_have_every_row() {
    let log = logging(|store| fill(store, 2200));
    assert_eq!(jitctl_before(&log, &[]).0.lines().count(), 2204);
    let (printed, outcome) = jitctl_before(&log, &["--json"]);
    let merged: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((printed.as_str(), merged["value"].as_array().unwrap().len()), ("", 2203));
    assert_eq!((&merged["value"][2202]["seq"], merged.get("nextLink")), (&Value::from(2203), None));
    let (csv, outcome) = jitctl_before(&log, &["--csv", "--event", "denied"]);
    assert_eq!((csv.matches("\r\n").count(), outcome), (2201, Outcome::done(String::new())));
    let (lines, _) = jitctl_before(&log, &["--jsonl"]);
    assert_eq!(lines.lines().count(), 2203);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn a_verification_ends_with_0_or_with_1_and_the_row() {
    let log = logging(|store| fill(store, 1));
    let head = log.machine.audit_head();
    let (_, outcome) = jitctl_before(&log, &["verify", "--head", &head]);
    assert_eq!(outcome, Outcome::done(format!("the audit log is sound: 4 rows from row 1 on, head {head}\n")));
    let later = format!("9:{}", "a".repeat(64));
    let (_, outcome) = jitctl_before(&log, &["verify", "--head", &later]);
    let fault = "audit rows 5 to 9 were cut off: row 9 is the noted head";
    complains(&outcome, Exit::Failed, &format!("error: {fault}; 4 rows up to {head} are sound\n"));
    let (_, outcome) = jitctl_before(&log, &["verify", "--json", "--head", &later]);
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.exit, &said["fault"]), (Exit::Failed, &Value::from(fault)));
}

#[test]
fn arguments_that_can_not_be_used_say_what_to_write() {
    let log = logging(|store| fill(store, 0));
    for (arguments, text) in [
        (&["--since", "yesterday"][..], "`yesterday` is not a time; write how long ago, like 2h or 7d"),
        (&["--csv", "--jsonl"], "cannot be used with"),
        (&["--port", "0"], "0 is not in 1.."),
        (&["--user", "ann", "verify"], "cannot be used with"),
        (&["verify", "--head", "12"], "64 hexadecimal digits"),
    ] {
        let (printed, outcome) = jitctl_before(&log, arguments);
        assert_eq!((outcome.exit, printed.as_str()), (Exit::Usage, ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{arguments:?}: {}", outcome.stderr);
    }
}

/// The columns at which the headings begin in a line of headings.
fn places(heading: &str) -> Vec<usize> {
    ["time", "event", "who", "port", "source", "what"].map(|name| heading.find(name).unwrap()).to_vec()
}

/// Asserts that each cell begins below its heading, and returns how many lines have headings.
#[track_caller]
fn lined_up(printed: &str) -> usize {
    let mut columns = Vec::new();
    let mut headings = 0;
    for line in printed.lines() {
        if line.starts_with("time ") {
            (columns, headings) = (places(line), headings + 1);
            continue;
        }
        let cells: Vec<char> = line.chars().collect();
        for column in &columns {
            let begins = cells.get(*column).is_none_or(|cell| *cell != ' ')
                && cells.get(column.wrapping_sub(1)).is_none_or(|cell| *cell == ' ');
            assert!(begins, "column {column} of {line:?} in\n{printed}");
        }
    }
    headings
}

#[test]
fn columns_line_up_for_every_event_and_whoever_and_whatever_it_is_about() {
    let log = logging(|store| {
        fill(store, 0);
        for Kind { name, .. } in AuditEvent::KINDS {
            let detail = json!({
                "requestor": "release-pipeline via pusher", "source": "2001:db8:1:2:3:4:5:6/128", "reason": "x",
                "ports": [{ "number": 3389, "protocol": "any" }, { "number": 5986, "protocol": "tcp" }],
            });
            store.record_event(time("2026-11-21T16:00:00Z"), name, &detail).unwrap();
        }
    });
    let (printed, _) = jitctl_before(&log, &[]);
    // Beside the events there are the headings, the first rows of the log and the start of the agent.
    assert_eq!((lined_up(&printed), printed.lines().count()), (1, AuditEvent::KINDS.len() + 4));
}

#[test]
fn rows_that_need_more_room_than_those_before_them_have_headings_of_their_own() {
    let log = logging(|store| {
        fill(store, 1000);
        store.record_event(time("2026-11-22T16:00:21Z"), "first_connection", &json!({ "requestor": "ann" })).unwrap();
    });
    let (printed, _) = jitctl_before(&log, &[]);
    assert_eq!((lined_up(&printed), printed.lines().count()), (2, 1006));
}

#[test]
fn a_cell_of_great_length_moves_the_rest_of_its_row_only() {
    let log = logging(|store| {
        fill(store, 0);
        let detail = json!({ "requestor": "x".repeat(500) });
        store.record_event(time("2026-11-22T16:00:21Z"), "denied", &detail).unwrap();
    });
    let (printed, _) = jitctl_before(&log, &[]);
    assert!(printed.lines().next().unwrap().len() < 150, "{printed}");
}

#[test]
fn persons_signals_and_ports_are_shown_as_this_agent_and_as_older_ones_write_them() {
    let rows = [
        (
            "shortened",
            json!({
                "grant": 3, "request": 2, "requestor": "ann", "number": 22, "protocol": "tcp", "source": "192.0.2.10/32",
                "end": "2026-11-22T16:10:00Z", "before": "2026-11-22T18:00:00Z", "by": { "uid": 0, "name": "root" },
                "reason": "less time",
            }),
        ),
        ("shortened", json!({ "port": "22/tcp", "grants": [3, 4], "reason": "less time" })),
        (
            "policy_changed",
            json!({
                "by": { "signal": "SIGHUP" }, "number": null, "protocol": null,
                "ports": [{ "number": 22, "protocol": "tcp" }, { "number": 3389, "protocol": "any" }],
            }),
        ),
        ("policy_changed", json!({ "by": { "signal": "SIGHUP" }, "number": null, "ports": ["22/tcp", "3389/any"] })),
        ("unloaded", json!({ "by": { "uid": 0, "name": "root" }, "time": "2026-11-22T15:00:00Z" })),
        ("unloaded", json!({ "by": "by root (logged in as ann) at 2026-11-22T15:00:00Z" })),
        ("unloaded", json!({ "by": "by somebody, at a time that is not known" })),
        ("trial_ended", json!({ "by": null, "grants": [] })),
    ];
    let log = logging(|store| {
        for (event, detail) in &rows {
            store.record_event(time("2026-11-22T16:00:00Z"), event, detail).unwrap();
        }
    });
    let expected = "\
time      event           who     port             source      what
17:00:00  shortened       root    22/tcp           192.0.2.10  grant 3; of ann; until 17:10:00 instead of 19:00:00; less time
17:00:00  shortened       -       22/tcp           -           grants 3, 4; less time
17:00:00  policy_changed  SIGHUP  22/tcp,3389/any  -
17:00:00  policy_changed  SIGHUP  22/tcp,3389/any  -
17:00:00  unloaded        root    -                -           at 16:00:00
17:00:00  unloaded        root    -                -           by root (logged in as ann) at 2026-11-22T15:00:00Z
17:00:00  unloaded        -       -                -           by somebody, at a time that is not known
17:00:00  trial_ended     -       -                -
17:00:12  started         -       -                -
";
    assert_eq!(jitctl_before(&log, &[]), (expected.to_owned(), Outcome::done(String::new())));
}

/// The events that an agent writes, with a person in each event that a person causes.
fn events() -> Vec<AuditEvent> {
    let root = || Person { uid: 0, name: "root".to_owned(), login: None };
    let ssh = PortId { number: 22, protocol: Protocol::Tcp };
    let policy = PortPolicy::new(ssh);
    let shorter = PortPolicy { max_duration: Duration::from_secs(600), ..policy.clone() };
    let noon = time("2026-11-22T11:00:00Z");
    vec![
        AuditEvent::Attached {
            interface: "eth0".to_owned(),
            index: 2,
            how: Way::Native,
            note: None,
            covered_after_ms: Some(0.5),
        },
        AuditEvent::Detached {
            interface: "eth0".to_owned(),
            index: 2,
            how: Way::Native,
            reason: "someone took it off".to_owned(),
        },
        AuditEvent::PortChanged {
            by: Actor::Person(root()),
            port: ssh,
            change: PortChange::Changed,
            before: Some(policy),
            after: Some(shorter),
        },
        AuditEvent::PortChanged {
            by: Actor::Signal("SIGHUP"),
            port: ssh,
            change: PortChange::Removed,
            before: None,
            after: None,
        },
        AuditEvent::Enabled {
            by: root(),
            seconds: Duration::from_secs(600),
            source: Some([192, 0, 2, 7].into()),
            number: Some(22),
            grant: Some(GrantId(4)),
            way_back: WayBack { console: true, break_glass: Vec::new(), delegates: vec!["pusher".to_owned()] },
        },
        AuditEvent::TrialEnded {
            by: None,
            tried: TrialKind::Ports,
            mode: jit_common::abi::Mode::Enforce,
            grants: IfAny(Some(vec![GrantId(4)])),
        },
        AuditEvent::Refused {
            requestor: "ann".to_owned(),
            uid: 1000,
            by: Person { uid: 1000, name: "ann".to_owned(), login: None },
            attempt: Attempt::Approve(RequestId(7)),
            grounds: Grounds::Reason("no role".to_owned()),
            repeated: IfAny(Some(Repeated { count: 3, since: noon })),
        },
        AuditEvent::EntriesClosed { entries: 2, by: root(), reason: "over".to_owned() },
        AuditEvent::BreakGlassUsed { source: "203.0.113.0/24".to_owned(), time: noon },
        AuditEvent::Pruned { first: 1, last: 9, hash: [7; 32], before: noon },
    ]
}

#[test]
fn what_has_no_column_is_shown_too_also_of_events_that_this_program_does_not_know() {
    let lights = json!({ "colour": "red", "on": true, "off": false });
    let later = json!({ "room_lights": lights, "wires": [1, 2], "note": null, "max_duration": u64::MAX });
    let log = logging(|store| {
        for event in events() {
            store.note(time("2026-11-22T16:00:00Z"), &event).unwrap();
        }
        store.record_event(time("2026-11-22T16:00:00Z"), "lit", &later).unwrap();
    });
    let (printed, _) = jitctl_before(&log, &[]);
    let expected = "\
time      event             who     port    source          what
17:00:00  attached          -       -       -               interface eth0; how native; covered after ms 0.5
17:00:00  detached          -       -       -               interface eth0; how native; someone took it off
17:00:00  policy_changed    root    22/tcp  -               change changed; max duration 10 min instead of 3 h
17:00:00  policy_changed    SIGHUP  22/tcp  -               change removed
17:00:00  enabled           root    22      192.0.2.7       grant 4; for 10 min; way back console yes; way back delegates pusher
17:00:00  trial_ended       -       -       -               grants 4; tried ports; mode enforce
17:00:00  denied            ann     -       -               request 7; 3 times since 12:00:00; asked to approve; no role
17:00:00  entries_closed    root    -       -               entries 2; over
17:00:00  break_glass_used  -       -       203.0.113.0/24  at 12:00:00
17:00:00  pruned            -       -       -               before 12:00:00; first 1; last 9
17:00:00  lit               -       -       -               room lights colour red; room lights on yes; wires 1, 2; max duration 213503982334601 days 7 h
17:00:12  started           -       -       -
";
    assert_eq!(printed, expected);
}
