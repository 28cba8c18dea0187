//! Tests of `ports` and `reload`.

use super::*;

/// The policies, without their use.
fn policies(agent: &Agent) -> Vec<Value> {
    let list: Value = serde_json::from_str(&jitctl(agent, &["ports", "--json"]).stdout).unwrap();
    let used = ["liveGrants", "passedPackets", "droppedPackets", "observedPackets", "approvedRequests"];
    let mut policies = list["value"].as_array().unwrap().clone();
    for policy in &mut policies {
        let policy = policy.as_object_mut().unwrap();
        policy.retain(|name, _| !used.contains(&name.as_str()) && !name.starts_with("last"));
    }
    policies
}

/// The outcome of a command of root, who sits at the terminal and is asked.
fn asked(agent: &Agent, arguments: &[&str], ask: fn(&str) -> bool) -> Outcome {
    let socket = agent.socket_of(&root());
    let program = ["jitctl", "--socket", socket.to_str().unwrap()];
    run(program.iter().chain(arguments).map(Into::into), &Surroundings { ask: Some(ask), ..surroundings() })
}

#[test]
fn add_gives_a_port_what_is_named_and_refuses_one_that_has_a_policy() {
    let agent = agent();
    let arguments = ["ports", "add", "443", "--allow", "192.0.2.0/24", "--max", "90m", "--approval", "required"];
    shows(&jitctl(&agent, &arguments), Exit::Done, "policy of 443/tcp is in force\n");
    let expected = json!({
        "number": 443, "protocol": "TCP", "allowedSourceAddressPrefixes": ["192.0.2.0/24"],
        "maxRequestAccessDuration": "PT1H30M", "approval": "required", "approvalTimeout": "PT1H",
        "justification": "required", "quota": 32, "requesters": [], "approvers": [], "setByAgent": true,
    });
    assert_eq!((policies(&agent).len(), &policies(&agent)[1]), (4, &expected));
    let stderr = "error: 3389/any has a policy already; change it with: jitctl ports set 3389/any\n";
    complains(&jitctl(&agent, &["ports", "add", "3389/any"]), Exit::Failed, stderr);
    let stderr = "error: invalid value '192.0.2.1/24' for '--allow <PREFIX>': 192.0.2.1/24 has bits set beyond its \
                  prefix length; write 192.0.2.0/24 for the network or 192.0.2.1 for the host\n";
    complains(&jitctl(&agent, &["ports", "add", "80", "--allow", "192.0.2.1/24"]), Exit::Usage, stderr);
    assert_eq!(policies(&agent).len(), 4);
}

#[test]
fn set_changes_only_what_is_named() {
    let agent = agent();
    let mut expected = policies(&agent);
    assert_eq!(jitctl(&agent, &["ports", "set", "3389", "--quota", "2", "--yes"]).exit, Exit::Done);
    expected[1]["quota"] = json!(2);
    expected[1]["setByAgent"] = json!(true);
    assert_eq!(policies(&agent), expected);
    let stderr = "error: there is no policy of port 80; `jitctl ports` lists those there are\n";
    complains(&jitctl(&agent, &["ports", "set", "80", "--quota", "2"]), Exit::Failed, stderr);
}

#[test]
fn reset_brings_the_files_policy_back_and_opens_only_what_it_names() {
    let agent = agent();
    let before = policies(&agent);
    let stderr = "error: the agent itself set nothing for `mode`; `jitctl ports` shows what it set\n";
    complains(&jitctl(&agent, &["ports", "reset", "mode"]), Exit::Failed, stderr);
    assert_eq!(jitctl(&agent, &["ports", "set", "3389", "--quota", "2"]).exit, Exit::Done);
    let shown = jitctl(&agent, &["ports"]).stdout;
    assert!(shown.contains("set by `jitctl ports`, not by the configuration files: 3389/any;"), "{shown}");
    assert_eq!(jitctl(&agent, &["ports", "reset", "3389"]).exit, Exit::Done);
    assert_eq!(policies(&agent), before);
    assert_eq!(jitctl(&agent, &["ports", "add", "443"]).exit, Exit::Done);
    // What the files open meanwhile is not named by the reset.
    agent.machine.rewrite("3389", "3390");
    assert_eq!(jitctl(&agent, &["ports", "reset", "443/tcp"]).exit, Exit::Refused);
    assert_eq!(jitctl(&agent, &["ports", "reset", "443/tcp", "--yes"]).exit, Exit::Refused);
    agent.machine.rewrite("3390", "3389");
    assert_eq!(jitctl(&agent, &["ports", "reset", "443/tcp", "--yes"]).exit, Exit::Done);
    assert_eq!(policies(&agent), before);
}

