//! Tests with answers of a newer agent, with words that this program does not know.

use super::{super::table, *};
use jit_api::wire::{PacketEvent, Why};

/// What `jitctl` makes of one answer.
fn run_with_answer(arguments: &[&str], answer: &Value) -> Outcome {
    let server = Server::start(vec![(200, Some("\"1\""), answer.clone())]);
    jitctl_at(&server.socket(), arguments)
}

fn grant() -> Value {
    json!({
        "id": 17, "requestId": 9, "number": 22, "protocol": "QUIC", "source": "192.0.2.10/32", "requestor": "ann",
        "startTimeUtc": "2026-11-22T16:00:00Z", "endTimeUtc": "2026-11-22T16:30:12Z", "remainingSeconds": 1790,
        "status": "Suspended", "statusReason": null, "lastPacketTimeUtc": null, "lastConnectionTimeUtc": null,
    })
}

fn request() -> Value {
    json!({
        "id": 9, "requestor": "ann", "requestorUid": 1000, "justification": "ticket 7",
        "startTimeUtc": "2026-11-22T16:00:00Z", "status": "Escalated", "statusReason": "two admins must agree",
        "grants": [grant()],
    })
}

fn trial() -> Value {
    json!({ "kind": "roles", "untilUtc": "2026-11-22T16:10:22Z", "remaining": "PT10M" })
}

#[test]
fn a_request_in_an_unknown_state_is_listed_and_its_grants_do_not_count_as_live() {
    let expected = "\
request  time      requestor  ports    status                                                      justification
      9  17:00:00  ann        22/quic  in a state unknown to this jitctl: two admins must agree  ticket 7
";
    let outcome = run_with_answer(&["requests"], &json!({ "value": [request()] }));
    assert_eq!(words(&outcome.stdout), words(expected), "{outcome:?}");
    let mut approved = request();
    approved["status"] = "Approved".into();
    let outcome = run_with_answer(&["requests"], &json!({ "value": [approved] }));
    assert!(outcome.stdout.contains("approved, 0 of 1 grant live"), "{outcome:?}");
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn a_request_that_comes_to_an_unknown_state_is_neither_open_nor_refused_for_sure() {
    let arguments = ["request", "--port", "22", "--from", "192.0.2.10", "--for", "30m"];
    let expected = "error: request 9 is in a state that this jitctl does not know (two admins must agree); see \
                    `jitctl requests` of the agent's own version\n";
    for arguments in [&arguments[..], &["extend", "17", "--for", "1h"]] {
        let outcome = run_with_answer(arguments, &request());
        complains(&outcome, Exit::Failed, expected);
    }
}

#[test]
fn grants_with_unknown_words_are_listed_and_told_of_wherever_they_come_up() {
    let expected = "\
grant  port     source      until                      last connection  requestor  request
   17  22/quic  192.0.2.10  17:30:12 (in 29 min 50 s)  never            ann              9
";
    let outcome = run_with_answer(&["grants"], &json!({ "value": [grant()] }));
    assert_eq!((outcome.stdout.as_str(), outcome.exit), (expected, Exit::Done), "{outcome:?}");
    let outcome = run_with_answer(&["revoke", "--all"], &json!({ "revoked": [grant()], "durable": true }));
    assert_eq!(outcome.stdout, "22/quic closed for 192.0.2.10, grant 17 of ann\n", "{outcome:?}");
    let outcome = run_with_answer(&["extend", "17", "--for", "1h"], &grant());
    assert!(outcome.stdout.starts_with("22/quic open for 192.0.2.10 until"), "{outcome:?}");
    let effects = json!({ "changed": [], "opened": [], "ended": [grant()], "shortened": [grant()], "durable": true });
    let outcome = run_with_answer(&["reload"], &effects);
    assert_eq!((outcome.exit, outcome.stdout.matches("22/quic").count()), (Exit::Done, 2), "{outcome:?}");
}

#[test]
fn a_status_with_unknown_words_shows_them() {
    let outcome = run_with_answer(
        &["status"],
        &json!({
            "mode": "quarantine", "version": "9.0.0", "trial": trial(), "grants": { "intended": 0, "enforced": 0 },
            "interfaces": [{ "name": "eth0", "index": 2, "attached": "netkit", "layer": "transport", "fault": null }],
            "counters": [{ "mode": "quarantine", "reason": "bad_moon", "verdict": "redirect", "packets": 3 }],
            "faults": [],
        }),
    );
    for word in ["quarantine", "netkit", "bad_moon", "redirect"] {
        assert!(outcome.stdout.contains(word), "{word}: {outcome:?}");
    }
}

#[test]
fn an_unknown_verdict_is_not_shown_as_another_one() {
    let why = json!({
        "source": "192.0.2.10", "number": 22, "protocol": "QUIC", "verdict": "redirect", "reason": "bad_moon",
        "mode": "quarantine", "explanation": "so it is", "advice": null, "grants": [grant()],
    });
    let shown = table::why(&serde_json::from_value::<Why>(why).unwrap(), &surroundings());
    assert!(shown.starts_with("REDIRECT  192.0.2.10 -> 22/quic\n"), "{shown}");
    assert!(shown.contains("as bad_moon, mode quarantine"), "{shown}");
    let packet = json!({
        "timeUtc": "2026-11-22T16:00:22Z", "source": null, "number": 22, "protocol": "QUIC", "interface": "eth0",
        "verdict": "redirect", "reason": "bad_moon", "mode": "quarantine",
    });
    let shown = table::event(&serde_json::from_value::<PacketEvent>(packet).unwrap(), &surroundings());
    assert_eq!(words(&shown), ["17:00:22", "redirect", "bad_moon", "22/quic", "-", "eth0"]);
}

#[test]
fn a_port_policy_with_unknown_words_shows_them() {
    let outcome = run_with_answer(
        &["ports"],
        &json!({ "value": [{
            "number": 22, "protocol": "QUIC", "allowedSourceAddressPrefixes": [], "maxRequestAccessDuration": "forever",
            "approval": "by-two", "justification": "in-rhyme", "liveGrants": 0, "lastConnectionTimeUtc": null,
        }] }),
    );
    for word in ["22/quic", "forever", "by-two", "in-rhyme"] {
        assert!(outcome.stdout.contains(word), "{word}: {outcome:?}");
    }
}

#[test]
fn an_unknown_problem_is_told_in_the_agents_words() {
    let problem =
        json!({ "type": "about:blank", "title": "", "status": 409, "detail": "not on Sundays", "code": "sunday" });
    let server = Server::start(vec![(409, None, problem)]);
    complains(&jitctl_at(&server.socket(), &["status"]), Exit::Failed, "error: not on Sundays\n");
}
