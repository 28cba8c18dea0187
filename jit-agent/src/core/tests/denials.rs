//! Tests of refusals in the audit log, and of what one user may write into it.

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
fn users_without_a_role_have_one_row_a_minute_together_and_write_nothing_of_their_own_into_it() {
    let mut world = World::new();
    let sources: Vec<String> = (0..256).map(|last| format!("10.9.8.{last}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let asked = NewRequest { ports: vec![port(22, &sources, 60); 64], justification: "x".repeat(1000) };
    for uid in 100_000..100_400 {
        world.submit_as(&peer(uid, "stranger"), asked.clone()).unwrap_err();
        world.approve(&peer(uid, "stranger"), RequestId(1)).unwrap_err();
    }
    refused(&mut world, &alice());
    assert_eq!(world.count("denied"), 2, "the first of all strangers, and alice");
    world.pass(60);
    let row = world.last("denied");
    assert_eq!((world.count("denied"), row["count"].as_u64(), row["uid"].as_u64()), (3, Some(799), Some(100_399)));
    let longest = "SELECT max(length(detail)) FROM audit WHERE detail LIKE '%stranger%'";
    let longest: i64 = world.sql().query_row(longest, [], |row| row.get(0)).unwrap();
    assert!(longest < 500, "{longest}");
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

/// Asks for one grant after the other until the agent refuses, and returns how many there were.
fn ask_until_refused(world: &mut World, peer: &Peer) -> (usize, Refusal) {
    for count in 0..200_000_u32 {
        let source = format!("10.{}.{}.{}", count >> 16, (count >> 8) & 255, count & 255);
        match world.submit_as(peer, request(vec![port(22, &[&source], 60)])) {
            Ok(made) => drop(world.core().revoke(peer, &Selection::Ids(vec![made.grants[0].id]), "").unwrap()),
            Err(refusal) => return (count as usize, refusal),
        }
    }
    panic!("nobody was refused");
}

#[test]
fn what_one_user_writes_is_bounded_and_ending_is_always_possible() {
    let mut world = World::new();
    let open = world.submit_as(&alice(), request(vec![port(22, &["10.99.0.1"], 600)])).unwrap().grants[0].id;
    let (count, refusal) = ask_until_refused(&mut world, &alice());
    assert!((50..200).contains(&count), "{count}");
    let Refusal::OverBudget { wait } = refusal else { panic!("{refusal}") };
    assert!(wait < secs(120), "{wait:?}");
    let extended = world.extend(&alice(), open.0, 1200);
    assert!(matches!(extended, Err(Refusal::OverBudget { .. })), "{extended:?}");
    // What is ended has no text then.
    let ended = world.core().revoke(&alice(), &Selection::Ids(vec![open]), &"x".repeat(1000)).unwrap();
    assert_eq!((ended.revoked.len(), ended.durable), (1, true));
    assert_eq!(world.last("revoked")["reason"], serde_json::Value::Null);
    // Others, and admins, are not concerned.
    world.submit_as(&bob(), request(vec![port(22, &["10.99.0.1"], 60)])).unwrap();
    world.submit_as(&root(), request(vec![port(22, &["10.99.0.2"], 60)])).unwrap();
    world.clock.advance(wait);
    world.submit_as(&alice(), request(vec![port(22, &["10.99.0.3"], 60)])).unwrap();
}

#[test]
fn what_is_refused_to_who_asks_too_much_has_one_short_row_a_minute() {
    let mut world = World::new();
    let asked = NewRequest { ports: vec![port(80, &["192.0.2.7"], 60); 64], justification: "x".repeat(1000) };
    for _ in 0..200 {
        world.submit_as(&alice(), asked.clone()).unwrap_err();
    }
    world.pass(60);
    let row = world.last("denied");
    assert_eq!((row["count"].as_u64(), row["action"].as_str()), (Some(199), Some("request")));
    assert!(row.to_string().len() < 500, "{row}");
}