#[test]
fn a_number_with_two_policies_must_be_named_with_its_protocol() {
    let port = |protocol: &str| format!("[[port]]\nnumber = 3389\nprotocol = '{protocol}'\n");
    let agent = Agent::start(Machine::usual_with(&[port("tcp"), port("udp")].concat()));
    let stderr = "error: port 3389 has several policies; name one of 3389/tcp, 3389/udp\n";
    complains(&jitctl(&agent, &["ports", "remove", "3389", "--yes"]), Exit::Usage, stderr);
    assert_eq!(jitctl(&agent, &["ports", "remove", "3389/udp", "--yes"]).exit, Exit::Done);
    assert_eq!((policies(&agent).len(), &policies(&agent)[0]["protocol"]), (1, &json!("TCP")));
}

#[test]
fn effects_are_shown_and_without_a_terminal_yes_must_be_said() {
    let agent = granted();
    let outcome = jitctl(&agent, &["ports", "remove", "22"]);
    let stderr = "\
error: this would open ports, or end or shorten live grants; confirm it, if that is wanted
would be unprotected: 22/tcp
1 grant would end:
grant  port    source      until                      last connection  requestor  request
   17  22/tcp  192.0.2.10  17:30:12 (in 29 min 50 s)  never            alice            9
add --yes to go on
";
    complains(&outcome, Exit::Refused, stderr);
    assert_eq!(policies(&agent).len(), 3);
    let outcome = jitctl(&agent, &["ports", "remove", "22", "--yes"]);
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.stdout.contains("no longer protected: 22/tcp\n1 grant ended:\n"), "{outcome:?}");
}

#[test]
fn at_a_terminal_the_answer_decides() {
    let agent = granted();
    let outcome = asked(&agent, &["ports", "remove", "22"], |shown| {
        assert!(shown.contains("would be unprotected: 22/tcp"));
        false
    });
    complains(&outcome, Exit::Refused, "nothing was changed\n");
    assert_eq!(policies(&agent).len(), 3);
    assert_eq!(asked(&agent, &["ports", "remove", "22"], |_| true).exit, Exit::Done);
    assert_eq!(policies(&agent).len(), 2);
    // Whoever agrees has thereby named the openings.
    agent.machine.rewrite("3389", "3390");
    assert_eq!(asked(&agent, &["reload"], |_| false).exit, Exit::Refused);
    assert_eq!(asked(&agent, &["reload"], |_| true).exit, Exit::Done);
    assert_eq!(policies(&agent)[0]["number"], 3390);
}

#[test]
fn who_would_be_cut_off_by_a_change_or_a_reload_gets_it_on_trial() {
    let narrowed = "'198.51.100.0/24', '2001:db8::/32']\n    justification";
    for is_reload in [true, false] {
        let agent = granted();
        let outcome = if is_reload {
            agent.machine.rewrite("'192.0.2.0/24', '2001:db8::/32']\n    justification", narrowed);
            jitctl(&agent, &["reload", "--yes"])
        } else {
            jitctl(&agent, &["ports", "set", "22", "--allow", "198.51.100.0/24", "--yes"])
        };
        assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
        assert!(outcome.stdout.contains("jit-agent confirm"), "{outcome:?}");
        assert!(!agent.machine.admits(22, "192.0.2.10"));
        agent.pass(Duration::from_secs(3600));
        assert_eq!(policies(&agent)[0]["allowedSourceAddressPrefixes"][0], "192.0.2.0/24");
    }
}

