//! Tests of requests that need a second person.

use super::{peer::LoginUnknown, *};

fn deny(world: &mut World, peer: &Peer, id: RequestId) -> Result<Request, Refusal> {
    let peer = peer.clone();
    world.ask(async |core| core.deny(peer, id, "not today".to_owned()).await)
}

fn cancel(world: &mut World, peer: &Peer, id: RequestId) -> Result<Request, Refusal> {
    let peer = peer.clone();
    world.ask(async |core| core.cancel(peer, id, String::new()).await)
}

fn status(world: &mut World, id: RequestId) -> RequestState {
    world.core().request(&root(), id).unwrap().status.value().copied().unwrap()
}

#[test]
fn nothing_is_open_until_someone_else_approves_and_the_time_counts_from_then() {
    let mut world = World::new();
    let id = world.wait();
    assert!(!world.admits(5986, "192.0.2.7"));
    world.pass(300);
    let approved = world.approve(&carol(), id).unwrap();
    assert_eq!((approved.status, approved.decided_by.as_deref()), (RequestState::Approved.into(), Some("carol")));
    assert_eq!(approved.grants[0].remaining_seconds, 3600);
    assert!(world.admits(5986, "192.0.2.7"));
    assert_eq!(world.events()[1..], ["requested", "approved", "granted"]);
    assert_eq!(world.last("approved")["by"]["name"], "carol");
    world.pass(3600);
    assert!(!world.admits(5986, "192.0.2.7"));
}

#[test]
fn nobody_approves_their_own_request_under_whatever_guise() {
    let mut world = World::new();
    let of_bob = world.submit_as(&bob(), request(vec![port(5986, &["192.0.2.8"], 60)])).unwrap().id;
    let of_alice = world.wait();
    for (peer, id) in
        [(bob(), of_bob), (after_login(carol(), BOB, "bob"), of_bob), (after_login(bob(), ALICE, "alice"), of_alice)]
    {
        assert_eq!(world.approve(&peer, id), Err(Refusal::OwnRequest { id: id.0 }), "{peer:?}");
        assert_eq!(status(&mut world, id), RequestState::Pending);
    }
    assert!(matches!(world.approve(&alice(), of_alice), Err(Refusal::NotPermitted { role: "approver", .. })));
    assert_eq!(world.entries(), []);
    world.approve(&carol(), of_bob).unwrap();
    world.approve(&bob(), of_alice).unwrap();
}

#[test]
fn root_may_approve_its_own_and_the_audit_log_shows_who_logged_in() {
    let mut world = World::new();
    let root = after_login(root(), ALICE, "alice");
    let id = world.submit_as(&root, request(vec![port(5986, &["192.0.2.7"], 60)])).unwrap().id;
    assert_eq!(status(&mut world, id), RequestState::Pending, "approval is an act of its own");
    world.approve(&root, id).unwrap();
    let by = &world.last("approved")["by"];
    assert_eq!((by["name"].as_str(), by["login_name"].as_str()), (Some("root"), Some("alice")));
}

#[test]
fn what_is_decided_is_not_decided_again() {
    for decide in [
        |world: &mut World, id| world.approve(&carol(), id),
        |world: &mut World, id| deny(world, &carol(), id),
        |world: &mut World, id| cancel(world, &alice(), id),
    ] {
        let mut world = World::new();
        let id = world.wait();
        decide(&mut world, id).unwrap();
        let (events, entries) = (world.events(), world.entries());
        assert!(matches!(world.approve(&carol(), id), Err(Refusal::Conflict(_))));
        assert!(matches!(deny(&mut world, &carol(), id), Err(Refusal::Conflict(_))));
        assert!(matches!(cancel(&mut world, &alice(), id), Err(Refusal::Conflict(_))));
        assert_eq!((world.events(), world.entries()), (events, entries));
    }
}

