//! Tests from Azure's files to the planned changes, and from there to the changes at a real agent. Answers that no real
//! agent gives are scripted.

mod files;

use std::{path::Path, time::Duration};

use jit_agent::testing::{
    agent::Agent as Served,
    machine::Machine,
    people::{alice, carol, root},
    scripted::{Scripted, Server},
};
use jit_api::{
    client::Client,
    terminal::{Agent, Exit, Outcome, Surroundings},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{import, policies};
use crate::args::ImportAzure;

/// The output of `az security jit-policy list`: flattened, with `null` for the source field that is not set.
fn az_list() -> Value {
    json!([{
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/default",
        "kind": "Basic", "location": "westeurope", "name": "default", "provisioningState": "Succeeded",
        "requests": [{"requestor": "ann", "virtualMachines": []}], "type": "Microsoft.Security/locations/jitNetworkAccessPolicies",
        "virtualMachines": [{
            "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1",
            "publicIpAddress": null,
            "ports": [
                {"number": 22, "protocol": "tcp", "allowedSourceAddressPrefix": "198.51.100.0/24",
                 "allowedSourceAddressPrefixes": null, "maxRequestAccessDuration": "PT1H"},
                {"number": 3389, "protocol": "*", "allowedSourceAddressPrefix": "*",
                 "allowedSourceAddressPrefixes": null, "maxRequestAccessDuration": "P1D"},
                {"number": 443, "protocol": "TCP", "allowedSourceAddressPrefix": null,
                 "allowedSourceAddressPrefixes": ["2001:db8::/32", "192.0.2.7"], "maxRequestAccessDuration": "PT3H"}
            ]
        }]
    }])
}

fn machines(file: &Value) -> Vec<policies::Machine> {
    policies::parse(file.to_string().as_bytes()).unwrap()
}

fn of_machines(machines: &Value) -> Value {
    json!({"value": [{"name": "default", "properties": {"virtualMachines": machines}}]})
}

fn port(number: u16, protocol: &str) -> Value {
    json!({"number": number, "protocol": protocol, "allowedSourceAddressPrefix": "*", "maxRequestAccessDuration": "PT3H"})
}

fn surroundings() -> Surroundings {
    Surroundings {
        now: "2026-11-22T16:00:22Z".parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        ssh_session: None,
        ask: None,
    }
}

/// The ports of an agent: one port that the file changes, one port that the file repeats.
fn present() -> Value {
    let port = |number, protocol: &str, sources: Value, approval: &str| {
        json!({
            "number": number, "protocol": protocol, "allowedSourceAddressPrefixes": sources,
            "maxRequestAccessDuration": "PT3H", "approval": approval, "approvalTimeout": "PT2H",
            "justification": "optional", "quota": 7, "liveGrants": 0, "lastConnectionTimeUtc": null,
        })
    };
    json!({"value": [
        port(22, "TCP", json!(["198.51.100.0/24"]), "required"),
        port(443, "TCP", json!(["192.0.2.7/32", "2001:db8::/32"]), "auto"),
    ]})
}

/// The ports of [`present`] as the configuration of a real agent, where others may ask for port 22 too.
const PRESENT: &str = "
    mode = 'enforce'
    [[port]]
    number = 22
    protocol = 'tcp'
    allowed_sources = ['198.51.100.0/24']
    approval = 'required'
    approval_timeout = '2h'
    justification = 'optional'
    quota = 7
    [[port]]
    number = 443
    protocol = 'tcp'
    allowed_sources = ['192.0.2.7', '2001:db8::/32']
    approval_timeout = '2h'
    justification = 'optional'
    quota = 7
";

fn served() -> Served {
    Served::start(Machine::usual_with(PRESENT))
}

/// An agent with two grants that the import shortens or ends: grants 17 and 18, for two hours.
fn granted() -> Served {
    let config = PRESENT.replace("['198.51.100.0/24']", "['198.51.100.0/24', '192.0.2.0/24']");
    let served = Served::start(Machine::usual_with(&config));
    let request = ["request", "--port", "22", "--for", "2h", "--from", "198.51.100.7", "--from", "192.0.2.10"];
    for (peer, arguments) in [(alice(), &request[..]), (carol(), &["approve", "9", "--yes"])] {
        let socket = served.socket_of(&peer);
        let program = ["jitctl", "--socket", socket.to_str().unwrap()];
        let outcome = crate::run(program.iter().chain(arguments).map(Into::into), &surroundings());
        assert_eq!(outcome.stderr, "");
    }
    served.pass(Duration::from_secs(10));
    served
}

/// The policies of an agent, without their use.
fn policies_of(served: &Served) -> Vec<Value> {
    let agent = Agent { client: Client::new(&served.socket_of(&root())), json: true };
    let mut list: Value = agent.fetch("/v1/ports").unwrap();
    let unused = |policy: &Value| {
        let names = ["number", "protocol", "allowedSourceAddressPrefixes", "maxRequestAccessDuration", "approval"];
        let names = names.iter().chain(&["approvalTimeout", "justification", "quota"]);
        names.map(|name| ((*name).to_owned(), policy[name].clone())).collect()
    };
    list["value"].take().as_array().unwrap().iter().map(unused).collect()
}

/// Imports `file` at a socket; `says` is the answer of whoever is asked.
fn run_at(
    socket: &Path,
    file: &Value,
    options: &[&str],
    says: Option<bool>,
    surroundings: &Surroundings,
) -> (Outcome, Vec<String>) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("policy.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let agent = Agent { client: Client::new(socket), json: options.contains(&"--json") };
    let arguments = ImportAzure {
        file: path,
        vm: options.iter().find_map(|option| option.strip_prefix("--vm=")).map(str::to_owned),
        apply: options.contains(&"--apply"),
        yes: options.contains(&"--yes"),
    };
    let mut questions = Vec::new();
    let mut ask = |question: &str| {
        questions.push(question.to_owned());
        says
    };
    let outcome = import(&agent, &arguments, &mut ask, surroundings).unwrap_or_else(|outcome| outcome);
    (outcome, questions)
}

/// Imports `file` at a server that answers by script.
fn run(server: &Server, file: &Value, options: &[&str], says: Option<bool>) -> (Outcome, Vec<String>) {
    run_at(&server.socket(), file, options, says, &surroundings())
}

/// Imports `file` at a real agent, as root.
fn run_real(served: &Served, file: &Value, options: &[&str], says: Option<bool>) -> (Outcome, Vec<String>) {
    run_at(&served.socket_of(&root()), file, options, says, &surroundings())
}

fn ports_answer() -> Scripted {
    (200, Some("\"1\""), present())
}

fn done(etag: &'static str) -> Scripted {
    (200, Some(etag), json!({"port": null, "ended": [], "shortened": [], "opened": [], "durable": true}))
}

fn grant() -> Value {
    json!({
        "id": 17, "requestId": 9, "number": 22, "protocol": "TCP", "source": "192.0.2.10/32", "requestor": "ann",
        "startTimeUtc": "2026-11-22T16:00:00Z", "endTimeUtc": "2026-11-22T18:00:00Z", "remainingSeconds": 7178,
        "status": "Live", "statusReason": null, "lastPacketTimeUtc": null, "lastConnectionTimeUtc": null,
    })
}

fn needs_confirmation() -> Scripted {
    let effects = json!({"ended": [grant()], "shortened": [], "opened": ["22/udp"]});
    (
        409,
        None,
        json!({"type": "about:blank", "title": "", "status": 409, "detail": "it ends 1 grant", "code": "needs_confirmation", "effects": effects}),
    )
}

#[test]
fn every_form_that_azure_prints_says_the_same() {
    let list = az_list();
    let mut nested = list[0].clone();
    let properties = json!({"virtualMachines": nested["virtualMachines"].take()});
    nested["properties"] = properties;
    let expected = machines(&list);
    assert_eq!(expected[0].faults, []);
    let said: Vec<_> =
        expected[0].ports.iter().map(|port| format!("{} {:?} {:?}", port.id, port.sources, port.maximum)).collect();
    assert_eq!(
        said,
        [
            "22/tcp [198.51.100.0/24] 3600s",
            "443/tcp [192.0.2.7/32, 2001:db8::/32] 10800s",
            "3389/any [0.0.0.0/0, ::/0] 86400s"
        ]
    );
    for file in [list[0].clone(), json!({"value": list}), json!([nested]), nested.clone(), json!({"value": [nested]})] {
        assert!(machines(&file)[0].agrees_with(&expected[0]), "{file}");
    }
}

#[test]
fn without_apply_it_only_shows_what_it_would_set() {
    let served = served();
    let before = policies_of(&served);
    let (outcome, _) = run_real(&served, &az_list(), &[], None);
    let expected = "\
ports of vm1
port      sources                   maximum  change
22/tcp    198.51.100.0/24               1 h  changes maximum from 3 h
443/tcp   192.0.2.7, 2001:db8::/32      3 h  unchanged
3389/any  0.0.0.0/0, ::/0              24 h  new
approval, justification and quota keep their present values, new ports get the defaults; other ports stay as they are
nothing was changed yet; add --apply to make the 2 changes
";
    assert_eq!(outcome, Outcome::done(expected.to_owned()));
    assert_eq!(policies_of(&served), before);
}

#[test]
fn apply_sets_what_changes_with_the_latest_version_and_keeps_what_azure_does_not_have() {
    let served = served();
    let mut expected = policies_of(&served);
    let (outcome, questions) = run_real(&served, &az_list(), &["--apply"], None);
    assert_eq!((outcome.exit, outcome.stderr.as_str(), questions.len()), (Exit::Done, "", 0));
    assert!(outcome.stdout.ends_with("\n22/tcp is set\n3389/any is set\n"), "{}", outcome.stdout);
    expected[0]["maxRequestAccessDuration"] = json!("PT1H");
    expected.push(json!({
        "number": 3389, "protocol": "*", "allowedSourceAddressPrefixes": ["0.0.0.0/0", "::/0"],
        "maxRequestAccessDuration": "PT24H", "approval": "auto", "approvalTimeout": "PT1H",
        "justification": "required", "quota": 32,
    }));
    assert_eq!(policies_of(&served), expected);
    let kept = ["required", "PT2H", "optional"].map(Value::from);
    assert_eq!(["approval", "approvalTimeout", "justification"].map(|name| expected[0][name].clone()), kept);
}

#[test]
fn each_change_is_sent_with_the_version_that_the_one_before_it_led_to() {
    let server = Server::start(vec![ports_answer(), done("\"2\""), done("\"3\"")]);
    assert_eq!(run(&server, &az_list(), &["--apply"], None).0.exit, Exit::Done);
    let versions: Vec<_> = server.asked().into_iter().map(|(line, version, _)| (line, version)).collect();
    let expected = [
        ("GET /v1/ports".to_owned(), None),
        ("PUT /v1/ports/22/tcp".to_owned(), Some("\"1\"".to_owned())),
        ("PUT /v1/ports/3389/any".to_owned(), Some("\"2\"".to_owned())),
    ];
    assert_eq!(versions, expected);
}

#[test]
fn what_ends_grants_is_not_done_before_it_is_agreed() {
    let served = granted();
    let before = policies_of(&served);
    let (outcome, questions) = run_real(&served, &az_list(), &["--apply"], Some(false));
    let refused = "error: 22/tcp was not confirmed\nnot set: 22/tcp, 3389/any\n";
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (Exit::Failed, refused));
    assert!(questions[0].starts_with("setting 22/tcp has effects:\n1 grant would end:\n"), "{questions:?}");
    assert!(questions[0].contains("192.0.2.10") && questions[0].contains("1 grant would end earlier:\n"));
    let (outcome, _) = run_real(&served, &az_list(), &["--apply"], None);
    let alone = "error: setting 22/tcp has effects, and nobody is there to confirm them; add --yes to accept them:\n";
    assert!(outcome.stderr.starts_with(alone) && outcome.exit == Exit::Failed, "{outcome:?}");
    assert!(outcome.stderr.ends_with("not set: 22/tcp, 3389/any\n"), "{outcome:?}");
    assert_eq!((policies_of(&served), served.machine.states()), (before, vec!["live".to_owned(); 2]));
    let (outcome, _) = run_real(&served, &az_list(), &["--apply"], Some(true));
    assert_eq!((outcome.exit, served.machine.states()), (Exit::Done, vec!["live".to_owned(), "ended".to_owned()]));
}

