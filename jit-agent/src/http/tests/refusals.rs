//! Refusals, with their statuses, codes and words.

use super::*;
use crate::{
    config::Config,
    core::refusal::{Conflict, NoRoom, OtherFiles},
    testing::machine::full_disk,
};

const TOO_LONG: &str = r#"{"ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.1","duration":"PT9H"}]}"#;

#[test]
fn what_the_core_refuses_keeps_its_words() {
    let agent = granted();
    let unknown = |path| get_as(&agent, &mallory(), path);
    for path in ["/v1/status", "/v1/ports", "/v1/requests", "/v1/requests/9", "/v1/grants", "/v1/openapi.json"] {
        assert!(unknown(path).problem(403, "not_permitted").contains("mallory (uid 4000000006)"), "{path}");
    }
    for (path, body) in [("/v1/requests", SSH), ("/v1/grants/revoke", r#"{"all":true}"#)] {
        let answer = post_as(&agent, &mallory(), path, body);
        assert!(answer.problem(403, "not_permitted").contains("mallory (uid 4000000006)"), "{path}");
    }
    let answer = post_as(&agent, &alice(), "/v1/requests", TOO_LONG);
    assert!(answer.problem(422, "policy_violation").contains("more than is allowed"));
    assert_eq!(answer.violations(), [["22/tcp", "duration", "9 h", "at most 3 h"]]);
    assert_eq!(get(&agent, "/v1/requests/8").problem(404, "not_found"), "there is no request 8");
    let answer = post(&agent, "/v1/grants/revoke", r#"{"ids":[16]}"#);
    assert_eq!(answer.problem(404, "not_found"), "there is no grant 16");
}

#[test]
fn nobody_has_a_body_read_whom_no_role_lets_ask_for_that() {
    let agent = granted();
    let changes = changes();
    assert!(changes.len() >= 11, "{changes:?}");
    for person in [mallory(), viewer()] {
        for (method, path) in &changes {
            // The body is announced, and never sent.
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
            let answer = raw(&agent.socket_of(&person), head.as_bytes());
            assert!(answer.problem(403, "not_permitted").contains(&person.name), "{method} {path}");
        }
    }
    for path in ["/v1/requests", "/v1/grants/revoke", "/v1/requests/x/approve", "/v1/ports/x/y"] {
        let method = if path.contains("ports") { "PUT" } else { "POST" };
        let answer = send_to(&agent.socket_of(&mallory()), method, path, "", b"x");
        answer.problem(403, "not_permitted");
    }
    assert_eq!(agent.machine.count("denied"), 2, "the first of each");
    assert_eq!((agent.machine.states(), agent.machine.statuses()), (vec!["live".into()], vec!["approved".into()]));
}

/// All operations that change something, as the document has them.
fn changes() -> Vec<(String, String)> {
    let document = serde_json::to_value(routes::documented().into_openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method, path)));
    let named = |path: &str| path.replace("{id}", "17").replace("{number}", "22").replace("{protocol}", "tcp");
    operations
        .filter(|(method, _)| *method != "get")
        .map(|(method, path)| (method.to_uppercase(), named(path)))
        .collect()
}

#[test]
fn a_user_who_gets_a_role_is_admitted_without_a_new_connection() {
    let (look_ups, wanted) = std::sync::mpsc::channel();
    let agent = Agent::start(Machine { look_ups, ..Machine::usual() });
    let (core, state) = (agent.core.clone(), agent.machine.dir.path().to_owned());
    std::thread::spawn(move || core.follow_names(&wanted, &state, crate::accounts::number_of));
    post_as(&agent, &mallory(), "/v1/requests", SSH).problem(403, "not_permitted");
    agent
        .machine
        .rewrite("[[port]]\n    number = 22", "[roles]\n    requester = ['bin']\n    [[port]]\n    number = 22");
    let bin = peer(nix::unistd::User::from_name("bin").unwrap().unwrap().uid.as_raw(), "bin");
    post_as(&agent, &bin, "/v1/requests", SSH).problem(403, "not_permitted");
    assert_eq!(post(&agent, "/v1/reload", "{}").status, 200);
    assert_eq!(post_as(&agent, &bin, "/v1/requests", SSH).status, 201);
}

