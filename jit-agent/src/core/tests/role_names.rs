//! Tests of the names of roles: they get their numbers while the agent runs, and lose them only if they are gone.

use std::{
    sync::mpsc::{Receiver, channel},
    task::{Context, Poll, Waker},
};

use jit_policy::{Reload, Right};

use super::{names::LookedUp, *};
use crate::accounts::{Answer, Number};

/// A world with the names `@ops`, who approve, and `@dev`, who request, and the names that are to be looked up.
fn world() -> (World, Receiver<LookUps>) {
    world_of(&format!("{CONFIG}\n[roles]\napprover = ['@ops']\nrequester = ['@dev']\n"))
}

/// A world with the names of a configuration, and the names that are to be looked up.
fn world_of(config: &str) -> (World, Receiver<LookUps>) {
    let mut machine = Machine::new(config, wall(0));
    machine.access = Vec::new();
    let (look_ups, wanted) = channel();
    machine.look_ups = look_ups;
    let mut world = World { machine, core: None };
    world.start(false);
    world.core().settings.adopt_names();
    world.pass(0);
    (world, wanted)
}

fn member(uid: u32, group: u32) -> Peer {
    Peer { groups: vec![group], ..peer(uid, "someone") }
}

fn found(name: &str) -> Answer {
    Answer::Is(Number { number: if name == "@ops" { 70_001 } else { 70_002 }, local: false })
}

fn away(_: &str) -> Answer {
    Answer::Unsure("sssd does not run".to_owned())
}

fn gone(_: &str) -> Answer {
    Answer::Absent
}

/// Answers a round of look-ups. Returns `false` if none was asked for.
fn answer(world: &mut World, wanted: &Receiver<LookUps>, look_up: fn(&str) -> Answer) -> bool {
    let Ok(LookUps { names, former }) = wanted.try_recv() else { return false };
    assert_eq!(names, ["@dev", "@ops"]);
    let numbers = former.looked_up(&names, look_up);
    world.core().settings.names_mut().take(LookedUp { numbers, not_kept: None });
    true
}

fn may_request(world: &mut World) -> bool {
    world.submit_as(&member(1000, 70_002), request(vec![port(22, &["192.0.2.7"], 60)])).is_ok()
}

#[test]
fn names_of_a_directory_that_starts_late_get_their_roles_without_a_reload() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, away));
    assert!(!may_request(&mut world));
    assert_eq!(
        world.faults(),
        ["requester: `@dev`", "approver: `@ops`"].map(|name| {
            let (role, name) = name.split_once(' ').unwrap();
            format!(
                "[roles] {role} {name} can't be looked up (sssd does not run), so it gives nobody a role until it can"
            )
        })
    );
    world.pass(10);
    assert!(answer(&mut world, &wanted, found));
    assert_eq!((may_request(&mut world), world.faults()), (true, Vec::<String>::new()));
    world.pass(59);
    assert!(!answer(&mut world, &wanted, found), "all names are known");
    world.pass(1);
    assert!(answer(&mut world, &wanted, found), "a user or a group may be gone");
}

#[test]
fn a_directory_that_fails_takes_no_role_away_even_over_a_reload_and_a_name_that_is_gone_does() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, found));
    world.pass(60);
    assert!(answer(&mut world, &wanted, away));
    assert!(may_request(&mut world));
    world.rewrite("requester = ['@dev']", "viewer = ['@dev']\nrequester = ['@dev']");
    world.core().reload(Some(&root()), &Reload::default()).unwrap();
    world.pass(0);
    assert!(answer(&mut world, &wanted, away));
    assert!(may_request(&mut world));
    let kept = "`@ops` can't be looked up (sssd does not run), so its last known number, 70001, counts";
    assert!(world.faults().contains(&format!("[roles] approver: {kept}")), "{:?}", world.faults());
    world.pass(10);
    assert!(answer(&mut world, &wanted, gone));
    assert!(!may_request(&mut world));
    assert!(world.faults().contains(&"[roles] requester: there is no user or group `@dev`".to_owned()));
}

#[test]
fn whoever_is_refused_has_the_names_looked_up_sooner_but_not_at_will() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, found));
    let made_anew = |name: &str| Answer::Is(Number { number: 70_009, local: name == "@dev" });
    let refuse = |world: &mut World| world.submit_as(&member(1000, 70_009), request(vec![])).unwrap_err();
    assert!(matches!(refuse(&mut world), Refusal::NotPermitted { some_unknown: false, .. }));
    world.pass(4);
    assert!(!answer(&mut world, &wanted, made_anew));
    world.pass(1);
    assert!(answer(&mut world, &wanted, made_anew), "the group was made anew, with another number");
    assert!(!matches!(refuse(&mut world), Refusal::NotPermitted { .. }));
    world.pass(5);
    assert!(!answer(&mut world, &wanted, found), "nobody was refused since");
}

#[test]
fn a_read_that_the_server_refuses_has_the_names_looked_up_too_and_wakes_the_core_once() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, found));
    let (handle, mut commands) = CoreHandle::of(world.core());
    let refuse = || handle.check_role(&member(1000, 70_009), Right::Look).unwrap_err();
    refuse();
    refuse();
    assert!(commands.try_recv().is_ok(), "the core may sleep for a minute");
    assert!(commands.try_recv().is_err(), "the core knows already");
    world.pass(5);
    assert!(answer(&mut world, &wanted, found));
    refuse();
    assert!(commands.try_recv().is_ok(), "this may be another name");
}

