//! Tests of a wall clock that runs ahead of the time since boot, in one boot: after the machine was paused or restored,
//! or because the clock was set.

use super::{
    host::{Host, OPERATOR, SSH, passes, session},
    *,
};
use crate::config::own::Edit;

/// Sets the wall clock forward or back, and lets the core notice that.
fn set_clock(world: &mut World, seconds: i64) {
    let wall = world.clock.wall();
    world.clock.set_wall(wall.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap());
    world.core().sweep();
}

fn is_admitted(world: &World) -> bool {
    world.admits(22, "192.0.2.7")
}

fn with_grant() -> World {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.7"], 3600)]).unwrap();
    world.pass(10);
    world
}

#[test]
fn a_grant_ends_at_its_end_by_the_wall_clock_after_a_pause() {
    let mut world = with_grant();
    set_clock(&mut world, 1800);
    assert!(is_admitted(&world));
    assert!(world.last("shortened")["reason"].as_str().unwrap().contains("the machine was paused or restored"));
    world.clock.advance(secs(3600 - 10 - 1800 - 1));
    assert!(is_admitted(&world));
    world.clock.advance(secs(1));
    assert!(!is_admitted(&world), "without any act of the agent");
    world.core().sweep();
    assert_eq!((world.states(), world.clock.wall()), (vec!["expired".to_owned()], wall(3600)));
}

#[test]
fn a_grant_whose_end_passed_during_a_pause_ends_at_once_before_any_command_that_waited() {
    let mut world = with_grant();
    set_clock(&mut world, 86_400);
    assert!(!is_admitted(&world));
    assert_eq!((world.states(), world.count("shortened")), (vec!["expired".to_owned()], 0));

    let mut world = with_grant();
    world.clock.set_wall(wall(86_400));
    let refusal = world.ask(async |core| core.extend(root(), GrantId(1), secs(3600)).await).unwrap_err();
    assert!(!is_admitted(&world), "{refusal}");
}

#[test]
fn corrections_of_a_minute_change_nothing_and_further_ones_add_up() {
    let mut world = with_grant();
    for _ in 0..60 {
        set_clock(&mut world, 1);
    }
    assert_eq!(world.count("shortened"), 0);
    for _ in 0..60 {
        set_clock(&mut world, 1);
    }
    assert!(world.count("shortened") > 0);
    world.clock.advance(secs(3600 - 10 - 60));
    assert!(!is_admitted(&world));
}

#[test]
fn a_clock_that_goes_back_or_back_and_forward_again_neither_lengthens_nor_shortens() {
    for steps in [&[-7200][..], &[-7200, 7200], &[-7200, 3600, 3600]] {
        let mut world = with_grant();
        for step in steps {
            set_clock(&mut world, *step);
        }
        assert_eq!(world.count("shortened"), 0, "{steps:?}");
        world.clock.advance(secs(3600 - 10 - 1));
        assert!(is_admitted(&world), "{steps:?}");
        world.clock.advance(secs(1));
        assert!(!is_admitted(&world), "{steps:?}");
    }
    let mut world = with_grant();
    set_clock(&mut world, 1800);
    set_clock(&mut world, -1800);
    world.clock.advance(secs(1800));
    assert!(!is_admitted(&world), "what is shortened stays so");
}

#[test]
fn a_grant_made_after_the_clock_was_set_has_its_whole_time() {
    let mut world = World::new();
    set_clock(&mut world, 86_400);
    world.submit(vec![port(22, &["192.0.2.7"], 3600)]).unwrap();
    world.pass(3599);
    assert!(is_admitted(&world) && world.count("shortened") == 0);
}

#[test]
fn a_request_waits_no_longer_than_the_wall_clock_says() {
    let mut world = World::new();
    let id = world.wait();
    world.clock.set_wall(wall(86_400));
    assert!(world.approve(&bob(), id).is_err());
    world.core().sweep();
    assert_eq!(world.statuses(), ["timed_out"]);
}

#[test]
fn a_start_after_a_pause_shortens_too() {
    for adopted in [true, false] {
        let mut world = with_grant();
        let id = world.wait();
        world.clock.set_wall(wall(1800));
        world.start(adopted);
        assert_eq!(world.count("shortened"), 1);
        assert!(world.approve(&bob(), id).is_err());
        world.clock.advance(secs(1800));
        assert!(!is_admitted(&world));

        world.clock.set_wall(wall(86_400));
        world.start(adopted);
        assert!(!is_admitted(&world));
        assert_eq!(world.live(), Vec::<i64>::new());
    }
}

#[test]
fn a_clock_that_jumps_removes_no_record_over_restarts_and_reboots() {
    let mut world = with_grant();
    world.pass(600);
    let before = world.events();
    let (requests, years) = (world.statuses().len(), 2 * 365 * 86_400);
    set_clock(&mut world, years);
    world.pass(601);
    world.core().wind_up();
    world.restart();
    world.pass(601);
    let ahead = world.clock.wall();
    world.core().wind_up();
    drop(world.core.take());
    world.reboot(ahead);
    world.pass(601);
    assert!(world.events().starts_with(&before) && world.statuses().len() == requests, "{:?}", world.events());

    // The clock is right again, and old records go at their time, also those of the time when it was ahead.
    set_clock(&mut world, -years);
    world.pass(601);
    world.wait();
    world.pass(398 * 86_400);
    assert!(world.events().starts_with(&before));
    world.pass(3 * 86_400);
    assert!(!world.events().iter().any(|event| event == "granted"), "{:?}", world.events());
}

#[test]
fn what_a_trial_closed_stays_closed_and_is_shortened_when_it_opens_again() {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 3600);
    let sources = vec![parse_source("10.0.0.0/8").unwrap()];
    let edit = Edit::Set(jit_policy::PortPolicy { allowed_sources: sources, ..host.policy(SSH) });
    assert!(host.change(edit, true).unwrap().trial.is_some());
    set_clock(&mut host.world, 1800);
    assert!(!passes(&host, 22, OPERATOR));
    host.disable().unwrap();
    assert!(passes(&host, 22, OPERATOR));
    host.world.clock.advance(secs(1800));
    assert!(!passes(&host, 22, OPERATOR));
}