#[test]
fn of_two_approvals_at_once_one_opens() {
    let mut world = World::new();
    let id = world.wait();
    let (one, mut first) = oneshot::channel();
    let (other, mut second) = oneshot::channel();
    world.core().carry_out(vec![
        Command::Open(Box::new(Opening::Approve(bob(), id, Ok(Vec::new()), one))),
        Command::Open(Box::new(Opening::Approve(carol(), id, Ok(Vec::new()), other))),
    ]);
    assert!(first.try_recv().unwrap().is_ok());
    assert!(matches!(second.try_recv().unwrap(), Err(Refusal::Conflict(_))));
    assert_eq!((world.entries().len(), world.count("granted")), (1, 1));
}

#[test]
fn a_denial_says_who_and_why_and_opens_nothing() {
    let mut world = World::new();
    let id = world.wait();
    let denied = deny(&mut world, &carol(), id).unwrap();
    assert_eq!(denied.status, RequestState::Denied);
    assert_eq!((denied.decided_by.as_deref(), denied.status_reason.as_deref()), (Some("carol"), Some("not today")));
    assert_eq!((world.entries(), world.last("denied")["reason"].as_str()), (Vec::new(), Some("not today")));
}

#[test]
fn only_who_asked_and_who_may_end_anything_cancels() {
    let mut world = World::new();
    let id = world.wait();
    let other = after_login(peer(BOB, "bob"), BOB, "bob");
    world.access = vec![(Role::Requester, ALICE), (Role::Requester, BOB)];
    world.restart();
    assert_eq!(cancel(&mut world, &other, id), Err(Refusal::NotFound { what: "request", id: id.0 }));
    assert_eq!(cancel(&mut world, &alice(), id).unwrap().status, RequestState::Cancelled);
}

#[test]
fn a_request_that_nobody_decides_in_time_is_over_at_once_and_in_the_log_soon() {
    let mut world = World::new();
    let id = world.wait();
    world.clock.advance(secs(600));
    assert!(matches!(world.approve(&carol(), id), Err(Refusal::Conflict(_))), "before any sweep");
    assert_eq!(status(&mut world, id), RequestState::TimedOut);
    world.core().sweep();
    assert_eq!((world.statuses(), world.count("timed_out")), (vec!["timed_out".to_owned()], 1));
}

#[test]
fn a_request_waits_over_a_restart_and_a_reboot_no_longer_than_before() {
    let mut world = World::new();
    let id = world.wait();
    world.pass(200);
    world.restart();
    assert_eq!(status(&mut world, id), RequestState::Pending);
    world.pass(100);
    let Core { upkeep, records, .. } = world.core();
    upkeep.checkpoint(records);
    world.reboot(wall(400));
    assert_eq!(status(&mut world, id), RequestState::Pending);
    world.pass(199);
    assert_eq!(status(&mut world, id), RequestState::Pending);
    world.pass(1);
    assert_eq!(status(&mut world, id), RequestState::TimedOut);
}

#[test]
fn a_policy_that_was_tightened_meanwhile_holds_at_approval() {
    let tightened = [
        (CONFIG.replace("max_duration = '2h'", "max_duration = '30min'"), "duration"),
        (CONFIG.replace("max_duration = '2h'", "max_duration = '2h'\nallowed_sources = ['10.0.0.0/8']"), {
            "allowedSourceAddressPrefixes"
        }),
        (CONFIG.replace("number = 5986", "number = 5985"), "number"),
    ];
    for (config, field) in tightened {
        let mut world = World::new();
        let id = world.wait();
        world.config = Config::parse(&config, "config.toml").unwrap();
        world.restart();
        let Err(Refusal::Violations(violations)) = world.approve(&carol(), id) else { panic!("{field}: opened") };
        assert_eq!(violations[0].field, field);
        assert_eq!((world.entries(), status(&mut world, id)), (Vec::new(), RequestState::Pending));
    }
}

