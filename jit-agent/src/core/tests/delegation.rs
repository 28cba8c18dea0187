//! Tests of requests in the name of another person.

use super::*;

fn push(world: &mut World, peer: &Peer, named: &str, number: u32) -> Result<Request, Refusal> {
    let request = request(vec![port(number, &["192.0.2.7"], 60)]);
    let submission = Submission { request, named: Some(named.to_owned()), key: None };
    let peer = peer.clone();
    world.ask(async |core| core.submit(peer, submission).await).map(|submitted| submitted.request)
}

fn pusher() -> Peer {
    peer(PUSHER, "pusher")
}

#[test]
fn both_the_delegate_and_the_one_who_is_named_are_recorded() {
    let mut world = World::new();
    let made = push(&mut world, &pusher(), "alice@example.org", 22).unwrap();
    assert_eq!((made.requestor.as_str(), made.requestor_uid), ("alice@example.org via pusher", PUSHER));
    let requested = world.last("requested");
    assert_eq!(requested["requestor"], "alice@example.org via pusher");
    assert_eq!(
        (requested["by"]["name"].as_str(), requested["by"]["uid"].as_u64()),
        (Some("pusher"), Some(PUSHER.into()))
    );
    world.restart();
    assert_eq!(world.core().request(&root(), made.id).unwrap().requestor, "alice@example.org via pusher");
}

#[test]
fn only_delegates_and_admins_name_others() {
    let mut world = World::new();
    let refused = push(&mut world, &alice(), "bob", 22);
    assert!(matches!(refused, Err(Refusal::NotPermitted { role: "delegate", .. })), "{refused:?}");
    push(&mut world, &root(), "bob", 22).unwrap();
}

#[test]
fn a_delegate_gets_nobody_around_approval() {
    let mut world = World::new();
    let by_bob = after_login(pusher(), BOB, "bob");
    let as_bob = push(&mut world, &pusher(), "bob", 5986).unwrap();
    let under_another_name = push(&mut world, &by_bob, "zoe", 5986).unwrap();
    assert_eq!(as_bob.status, RequestState::Pending, "a delegate is no approval");
    for id in [as_bob.id, under_another_name.id] {
        assert_eq!(world.approve(&bob(), id), Err(Refusal::OwnRequest { id: id.0 }));
        world.approve(&carol(), id).unwrap();
    }
}

#[test]
fn what_a_delegate_pushes_counts_against_the_quota_of_whom_it_names_and_belongs_to_no_local_user() {
    let mut world = World::new();
    for _ in 0..3 {
        push(&mut world, &pusher(), "alice@example.org", 5986).unwrap();
    }
    for name in ["alice@example.org", "EXAMPLE\\alice"] {
        let Err(Refusal::Violations(violations)) = push(&mut world, &pusher(), name, 5986) else { panic!("{name}") };
        assert_eq!(violations[0].given, "1 more than the 3 that are live or wait for approval");
        assert_eq!(violations[0].allowed, "at most 3 a person");
    }
    let own = request(vec![port(5986, &["192.0.2.7"], 60)]);
    assert!(matches!(world.submit_as(&alice(), own), Err(Refusal::Violations(_))), "she is the same person");
    for number in 0..40 {
        push(&mut world, &pusher(), &format!("engineer-{number}"), 5986).unwrap();
    }
    world.restart();
    assert!(matches!(push(&mut world, &pusher(), "alice", 5986), Err(Refusal::Violations(_))));
    assert_eq!(world.requests(&alice()).len(), 0, "not those in her name");
}

/// A world in which bob has a second account, carol's, and a name in the directory of the delegate.
fn with_people() -> World {
    let people = "[people]\nbob = ['bob', 'carol', 'named:robert@example.org']";
    let mut world = World { machine: Machine::new(&format!("{CONFIG}\n{people}\n"), wall(0)), core: None };
    world.start(false);
    world
}

