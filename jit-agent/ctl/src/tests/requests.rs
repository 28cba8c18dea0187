//! Requests that wait, decisions and extensions.

use super::*;

fn waiting() -> Script {
    Script { requests: vec![fake::pending()], ..Script::default() }
}

#[test]
fn a_request_that_waits_says_what_for_and_ends_with_its_own_code() {
    let expected = "\
request 9 waits for approval until 18:00:00; nothing is open yet
  22 from 192.0.2.10 for 30 min
someone else approves it with: jitctl approve 9; take it back with: jitctl cancel 9
";
    shows(waiting(), &["request", "--port", "22", "--from", "me", "--for", "30m"], Exit::Pending, expected);
    shows(waiting(), &["extend", "17", "--for", "30m"], Exit::Pending, expected);
    let outcome = jitctl(waiting(), &["requests", "--pending"]);
    let row = "22 from 192.0.2.10 for 30 min  waits for approval until 18:00:00  ticket 7";
    assert!(outcome.stdout.contains(row), "whoever approves sees what: {outcome:?}");
}

#[test]
fn decisions_and_extensions_say_what_is_open_now() {
    let opened = jitctl(Script::default(), &["approve", "9"]).stdout;
    assert!(opened.starts_with("22/tcp open for 192.0.2.10 until 17:30:12"), "{opened}");
    shows(Script::default(), &["deny", "9", "-m", "no"], Exit::Done, "request 9 denied; nothing was opened\n");
    shows(Script::default(), &["cancel", "9"], Exit::Done, "request 9 cancelled; nothing was opened\n");
    let extended = jitctl(Script::default(), &["extend", "17", "--for", "2h"]).stdout;
    assert!(extended.starts_with("22/tcp open for 192.0.2.10 until 17:30:12"), "{extended}");
    assert_eq!(jitctl(Script::default(), &["deny", "9"]).exit, Exit::Usage, "a denial says why");
}

#[test]
fn a_list_in_parts_is_shown_whole() {
    let more = Some(fake::request().id);
    let outcome = jitctl(Script { more, ..Script::default() }, &["requests"]);
    assert_eq!(outcome.stdout.matches("ticket 7").count(), 2, "{outcome:?}");
    let json = jitctl(Script { more, ..Script::default() }, &["--json", "requests"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["value"].as_array().unwrap().len(), json.get("nextLink")), (2, None));
}
