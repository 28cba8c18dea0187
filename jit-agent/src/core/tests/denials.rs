//! Tests of refusals in the audit log.

use super::*;

fn refused(world: &mut World, peer: &Peer) {
    world.submit_as(peer, request(vec![port(80, &["192.0.2.7"], 60)])).unwrap_err();
}

#[test]
fn a_refusal_says_who_asked_for_what_and_what_was_wrong() {
    let mut world = World::new();
    refused(&mut world, &after_login(alice(), BOB, "bob"));
    let denied = world.last("denied");
    assert_eq!((denied["requestor"].as_str(), denied["by"]["login_name"].as_str()), (Some("alice"), Some("bob")));
    assert_eq!((denied["ports"][0]["number"].as_u64(), denied["justification"].as_str()), (Some(80), Some("ticket 7")));
    assert_eq!(denied["violations"][0]["field"], "number");
    assert_eq!(denied["violation_count"], 1);
}

#[test]
fn repeated_refusals_of_a_person_are_counted_once_a_minute_and_others_are_not_lost_among_them() {
    let mut world = World::new();
    for _ in 0..1000 {
        refused(&mut world, &alice());
    }
    refused(&mut world, &bob());
    assert_eq!(world.count("denied"), 2);
    world.pass(60);
    assert_eq!((world.count("denied"), world.last("denied")["count"].as_u64()), (3, Some(999)));
    world.pass(60);
    assert_eq!(world.count("denied"), 3, "nothing more to say");
    refused(&mut world, &alice());
    assert_eq!(world.count("denied"), 4, "the first one after a while is written at once");
}

#[test]
fn refusals_that_are_only_counted_are_written_when_the_agent_stops() {
    let mut world = World::new();
    refused(&mut world, &alice());
    refused(&mut world, &alice());
    world.core().wind_up();
    assert_eq!(world.events()[1..], ["denied", "denied", "stopped"]);
}

#[test]
fn a_role_that_is_missing_is_a_refusal_too_and_what_is_only_looked_at_is_not() {
    let mut world = World::new();
    let nobody = peer(4_000_000_099, "mallory");
    world.core().status(&nobody).unwrap_err();
    assert_eq!(world.count("denied"), 0);
    let (mallory, selection) = (nobody, Selection::All);
    world.ask(async |core| core.revoke(mallory, selection, String::new()).await).unwrap_err();
    let denied = world.last("denied");
    assert_eq!((denied["action"].as_str(), denied["by"]["name"].as_str()), (Some("revoke"), Some("mallory")));
}