#[test]
fn one_person_of_several_accounts_and_names_is_no_second_person() {
    let mut world = with_people();
    let own = world.submit_as(&bob(), request(vec![port(5986, &["192.0.2.8"], 60)])).unwrap().id;
    let pushed = push(&mut world, &pusher(), "Robert@example.org", 5986).unwrap().id;
    for (peer, id) in [(carol(), own), (bob(), pushed), (carol(), pushed)] {
        assert_eq!(world.approve(&peer, id), Err(Refusal::OwnRequest { id: id.0 }), "{peer:?}");
    }
    push(&mut world, &pusher(), "bob@example.org", 5986).unwrap();
    let more = request(vec![port(5986, &["192.0.2.9"], 60)]);
    assert!(matches!(world.submit_as(&bob(), more), Err(Refusal::Violations(_))), "one quota for one person");
    let cancelled = world.ask(async |core| core.cancel(bob(), pushed, String::new()).await);
    assert_eq!(cancelled.unwrap().id, pushed, "what is done in his name is his own");
}

#[test]
fn a_reload_of_people_counts_live_grants_anew() {
    let mut world = with_people();
    for name in ["robert@example.org", "zoe", "zoe"] {
        let made = push(&mut world, &pusher(), name, 5986).unwrap();
        world.approve(&root(), made.id).unwrap();
    }
    push(&mut world, &pusher(), "bob", 5986).unwrap();
    push(&mut world, &pusher(), "bob", 5986).unwrap();
    world.rewrite("'named:robert@example.org'", "'named:zoe'");
    world.core().reload(Some(&root()), &jit_policy::Reload::default()).unwrap();
    assert!(matches!(push(&mut world, &root(), "zoe", 5986), Err(Refusal::Violations(_))));
    push(&mut world, &root(), "robert@example.org", 5986).unwrap();
}

#[test]
fn an_approver_whose_name_is_not_known_is_not_told_from_whom_a_delegate_names() {
    let mut world = World::new();
    let made = push(&mut world, &pusher(), "bob@example.org", 5986).unwrap();
    let nameless = peer(BOB, &BOB.to_string());
    assert_eq!(world.approve(&nameless, made.id), Err(Refusal::NameUnknown { uid: BOB }));
    let own = world.wait();
    world.approve(&nameless, own).unwrap();
}

#[test]
fn a_users_grants_are_revoked_whoever_pushed_them_and_those_by_sudo_too() {
    let mut world = World::new();
    push(&mut world, &pusher(), "alice", 22).unwrap();
    world.submit_as(&alice(), request(vec![port(22, &["192.0.2.8"], 60)])).unwrap();
    push(&mut world, &pusher(), "bob", 22).unwrap();
    let by_sudo = after_login(root(), ALICE, "alice");
    let made = world.submit_as(&by_sudo, request(vec![port(22, &["192.0.2.9"], 60)])).unwrap();
    assert_eq!((made.requestor.as_str(), made.requestor_login.as_deref()), ("root", Some("alice")));
    assert_eq!(made.grants[0].requestor_login.as_deref(), Some("alice"));
    world.restart();
    let listed = world.core().grants(&root(), ALL).unwrap().value;
    let logins: Vec<_> = listed.iter().map(|grant| grant.requestor_login.as_deref()).collect();
    assert_eq!(logins.iter().flatten().collect::<Vec<_>>(), [&"alice"]);
    assert_eq!(world.revoke(&Selection::User("alice".to_owned())).revoked.len(), 3);
    assert_eq!(world.states(), ["revoked", "revoked", "live", "revoked"]);
}

#[test]
fn an_extension_keeps_in_whose_name_the_grant_was_made_and_that_person_does_not_approve() {
    let mut world = World::new();
    let made = push(&mut world, &pusher(), "bob", 5986).unwrap();
    world.approve(&carol(), made.id).unwrap();
    world.pass(30);
    for peer in [pusher(), root()] {
        let Ok(Extended::Waits(extension)) = world.extend(&peer, 1, 60) else { panic!("no second person was needed") };
        assert_eq!(world.approve(&bob(), extension.id), Err(Refusal::OwnRequest { id: extension.id.0 }), "{peer:?}");
        let requestor = world.core().request(&root(), extension.id).unwrap().requestor;
        assert_eq!(requestor, format!("bob via {}", peer.name));
        world.ask(async |core| core.cancel(root(), extension.id, String::new()).await).unwrap();
    }
}
