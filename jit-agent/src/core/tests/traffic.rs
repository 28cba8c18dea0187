//! When grants were used, as the program noted it.

use super::*;

impl World {
    /// The moments of the last packet and the last connection of each live grant, by number.
    fn uses(&mut self) -> Vec<(i64, Option<Timestamp>, Option<Timestamp>)> {
        let mut grants = self.core().grants(&root(), ALL).unwrap().value;
        grants.sort_by_key(|grant| grant.id);
        grants.iter().map(|grant| (grant.id.0, grant.last_packet, grant.last_connection)).collect()
    }

    fn last_connection(&mut self, number: u16) -> Option<Timestamp> {
        let ports = self.core().ports(&root()).unwrap();
        ports.iter().find(|port| port.policy.id.number == number).unwrap().last_connection
    }
}

#[test]
fn a_grant_was_never_used_until_a_packet_passes_by_it() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1", "192.0.2.2"], 1000)]).unwrap();
    assert_eq!(world.uses(), [(1, None, None), (2, None, None)]);
    world.pass(10);
    assert!(world.admits(22, "192.0.2.1"));
    world.pass(10);
    assert_eq!(world.uses(), [(1, Some(wall(10)), Some(wall(10))), (2, None, None)]);
    assert_eq!((world.last_connection(22), world.last_connection(3389)), (Some(wall(10)), None));
}

#[test]
fn of_grants_that_share_an_entry_each_has_only_what_came_after_it_was_made() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.pass(10);
    assert!(world.admits(22, "192.0.2.1"));
    world.pass(10);
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    let before = [(1, Some(wall(10)), Some(wall(10))), (2, None, None)];
    assert_eq!(world.uses(), before);
    world.restart();
    assert_eq!(world.uses(), before, "after a restart");
    world.pass(10);
    assert!(world.admits(22, "192.0.2.1"));
    assert_eq!(world.uses(), [(1, Some(wall(30)), Some(wall(30))), (2, Some(wall(30)), Some(wall(30)))]);
}

#[test]
fn a_use_has_the_same_time_whenever_it_is_shown_unless_the_clock_was_set() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    assert!(world.admits(22, "192.0.2.1"));
    let shown = world.last_connection(22);
    world.clock.set_wall(wall(0) + Duration::from_micros(30));
    assert_eq!(world.last_connection(22), shown, "the clocks are read one after the other");
    world.clock.set_wall(wall(3600));
    assert_eq!(world.last_connection(22), Some(wall(3600)));
}

#[test]
fn a_port_keeps_its_last_connection_when_the_grant_ends() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 100)]).unwrap();
    world.pass(10);
    assert!(world.admits(22, "192.0.2.1"));
    world.pass(200);
    assert_eq!((world.live(), world.last_connection(22)), (Vec::new(), Some(wall(10))));
}

#[test]
fn ports_count_what_came_to_each() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        world.admits(22, source);
    }
    world.admits(80, "192.0.2.2");
    let ports = world.core().ports(&root()).unwrap();
    let traffic: Vec<_> = ports.iter().map(|port| (port.passed, port.dropped, port.observed)).collect();
    assert_eq!(traffic, [(1, 2, 0), (0, 0, 0), (0, 0, 0)]);
}