#[test]
fn a_refusal_tells_that_the_role_may_be_meant_for_a_name_that_is_not_known() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, away));
    let refused = world.submit_as(&member(1000, 70_002), request(vec![])).unwrap_err().to_string();
    assert!(refused.ends_with("in [roles]; `jitctl status` tells which names there this host does not know now"));
}

#[test]
fn a_name_service_that_does_not_answer_is_a_fault_and_keeps_nobody_waiting() {
    let (mut world, wanted) = world();
    let late = "[roles]: the name service of this host does not answer, so everybody keeps the roles that they have";
    world.pass(2);
    assert!(!world.faults().contains(&late.to_owned()));
    world.pass(1);
    assert!(world.faults().contains(&late.to_owned()));
    world.pass(600);
    assert!(answer(&mut world, &wanted, found), "the first round");
    assert!(!answer(&mut world, &wanted, found), "one round at a time");
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[test]
fn a_right_that_is_held_ends_when_its_role_goes() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, found));
    let approver = member(1000, 70_001);
    let mut permit = world.core().settings.permit(&approver, Right::ReadAll).unwrap();
    let mut of_root = world.core().settings.permit(&root(), Right::ReadAll).unwrap();
    let is_lost = |permit: &mut names::Permit| {
        let lost = std::pin::pin!(permit.lost());
        lost.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    };
    assert!(permit.holds() && !is_lost(&mut permit));
    world.pass(60);
    assert!(answer(&mut world, &wanted, gone));
    assert!(!permit.holds() && is_lost(&mut permit));
    assert!(of_root.holds() && !is_lost(&mut of_root));
}

#[test]
fn an_approval_needs_the_requestors_groups_and_says_when_they_can_not_be_known() {
    let (mut world, wanted) = world();
    assert!(answer(&mut world, &wanted, found));
    let made = world.submit_as(&member(1000, 70_002), request(vec![port(5986, &["192.0.2.7"], 60)])).unwrap();
    let approve = |world: &mut World, groups| {
        let approver = after_login(member(1001, 70_001), 1001, "bob");
        world.ask(async |core| core.approve(approver, made.id, groups).await)
    };
    let unknown = approve(&mut world, Err("the name service does not answer".to_owned())).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the groups of someone can't be looked up (the name service does not answer), so nobody knows whether they may \
         still request this; try again later"
    );
    let lost = approve(&mut world, Ok(vec![1000])).unwrap_err();
    assert!(lost.to_string().contains("is no longer a requester"), "{lost}");
    approve(&mut world, Ok(vec![1000, 70_002])).unwrap();
}

#[test]
fn lists_of_a_port_narrow_the_roles_and_give_none() {
    let lists = "quota = 3\n    requesters = ['@dev', 'zoe']\n    approvers = ['@ops', 'zoe', 'nobody-there']";
    let roles = "[roles]\napprover = ['@ops', '@staff']\nrequester = ['@dev', '@staff']";
    let (mut world, wanted) = world_of(&format!("{}\n{roles}\n", CONFIG.replace("quota = 3", lists)));
    let LookUps { names, former } = wanted.try_recv().unwrap();
    let numbers = former.looked_up(&names, |name| match name {
        "@ops" | "@dev" => found(name),
        "@staff" => Answer::Is(Number { number: 70_003, local: false }),
        "zoe" => Answer::Is(Number { number: 1234, local: true }),
        _ => Answer::Absent,
    });
    world.core().settings.names_mut().take(LookedUp { numbers, not_kept: None });
    assert_eq!(world.faults(), ["port 5986/tcp, approvers: there is no user or group `nobody-there`"]);

    let asked = || request(vec![port(5986, &["192.0.2.7"], 60)]);
    let (staff, zoe) = (member(1003, 70_003), peer(1234, "zoe"));
    let left_out = |refused: Refusal, wanted: &str| {
        assert!(matches!(&refused, Refusal::NotListed { key, .. } if *key == wanted), "{refused}");
        refused.to_string()
    };
    let refused = left_out(world.submit_as(&staff, asked()).unwrap_err(), "requesters");
    assert_eq!(
        refused,
        "someone (uid 1003) is not among the `requesters` of port 5986/tcp; an admin can add the user or a group there"
    );
    world.submit_as(&staff, request(vec![port(22, &["192.0.2.7"], 60)])).unwrap();
    assert!(matches!(world.submit_as(&zoe, asked()), Err(Refusal::NotPermitted { .. })), "she has no role");
    let made = world.submit_as(&member(1000, 70_002), asked()).unwrap().id;
    world.submit_as(&root(), asked()).unwrap();

    let approve = |world: &mut World, peer: &Peer, groups: &[u32]| {
        let (peer, groups) = (peer.clone(), Ok(groups.to_vec()));
        world.ask(async |core| core.approve(peer, made, groups).await)
    };
    left_out(approve(&mut world, &staff, &[70_002]).unwrap_err(), "approvers");
    assert!(matches!(approve(&mut world, &zoe, &[70_002]), Err(Refusal::NotPermitted { .. })));
    let ops = member(1001, 70_001);
    left_out(approve(&mut world, &ops, &[70_003]).unwrap_err(), "requesters");
    approve(&mut world, &ops, &[70_002]).unwrap();
    let events = world.count("denied");
    assert!(events > 0, "who was left out is in the audit log");
}
