//! Tests of requests that wait, of decisions and of extensions.

use super::*;

/// An agent of which alice has asked for [`WINRM`], as request 9.
fn waiting() -> Agent {
    let agent = agent();
    assert_eq!(jitctl_as(&agent, &alice(), &WINRM).exit, Exit::Pending);
    agent
}

#[test]
fn a_request_that_waits_says_what_for_and_ends_with_its_own_code() {
    let expected = "\
request 9 waits for approval until 18:00:12; nothing is open yet
  5986 from 192.0.2.10 for 30 min
someone else approves it with: jitctl approve 9; take it back with: jitctl cancel 9
";
    let agent = agent();
    shows(&jitctl_as(&agent, &alice(), &WINRM), Exit::Pending, expected);
    let outcome = jitctl(&agent, &["requests", "--pending"]);
    let row = "5986 from 192.0.2.10 for 30 min  waits for approval until 18:00:12  ticket 7";
    assert!(outcome.stdout.contains(row), "whoever approves sees what: {outcome:?}");
    assert_eq!(jitctl_as(&agent, &carol(), &["approve", "9", "--yes"]).exit, Exit::Done);
    let expected = "\
request 10 waits for approval until 18:00:12; nothing is open yet
  it extends grant 17
  5986/tcp from 192.0.2.10 for 2 h
someone else approves it with: jitctl approve 10; take it back with: jitctl cancel 10
";
    shows(&jitctl_as(&agent, &alice(), &["extend", "17", "--for", "2h"]), Exit::Pending, expected);
}

#[test]
fn decisions_and_extensions_say_what_is_open_now() {
    let agent = waiting();
    let opened = "5986/tcp open for 192.0.2.10 until 17:30:12 (in 30 min), grant 17\n\
                  end it early with: jitctl revoke 17\n";
    shows(&jitctl_as(&agent, &carol(), &["approve", "9", "--yes"]), Exit::Done, opened);
    let expected = "request 9 denied; nothing was opened\n";
    shows(&jitctl_as(&waiting(), &carol(), &["deny", "9", "-m", "no"]), Exit::Done, expected);
    let expected = "request 9 cancelled; nothing was opened\n";
    shows(&jitctl_as(&waiting(), &alice(), &["cancel", "9"]), Exit::Done, expected);
    let extended = jitctl_as(&granted(), &alice(), &["extend", "17", "--for", "2h"]);
    shows(&extended, Exit::Done, "22/tcp open for 192.0.2.10 until 19:00:22 (in 2 h), grant 17\n");
    assert_eq!(jitctl_as(&waiting(), &carol(), &["deny", "9"]).exit, Exit::Usage, "a denial says why");
}

#[test]
fn a_list_in_parts_is_shown_whole() {
    let agent = Agent::start(Machine::usual_with(&USUAL.replace("'required'", "'required'\n    quota = 1000")));
    // The loop makes more requests than one answer has.
    for _ in 0..201 {
        assert_eq!(jitctl(&agent, &WINRM).exit, Exit::Pending);
    }
    let outcome = jitctl(&agent, &["requests", "--pending"]);
    assert_eq!(outcome.stdout.matches("ticket 7").count(), 201, "{outcome:?}");
    let json = jitctl(&agent, &["--json", "requests", "--pending"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["value"].as_array().unwrap().len(), json.get("nextLink")), (201, None));
    let latest = jitctl(&agent, &["requests"]).stdout;
    assert_eq!(latest.matches("ticket 7").count(), 200);
    assert!(latest.ends_with("older ones: see jitctl audit --event requested\n"), "{latest}");
}

/// The outcome of a command of carol's, who sits at the terminal and is asked.
fn asked(agent: &Agent, arguments: &[&str], ask: fn(&str) -> bool) -> Outcome {
    let socket = agent.socket_of(&carol());
    let program = ["jitctl", "--socket", socket.to_str().unwrap()];
    run(program.iter().chain(arguments).map(Into::into), &Surroundings { ask: Some(ask), ..surroundings() })
}

#[test]
fn whoever_approves_is_shown_all_sources_the_widest_first_and_is_asked() {
    let any = USUAL.replace("allowed_sources = ['192.0.2.0/24']", "");
    let agent = Agent::start(Machine::usual_with(&any));
    let sources = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "2001:db8::/64",
        "192.0.2.4",
        "0.0.0.0/0",
        "2001:db8::/48",
        "10.0.0.0/8",
    ];
    let mut request = vec!["request", "--port", "5986", "--for", "30m"];
    request.extend(sources.iter().flat_map(|source| ["--from", source]));
    assert_eq!(jitctl_as(&agent, &alice(), &request).exit, Exit::Pending);

    let shown = "5986 from 0.0.0.0/0 (ANY ADDRESS), 10.0.0.0/8 (WIDE), 2001:db8::/48 (WIDE), 2001:db8::/64, 192.0.2.1, \
                 192.0.2.2, 192.0.2.3, 192.0.2.4 for 30 min";
    let listed = jitctl_as(&agent, &carol(), &["requests", "--pending"]);
    assert!(listed.stdout.contains(shown), "{listed:?}");
    let nobody_there =
        format!("request 9 of alice, made 17:00:12\n  {shown}\n  it has no justification\nadd --yes to go on\n");
    let outcome = jitctl_as(&agent, &carol(), &["approve", "9"]);
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (Exit::Refused, nobody_there.as_str()));
    let refused = asked(&agent, &["approve", "9"], |shown| !shown.contains("0.0.0.0/0 (ANY ADDRESS)"));
    assert_eq!((refused.exit, refused.stderr.as_str()), (Exit::Refused, "nothing was changed\n"));
    assert_eq!(asked(&agent, &["approve", "9"], |_| true).exit, Exit::Done);
    let again = asked(&agent, &["approve", "9"], |_| false);
    assert!(again.exit == Exit::Failed && again.stderr.contains("is approved by carol"), "{again:?}");
}
