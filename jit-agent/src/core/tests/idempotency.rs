//! Tests of requests that are sent again.

use jit_policy::IdempotencyKey;

use super::*;
use crate::core::answer::Submitted;

fn send(world: &mut World, peer: &Peer, key: &str, body: u8) -> Result<Submitted, Refusal> {
    let request = request(vec![port(22, &["192.0.2.7"], 1000)]);
    let key = Some(IdempotencyKey { key: key.to_owned(), body: [body; 32] });
    let (peer, submission) = (peer.clone(), Submission { request, named: None, key });
    world.ask(async |core| core.submit(peer, submission).await)
}

#[test]
fn a_repeated_request_is_made_once_and_shows_how_its_grants_are_now() {
    let mut world = World::new();
    let first = send(&mut world, &alice(), "key", 1).unwrap();
    world.pass(100);
    for _ in 0..2 {
        let again = send(&mut world, &alice(), "key", 1).unwrap();
        assert_eq!((again.request.id, again.replayed), (first.request.id, true));
        assert_eq!(again.request.grants[0].remaining_seconds, 900);
        world.restart();
    }
    world.revoke(&Selection::All);
    assert_eq!(
        send(&mut world, &alice(), "key", 1).unwrap().request.grants[0].status,
        jit_api::wire::GrantState::Revoked
    );
    assert_eq!((world.states().len(), world.count("requested")), (1, 1));
}

#[test]
fn a_key_with_another_body_is_refused() {
    let mut world = World::new();
    send(&mut world, &alice(), "key", 1).unwrap();
    assert_eq!(send(&mut world, &alice(), "key", 2), Err(Refusal::KeyReused("key".to_owned())));
    assert_eq!(world.states().len(), 1);
}

#[test]
fn anothers_key_replays_nothing() {
    let mut world = World::new();
    let of_alice = send(&mut world, &alice(), "key", 1).unwrap();
    let of_bob = send(&mut world, &bob(), "key", 1).unwrap();
    assert!(!of_bob.replayed && of_bob.request.id != of_alice.request.id);
    assert_eq!(of_bob.request.requestor, "bob");
}

#[test]
fn a_request_that_failed_may_be_sent_again_under_its_key() {
    let mut world = World::new();
    world.forbid("INSERT ON grants");
    assert!(matches!(send(&mut world, &alice(), "key", 1), Err(Refusal::Unavailable(_))));
    world.allow_all();
    assert!(!send(&mut world, &alice(), "key", 1).unwrap().replayed);
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let mut world = World::new();
    send(&mut world, &alice(), "key", 1).unwrap();
    world.clock.advance(secs(24 * 3600 - 1));
    world.clock.set_wall(wall(24 * 3600 - 1));
    world.core().sweep();
    assert!(send(&mut world, &alice(), "key", 1).unwrap().replayed);
    world.clock.advance(secs(7200));
    world.clock.set_wall(wall(26 * 3600));
    world.core().sweep();
    assert!(!send(&mut world, &alice(), "key", 2).unwrap().replayed);
}