#[test]
fn a_requestor_who_lost_the_role_meanwhile_gets_nothing() {
    let mut world = World::new();
    let id = world.wait();
    world.access = vec![(Role::Approver, CAROL)];
    world.restart();
    let Err(Refusal::Conflict(conflict)) = world.approve(&carol(), id) else { panic!("opened") };
    assert!(conflict.to_string().contains("is no longer a requester"), "{conflict}");
    assert_eq!(world.entries(), []);
}

#[test]
fn live_and_waiting_grants_count_against_the_quota_and_ended_ones_do_not() {
    let mut world = World::new();
    let sources = |count: u8| -> Vec<String> { (0..count).map(|last| format!("192.0.2.{last}")).collect() };
    let asked = |count: u8| {
        let sources = sources(count);
        request(vec![port(5986, &sources.iter().map(String::as_str).collect::<Vec<_>>(), 60)])
    };
    let over = |world: &mut World, count| {
        let Err(Refusal::Violations(violations)) = world.submit_as(&alice(), asked(count)) else { return false };
        violations.iter().any(|violation| violation.field == "quota")
    };
    assert!(over(&mut world, 4));
    let waits = world.submit_as(&alice(), asked(2)).unwrap().id;
    assert!(over(&mut world, 2), "what waits counts");
    world.approve(&carol(), waits).unwrap();
    assert!(over(&mut world, 2), "what is live counts");
    world.restart();
    assert!(over(&mut world, 2), "after a restart too");
    world.submit_as(&bob(), asked(3)).unwrap();
    world.revoke(&Selection::Ids(vec![GrantId(1)]));
    let again = world.submit_as(&alice(), asked(2)).unwrap().id;
    deny(&mut world, &carol(), again).unwrap();
    world.submit_as(&alice(), asked(2)).unwrap();
}

#[test]
fn requests_that_come_in_together_do_not_get_around_the_quota() {
    let mut world = World::new();
    let mut answers = Vec::new();
    let commands = (0..5).map(|last| {
        let (reply, answer) = oneshot::channel();
        answers.push(answer);
        let request = request(vec![port(5986, &[&format!("192.0.2.{last}")], 60)]);
        Command::Open(Box::new(Opening::Submit(alice(), Submission { request, named: None, key: None }, reply)))
    });
    let commands = commands.collect();
    world.core().carry_out(commands);
    let made = answers.iter_mut().filter_map(|answer| answer.try_recv().unwrap().ok()).count();
    assert_eq!(made, 3);
}

#[test]
fn who_sees_everything_sees_others_requests_and_who_does_not_sees_their_own() {
    let mut world = World::new();
    let of_alice = world.wait();
    let of_bob = world.submit_as(&bob(), request(vec![port(22, &["192.0.2.8"], 60)])).unwrap();
    world.access = vec![(Role::Requester, ALICE), (Role::Requester, BOB), (Role::Viewer, VIEWER)];
    world.restart();
    let ids = |world: &mut World, peer: &Peer| -> Vec<i64> {
        world.requests(peer).iter().map(|request| request.id.0).collect()
    };
    assert_eq!(ids(&mut world, &peer(VIEWER, "viewer")), [of_bob.id.0, of_alice.0]);
    assert_eq!(ids(&mut world, &alice()), [of_alice.0]);
    assert_eq!(ids(&mut world, &bob()), [of_bob.id.0]);
    let grants = |world: &mut World, peer: &Peer| world.core().grants(peer, ALL).unwrap().value.len();
    assert_eq!((grants(&mut world, &alice()), grants(&mut world, &bob())), (0, 1));
    let hidden = world.core().request(&alice(), of_bob.id).unwrap_err();
    assert_eq!(hidden, Refusal::NotFound { what: "request", id: of_bob.id.0 });
    let port = |world: &mut World, peer: &Peer| {
        let ports = world.core().port_list(peer).unwrap().ports;
        let port = ports.into_iter().find(|port| port.number == 22).unwrap();
        (port.activity.live_grants, port.activity.approved_requests)
    };
    assert_eq!(port(&mut world, &alice()), (0, None));
    assert_eq!(port(&mut world, &peer(VIEWER, "viewer")), (1, Some(1)));
}

