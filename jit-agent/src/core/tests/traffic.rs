//! Tests of when grants were used, as the program recorded it.

use jit_policy::Way;

use super::*;
use crate::datapath::InterfaceView;

impl World {
    /// Returns the times of the last packet and the last connection of each live grant, ordered by id.
    fn uses(&mut self) -> Vec<(i64, Option<Timestamp>, Option<Timestamp>)> {
        let mut grants = self.core().grants(&root(), ALL).unwrap().value;
        grants.sort_by_key(|grant| grant.id);
        grants.iter().map(|grant| (grant.id.0, grant.last_packet_time_utc, grant.last_connection_time_utc)).collect()
    }

    fn last_connection(&mut self, number: u16) -> Option<Timestamp> {
        let ports = self.core().port_list(&root()).unwrap().ports;
        ports.iter().find(|port| port.number == number).unwrap().activity.last_connection_time_utc
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
    let ports = world.core().port_list(&root()).unwrap().ports;
    let traffic: Vec<_> = ports
        .iter()
        .map(|port| &port.activity)
        .map(|one| (one.passed_packets, one.dropped_packets, one.observed_packets))
        .collect();
    assert_eq!(traffic, [(1, 2, 0), (0, 0, 0), (0, 0, 0)]);
}

#[test]
fn an_interface_that_is_no_longer_covered_is_in_the_audit_log_and_so_is_its_return() {
    let mut world = World::new();
    let eth0 = |attached, fault: Option<&str>| {
        let fault = fault.map(str::to_owned);
        vec![InterfaceView { name: "eth0".to_owned(), index: Some(2), attached, fault, ..InterfaceView::default() }]
    };
    for (interfaces, event) in [
        (eth0(Some(Way::Native), None), "attached"),
        (eth0(None, Some("someone took it off")), "detached"),
        (eth0(Some(Way::Generic), None), "attached"),
    ] {
        world.kernel.set_interfaces(&interfaces);
        world.pass(5);
        world.pass(5);
        assert_eq!(
            (world.events().pop().as_deref(), world.last(event)["interface"].as_str()),
            (Some(event), Some("eth0"))
        );
    }
    assert_eq!(world.last("detached")["reason"], "someone took it off");
    assert_eq!((world.count("attached"), world.count("detached")), (2, 1));
}

#[test]
fn the_first_and_the_last_connection_of_a_grant_are_in_the_audit_log_also_over_a_restart() {
    let mut world = World::new();
    world.submit_as(&alice(), request(vec![port(22, &["192.0.2.1"], 1000)])).unwrap();
    for _ in 0..3 {
        world.pass(10);
        assert!(world.admits(22, "192.0.2.1"));
        world.restart();
    }
    world.pass(1);
    assert_eq!((world.count("first_connection"), world.count("last_connection")), (1, 0));
    world.revoke(&Selection::All);
    let moments = [wall(10), wall(30)].map(|moment| moment.to_string());
    assert_eq!(world.last("first_connection")["time"], moments[0]);
    let last = world.last("last_connection");
    assert_eq!((last["time"].as_str(), last["requestor"].as_str()), (Some(moments[1].as_str()), Some("alice")));
}

#[test]
fn each_use_of_break_glass_is_in_the_audit_log_once() {
    let mut world = World::new();
    world.config = Config::parse(&format!("break_glass = ['203.0.113.0/24']\n{CONFIG}"), "config.toml").unwrap();
    world.restart();
    assert!(world.admits(22, "203.0.113.9"));
    world.pass(1);
    assert_eq!(world.last("break_glass_used")["source"], "203.0.113.0/24");
    world.pass(1);
    world.restart();
    world.pass(1);
    assert_eq!(world.count("break_glass_used"), 1, "it was used once");
    world.pass(60);
    assert!(world.admits(22, "203.0.113.9"));
    world.pass(1);
    assert_eq!(world.count("break_glass_used"), 2);
}
