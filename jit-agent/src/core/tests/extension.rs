//! Tests of extensions of grants.

use super::*;

fn granted(result: Result<Extended, Refusal>) -> u64 {
    match result.unwrap() {
        Extended::Grant(grant) => grant.remaining_seconds,
        Extended::Waits(request) => panic!("{request:?} waits"),
    }
}

fn violation(result: Result<Extended, Refusal>) -> &'static str {
    let Err(Refusal::Violations(violations)) = result else { panic!("{result:?}") };
    violations[0].field
}

/// Makes a world with alice's grant for port 22, which lasts 1000 s.
fn with_grant() -> World {
    let mut world = World::new();
    world.submit_as(&alice(), request(vec![port(22, &["192.0.2.7"], 1000)])).unwrap();
    world
}

#[test]
fn an_extension_counts_from_now_and_holds_over_restart_and_reboot() {
    let mut world = with_grant();
    world.pass(900);
    assert_eq!(granted(world.extend(&alice(), 1, 3600)), 3600);
    world.pass(200);
    assert!(world.admits(22, "192.0.2.7"));
    world.restart();
    let Core { upkeep, records, .. } = world.core();
    upkeep.checkpoint(records);
    assert!(world.admits(22, "192.0.2.7"));
    world.reboot(wall(1200));
    world.pass(3299);
    assert!(world.admits(22, "192.0.2.7"));
    world.pass(1);
    assert!(!world.admits(22, "192.0.2.7"));
    assert_eq!(world.last("extended")["requestor"], "alice");
}

#[test]
fn an_extension_never_shortens() {
    let mut world = with_grant();
    assert_eq!(granted(world.extend(&alice(), 1, 10)), 1000);
    assert_eq!(world.count("extended"), 0);
    world.pass(999);
    assert!(world.admits(22, "192.0.2.7"));
}

#[test]
fn extending_again_and_again_never_gets_past_the_maximum_from_now() {
    let mut world = with_grant();
    assert_eq!(violation(world.extend(&alice(), 1, 3 * 3600 + 1)), "duration");
    for _ in 0..3 {
        assert_eq!(granted(world.extend(&alice(), 1, 3 * 3600)), 3 * 3600);
    }
    world.pass(3 * 3600);
    assert!(!world.admits(22, "192.0.2.7"));
}

#[test]
fn only_who_asked_for_a_grant_and_admins_extend_it() {
    let mut world = with_grant();
    let unknown = Err(Refusal::NotFound { what: "live grant", id: 1 });
    assert_eq!(world.extend(&bob(), 1, 3600), unknown);
    assert!(matches!(world.extend(&carol(), 1, 3600), Err(Refusal::NotPermitted { role: "requester", .. })));
    assert_eq!(granted(world.extend(&root(), 1, 3600)), 3600);
    world.pass(3600);
    assert_eq!(world.extend(&alice(), 1, 3600), unknown, "it has ended");
}

#[test]
fn an_extension_is_held_to_the_policy_of_now() {
    for (config, field) in [
        (CONFIG.replace("'192.0.2.0/24', ", ""), None),
        (CONFIG.replace("max_duration = '3h'", "max_duration = '1h'"), Some("duration")),
    ] {
        let mut world = with_grant();
        world.config = Config::parse(&config, "config.toml").unwrap();
        world.restart();
        match field {
            Some(field) => assert_eq!(violation(world.extend(&alice(), 1, 2 * 3600)), field),
            None => assert!(matches!(world.extend(&alice(), 1, 60), Err(Refusal::NotFound { .. }))),
        }
    }
}

#[test]
fn where_approval_is_required_the_extension_waits_for_it_and_the_grant_for_nothing() {
    let mut world = World::new();
    let first = world.wait();
    world.approve(&carol(), first).unwrap();
    world.pass(3000);
    let Ok(Extended::Waits(request)) = world.extend(&alice(), 1, 3600) else { panic!("not pending") };
    assert_eq!(request.pending.as_ref().unwrap().extends, Some(GrantId(1)));
    assert!(matches!(world.extend(&alice(), 1, 3600), Err(Refusal::Conflict(_))), "one at a time");
    world.pass(300);
    assert_eq!(world.approve(&after_login(bob(), ALICE, "alice"), request.id), Err(Refusal::OwnRequest { id: 2 }));
    let approved = world.approve(&carol(), request.id).unwrap();
    assert_eq!((approved.grants[0].id, approved.grants[0].remaining_seconds), (GrantId(1), 3600));
    world.pass(3599);
    assert!(world.admits(5986, "192.0.2.7"));
}

#[test]
fn an_extension_that_is_approved_too_late_opens_nothing() {
    let mut world = World::new();
    let first = world.wait();
    world.approve(&carol(), first).unwrap();
    world.pass(3500);
    let Ok(Extended::Waits(request)) = world.extend(&alice(), 1, 3600) else { panic!("not pending") };
    world.pass(100);
    assert!(matches!(world.approve(&carol(), request.id), Err(Refusal::Conflict(_))));
    assert_eq!(world.entries(), []);
}

#[test]
fn an_extension_that_the_kernel_refuses_leaves_the_grant_as_it_was() {
    let mut world = with_grant();
    world.kernel.fail(0..1);
    assert!(matches!(world.extend(&alice(), 1, 3600), Err(Refusal::Unavailable(_))));
    world.pass(999);
    assert!(world.admits(22, "192.0.2.7"));
    world.restart();
    assert!(world.admits(22, "192.0.2.7"));
    world.pass(1);
    assert!(!world.admits(22, "192.0.2.7"));
}

#[test]
fn an_extension_that_was_never_answered_is_as_if_it_had_not_been() {
    let mut world = with_grant();
    // The agent is killed after the extension is recorded and before it is marked as carried out.
    world.forbid("UPDATE OF prior_end_boot ON grants WHEN NEW.prior_end_boot IS NULL");
    assert!(matches!(world.extend(&alice(), 1, 3600), Err(Refusal::Unavailable(_))));
    world.allow_all();
    world.restart();
    assert!(world.admits(22, "192.0.2.7"), "the grant itself stays");
    world.pass(1000);
    assert!(!world.admits(22, "192.0.2.7"));
}