#[test]
fn a_requester_ends_their_own_grants_and_knows_of_no_others() {
    let mut world = World::new();
    world.access = vec![(Role::Requester, ALICE), (Role::Requester, BOB)];
    world.restart();
    for person in [alice(), bob()] {
        world.submit_as(&person, request(vec![port(22, &["192.0.2.8"], 60)])).unwrap();
    }
    let mut revoke = |selection| world.core().revoke(&alice(), &selection, "");
    let others = Refusal::NotFound { what: "grant", id: 2 };
    assert_eq!(revoke(Selection::Ids(vec![GrantId(1), GrantId(2)])), Err(others));
    for selection in [Selection::All, Selection::User("bob".to_owned()), Selection::User("alice".to_owned())] {
        assert!(matches!(revoke(selection), Err(Refusal::NotPermitted { role: "approver", .. })));
    }
    assert_eq!(revoke(Selection::Ids(vec![GrantId(1)])).unwrap().revoked.len(), 1);
    assert_eq!(world.states(), ["revoked", "live"]);
}

fn unknown(peer: Peer, why: LoginUnknown) -> Peer {
    Peer { login_unknown: Some(why), ..peer }
}

#[test]
fn who_can_not_be_told_is_no_second_person_unless_they_may_change_the_rules() {
    for why in [LoginUnknown::Ended, LoginUnknown::Hidden] {
        let mut world = World::new();
        let id = world.wait();
        let refusal = world.approve(&unknown(carol(), why), id).unwrap_err();
        assert_eq!(refusal, Refusal::LoginUnknown { name: "carol".to_owned(), uid: CAROL });
        assert!(world.last("denied")["reason"].as_str().unwrap().contains("does not tell who logged in"));
        assert!(!world.admits(5986, "192.0.2.7"));
        deny(&mut world, &unknown(carol(), why), id).unwrap();
        let id = world.wait();
        world.approve(&unknown(root(), why), id).unwrap();
    }
}

#[test]
fn who_hides_their_login_gets_no_request_that_they_could_approve_under_another_account() {
    let mut world = World::new();
    let hiding = unknown(alice(), LoginUnknown::Ended);
    let asked = || request(vec![port(5986, &["192.0.2.7"], 3600)]);
    let refused = Refusal::LoginUnknown { name: "alice".to_owned(), uid: ALICE };
    assert_eq!(world.submit_as(&hiding, asked()).unwrap_err(), refused);
    let id = world.wait();
    world.approve(&carol(), id).unwrap();
    world.pass(600);
    assert_eq!(world.extend(&hiding, 1, 3600), Err(refused));
    world.submit_as(&hiding, request(vec![port(22, &["192.0.2.7"], 60)])).unwrap();
    // Where /proc hides all processes, approvers can't be told either, and admins approve.
    world.submit_as(&unknown(bob(), LoginUnknown::Hidden), asked()).unwrap();
    world.submit_as(&unknown(root(), LoginUnknown::Ended), asked()).unwrap();
}

#[test]
fn a_request_that_was_decided_while_the_list_was_read_is_shown_as_decided() {
    let mut world = World::new();
    let ids = [world.wait(), world.wait()];
    let (reader, of) = world.core().request_reader(&root()).unwrap();
    let page = RequestPage { of, limit: 50, bytes: usize::MAX, ..RequestPage::default() };
    let (rows, _) = reader.page(&page).unwrap();
    world.approve(&carol(), ids[0]).unwrap();
    let shown = report::request_views(rows, world.core()).unwrap();
    let states: Vec<_> = shown.iter().filter_map(|request| request.status.value().copied()).collect();
    assert_eq!(states, [RequestState::Pending, RequestState::Approved]);
    assert_eq!(shown[1].grants.len(), 1);
}
