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
fn what_a_delegate_pushes_counts_against_its_own_quota_and_belongs_to_no_local_user() {
    let mut world = World::new();
    for name in ["alice", "bob", "zoe"] {
        push(&mut world, &pusher(), name, 5986).unwrap();
    }
    assert!(matches!(push(&mut world, &pusher(), "yan", 5986), Err(Refusal::Violations(_))));
    world.wait();
    assert_eq!(world.requests(&alice()).len(), 1, "her own, not the one in her name");
}

#[test]
fn a_users_grants_are_revoked_whoever_pushed_them() {
    let mut world = World::new();
    push(&mut world, &pusher(), "alice", 22).unwrap();
    world.submit_as(&alice(), request(vec![port(22, &["192.0.2.8"], 60)])).unwrap();
    push(&mut world, &pusher(), "bob", 22).unwrap();
    assert_eq!(world.revoke(&Selection::User("alice".to_owned())).revoked.len(), 2);
    assert_eq!(world.states(), ["revoked", "revoked", "live"]);
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