#[test]
fn full_tables_and_a_broken_store_have_statuses_of_their_own() {
    let machine = Machine::usual();
    let kernel = MemoryDatapath::new(Arc::new(machine.clock.clone()), 0);
    let agent = Agent::start(Machine { kernel, ..machine });
    let full = post_as(&agent, &alice(), "/v1/requests", SSH);
    assert!(full.problem(507, "table_full").contains("no room for more grants: the table MEMORY holds 0 entries"));
    let agent = Agent::start(Machine { store_fault: Some(full_disk()), ..Machine::usual() });
    for path in ["/v1/requests", "/v1/requests/9", "/v1/audit"] {
        assert_eq!(get(&agent, path).problem(503, "unavailable"), full_disk().to_string(), "{path}");
    }
    for (path, body) in [("/v1/requests", SSH), ("/v1/grants/revoke", r#"{"ids":[17]}"#)] {
        assert!(
            post(&agent, path, body)
                .problem(503, "unavailable")
                .contains("there is no space left for jit-agent.sqlite; free some"),
            "{path}"
        );
    }
    assert_eq!(get(&agent, "/v1/status").body["faults"][0], full_disk().to_string());
}

#[test]
fn every_refusal_has_its_status_and_code_and_keeps_its_words() {
    let id = |protocol| PortId { number: 22, protocol };
    let not_permitted =
        Refusal::NotPermitted { name: "bob".to_owned(), uid: 1001, role: "viewer", some_unknown: false };
    let unconfirmed = || ChangeRefusal::Unconfirmed { effects: Box::new(Effects::default()), unnamed: Vec::new() };
    let invalid = Config::parse("bad", "config.toml").unwrap_err();
    let table = [
        (not_permitted, 403, "not_permitted"),
        (Refusal::Violations(Vec::new()), 422, "policy_violation"),
        (Refusal::OwnRequest { id: 9 }, 403, "own_request"),
        (Refusal::LoginUnknown { name: "bob".to_owned(), uid: 1001 }, 403, "peer_unknown"),
        (Conflict::NoTrial.into(), 409, "conflict"),
        (Refusal::KeyReused("k".to_owned()), 422, "key_reused"),
        (Refusal::NotFound { what: "request", id: 9 }, 404, "not_found"),
        (Refusal::Full(NoRoom::Reserve { table: "HOSTS", share: 16_384 }), 507, "table_full"),
        (full_disk().into(), 503, "unavailable"),
        (Refusal::OverBudget { wait: Duration::from_secs(7) }, 429, "too_many_requests"),
        (ChangeRefusal::OtherVersion.into(), 412, "precondition_failed"),
        (unconfirmed().into(), 409, "needs_confirmation"),
        (ChangeRefusal::Overlap(id(Protocol::Any), id(Protocol::Tcp)).into(), 422, "invalid_value"),
        (ChangeRefusal::NoPort(id(Protocol::Tcp)).into(), 404, "not_found"),
        (ChangeRefusal::from(OtherFiles::NotInForce("config.toml".into())).into(), 409, "edited_since_loaded"),
        (ChangeRefusal::Invalid(invalid.into()).into(), 422, "invalid_configuration"),
        (ChangeRefusal::Restart(vec!["socket"]).into(), 409, "restart_required"),
        (ChangeRefusal::TrialRuns(jiff::Timestamp::UNIX_EPOCH).into(), 409, "trial_runs"),
        (ChangeRefusal::NoWayBack.into(), 409, "no_way_back"),
    ];
    for (refusal, status, code) in table {
        let words = refusal.to_string();
        let problem = serde_json::to_value(Failure::from(refusal).problem).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
        assert_eq!(problem["detail"], words);
    }
}