#[test]
fn what_ends_grants_or_opens_ports_is_shown_and_asked() {
    let effects = "would be unprotected: 22/udp\n1 grant would end:\n";
    let server = Server::start(vec![ports_answer(), needs_confirmation(), done("\"2\""), done("\"3\"")]);
    let (outcome, questions) = run(&server, &az_list(), &["--apply"], Some(true));
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert!(questions[0].starts_with(&format!("setting 22/tcp has effects:\n{effects}")), "{questions:?}");
    assert!(questions[0].contains("192.0.2.10"), "{questions:?}");
    let paths: Vec<_> = server.asked().into_iter().map(|(line, version, _)| (line, version)).collect();
    let one = Some("\"1\"".to_owned());
    assert_eq!(paths[1], ("PUT /v1/ports/22/tcp".to_owned(), one.clone()));
    assert_eq!(paths[2], ("PUT /v1/ports/22/tcp?confirm=true".to_owned(), one));

    let refused = "error: 22/tcp was not confirmed\n".to_owned();
    let alone = format!(
        "error: setting 22/tcp has effects, and nobody is there to confirm them; add --yes to accept them:\n{effects}"
    );
    for (says, stderr) in [(Some(false), refused), (None, alone)] {
        let server = Server::start(vec![ports_answer(), needs_confirmation()]);
        let (outcome, _) = run(&server, &az_list(), &["--apply"], says);
        assert_eq!(outcome.exit, Exit::Failed);
        assert!(outcome.stderr.starts_with(&stderr), "{outcome:?}");
        assert!(outcome.stderr.ends_with("not set: 22/tcp, 3389/any\n"), "{outcome:?}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[test]
fn yes_confirms_and_says_what_it_did() {
    let served = granted();
    let (outcome, questions) = run_real(&served, &az_list(), &["--apply", "--yes"], None);
    assert_eq!((outcome.exit, questions.len()), (Exit::Done, 0), "{outcome:?}");
    for part in ["22/tcp is set\n1 grant ended:\n", "1 grant end earlier:\n", "\n3389/any is set\n"] {
        assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
    }
    assert_eq!(served.machine.states(), ["live", "ended"]);
}

#[test]
fn a_failure_on_the_way_says_what_is_set_and_what_is_not() {
    let problem =
        json!({"type": "about:blank", "title": "", "status": 403, "detail": "you may not", "code": "not_permitted"});
    let server = Server::start(vec![ports_answer(), done("\"2\""), (403, None, problem)]);
    let (outcome, _) = run(&server, &az_list(), &["--apply"], None);
    assert!(outcome.stdout.ends_with("22/tcp is set\n"), "{outcome:?}");
    assert_eq!((outcome.exit, &*outcome.stderr), (Exit::NotPermitted, "error: you may not\nnot set: 3389/any\n"));

    let served = served();
    served.machine.forbid("INSERT ON audit");
    let (outcome, _) = run_real(&served, &az_list(), &["--apply"], None);
    assert!(outcome.stdout.ends_with("22/tcp is set\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("could not be written") && outcome.stderr.ends_with("not set: 3389/any\n"));
    assert_eq!(outcome.exit, Exit::Failed);
}

#[test]
fn without_a_version_nothing_is_set() {
    let server = Server::start(vec![(200, None, present())]);
    let (outcome, _) = run(&server, &az_list(), &["--apply"], None);
    assert!(outcome.exit == Exit::Failed && outcome.stderr.contains("has no version (header ETag)"), "{outcome:?}");
}

#[test]
fn machines_with_the_same_ports_need_no_name_and_programs_get_json() {
    let file = of_machines(&json!([
        {"id": "/x/vm1", "ports": [port(80, "TCP"), port(81, "UDP")]},
        {"id": "/x/vm2", "ports": [port(81, "udp"), port(80, "tcp")]},
    ]));
    let (outcome, _) = run_real(&served(), &file, &["--json"], None);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&report["vm"], &report["applied"]), (&json!("/x/vm1"), &json!(false)));
    let expected = json!({
        "number": 80, "protocol": "TCP", "allowedSourceAddressPrefixes": ["0.0.0.0/0", "::/0"],
        "maxRequestAccessDuration": "PT3H", "was": {"change": "new"},
    });
    assert_eq!(report["ports"][0], expected);
}

#[test]
fn a_file_that_is_missing_or_too_large_is_refused() {
    let directory = TempDir::new().unwrap();
    let agent = Agent { client: Client::new(Path::new("/nonexistent/agent.sock")), json: false };
    let file = directory.path().join("policy.json");
    let arguments = ImportAzure { file: file.clone(), vm: None, apply: false, yes: false };
    let import = || import(&agent, &arguments, &mut |_| None, &surroundings()).unwrap_err();
    assert!(import().stderr.contains("policy.json: No such file"));
    std::fs::write(&file, vec![b' '; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(import().stderr.contains("larger than 4 MiB"));
}

#[test]
fn each_change_names_the_session_of_who_imports_so_that_one_that_cuts_it_off_is_on_trial() {
    let mut file = az_list();
    file[0]["virtualMachines"][0]["ports"][2]["allowedSourceAddressPrefixes"] = json!(["2001:db8::/32"]);
    // The first change cuts off one session, the second one another.
    for (session, set) in [
        ("192.0.2.10 51234 192.0.2.1 22", "22/tcp is set\n1 grant ended:"),
        ("192.0.2.7 51234 192.0.2.1 443", "443/tcp is set\n1 grant ended:"),
    ] {
        let served = granted();
        let socket = served.socket_of(&alice());
        let program = ["jitctl", "--socket", socket.to_str().unwrap()];
        let request = ["request", "--port", "443", "--for", "1h", "--from", "192.0.2.7"];
        let outcome = crate::run(program.iter().chain(&request).map(Into::into), &surroundings());
        assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
        let over_ssh = Surroundings { ssh_session: Some(session.to_owned()), ..surroundings() };
        let (outcome, _) = run_at(&served.socket_of(&root()), &file, &["--apply", "--yes"], None, &over_ssh);
        let (before, after) = outcome.stdout.split_once("ON TRIAL, since it cuts you off:\n").unwrap();
        assert!(before.contains(set) && !after.contains("is set"), "{outcome:?}");
        assert!(outcome.stderr.contains("a trial runs until"), "nothing more is changed meanwhile: {outcome:?}");
    }
}