#[test]
fn reload_says_what_changed_and_what_is_not_written() {
    let agent = Agent::start(Machine::usual_with(&format!("{USUAL}[[port]]\nnumber = 53\nprotocol = 'udp'\n")));
    agent.machine.rewrite("max_duration = '24h'", "max_duration = '23h'");
    shows(&jitctl(&agent, &["reload"]), Exit::Done, "the configuration is in force; changed: 3389/any\n");
    agent.machine.rewrite("number = 22\n", "number = 23\n");
    agent.machine.rewrite("number = 53\n", "number = 54\n");
    agent.machine.forbid("INSERT ON audit");
    assert_eq!(jitctl(&agent, &["reload", "--allow-open", "22/tcp", "--yes"]).exit, Exit::Refused);
    let outcome = jitctl(&agent, &["reload", "--allow-open", "22/tcp", "53", "--yes"]);
    assert_eq!(outcome.exit, Exit::Failed, "{outcome:?}");
    assert!(outcome.stderr.starts_with("warning: the change is in force"), "{outcome:?}");
    assert!(outcome.stdout.contains("no longer protected: 22/tcp, 53/udp"), "{outcome:?}");
}

#[test]
fn warnings_are_shown_and_are_no_faults() {
    let agent = Agent::start(Machine::usual_with("mode = 'enforce'\n[[port]]\nnumber = 22\nprotocol = 'tcp'\n"));
    let outcome = jitctl(&agent, &["status"]);
    assert_eq!(outcome.exit, Exit::Done);
    let warning = "port 22/tcp: any source may be requested; set allowed_sources";
    assert!(outcome.stdout.ends_with(&format!("\nWARNINGS\n- {warning}\n")), "{outcome:?}");
}

/// The advice after a refused reload, where the agent answers with `unnamed` beside the effects.
fn advice(arguments: &[&str], detail: &str, unnamed: Option<Value>) -> String {
    let mut problem = json!({
        "type": "about:blank", "title": "", "status": 409, "detail": detail, "code": "needs_confirmation",
        "effects": { "opened": ["22/tcp"], "ended": [], "shortened": [] },
    });
    if let Some(unnamed) = unnamed {
        problem["unnamed"] = unnamed;
    }
    let mut answers = vec![(409, None, problem)];
    if arguments[0] == "ports" {
        let port = json!({
            "number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": [], "maxRequestAccessDuration": "PT1H",
            "justification": "optional", "liveGrants": 0, "lastConnectionTimeUtc": null,
        });
        answers.insert(0, (200, Some("\"1\""), json!({ "value": [port] })));
    }
    let server = Server::start(answers);
    let outcome = jitctl_at(&server.socket(), arguments);
    assert_eq!(outcome.exit, Exit::Refused, "{outcome:?}");
    outcome.stderr.lines().last().unwrap().to_owned()
}

#[test]
fn whether_openings_have_to_be_named_is_told_by_a_field_and_not_by_the_wording() {
    let (plain, naming) = ("add --yes to go on", "add --yes to go on (and --allow-open for what it opens)");
    let remove = ["ports", "remove", "22"];
    for (arguments, detail, unnamed, expected) in [
        (&["reload"][..], "other words", Some(json!(["22/tcp"])), naming),
        (&["reload"], "it was not named, but is", Some(json!([])), plain),
        (&remove, "it was not named, but need not be", Some(json!([])), plain),
        // Agents of versions before the field `unnamed` answer like this.
        (&["reload"], "what was not named as to be opened: 22/tcp", None, naming),
        (&["reload"], "other words", None, naming),
        (&remove, "other words", None, plain),
    ] {
        assert_eq!(advice(arguments, detail, unnamed.clone()), expected, "{arguments:?} {detail} {unnamed:?}");
    }
}
