//! Tests of restarts and reboots.

use super::*;

fn with_grants() -> World {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.submit(vec![port(22, &["10.0.0.0/8"], 5000)]).unwrap();
    world
}

fn remaining(world: &mut World) -> Vec<u64> {
    world.core().grants(&root(), ALL).unwrap().value.iter().map(|grant| grant.remaining_seconds).collect()
}

#[test]
fn after_a_reboot_the_shorter_of_both_clocks_remains() {
    for (name, up, now, expected) in [
        ("the clocks agree", 100, 400, vec![600, 4600]),
        ("the wall clock ran ahead", 0, 1500, vec![3500]),
        ("set back to the moment of the last checkpoint", 100, 100, vec![900, 4900]),
        ("set back before the last checkpoint", 100, 99, vec![]),
        ("down for longer than all grants", 100, 5000, vec![]),
    ] {
        let mut world = with_grants();
        world.pass(up);
        world.reboot(wall(now));
        assert_eq!(remaining(&mut world), expected, "{name}");
        assert_eq!(world.entries().len(), expected.len(), "{name}");
        let live = world.states().iter().filter(|state| *state == "live").count();
        assert_eq!(live, expected.len(), "{name}");
        // A restart and a reboot follow, to check that what was written in this boot is right too.
        world.restart();
        assert_eq!(remaining(&mut world), expected, "{name}, after a restart");
        world.reboot(wall(now + 7));
        let expected: Vec<u64> = expected.iter().map(|seconds| seconds - 7).collect();
        assert_eq!(remaining(&mut world), expected, "{name}, after another reboot");
    }
}

#[test]
fn a_grant_made_between_two_checkpoints_is_bounded_by_its_own() {
    let mut world = World::new();
    world.clock.advance(secs(30));
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.clock.advance(secs(20));
    world.reboot(wall(29));
    assert_eq!(remaining(&mut world), [] as [u64; 0], "the clock is before the grant was made");
    assert_eq!(world.reasons(), ["the clock or the machine changed over a reboot"]);
}

#[test]
fn on_another_machine_all_grants_end() {
    let mut world = with_grants();
    world.boot.machine_id = "copy".to_owned();
    world.reboot(wall(100));
    assert_eq!((world.live(), world.states()), (vec![], vec!["ended".to_owned(); 2]));
}

#[test]
fn grants_that_can_not_be_written_after_a_reboot_are_not_opened() {
    let mut world = with_grants();
    world.forbid("UPDATE ON grants WHEN NEW.state = 'live'");
    world.reboot(wall(100));
    assert_eq!((world.entries(), world.states()), (Vec::new(), vec!["ended".to_owned(); 2]));
    assert!(world.reasons()[0].starts_with("it could not be written after a reboot"), "{:?}", world.reasons());
}

#[test]
fn entries_beyond_the_store_are_removed_or_cut() {
    let mut world = with_grants();
    let before = world.entries();
    let late = BootTime(u64::MAX);
    for source in ["192.0.2.66", "10.1.0.0/16", "10.1.2.3", "192.0.2.1", "10.0.0.0/8"] {
        world.kernel.set(&entry(22, source), late).unwrap();
    }
    world.kernel.set(&EntryKey { number: 80, ..entry(22, "0.0.0.0/0") }, late).unwrap();
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("4 open entries of the kernel's tables belong to no grant"), "{faults}");
    world.restart();
    assert_eq!(world.entries(), before);
    assert!(world.admits(22, "10.1.2.3"), "by the outer grant");
}

#[test]
fn what_the_kernel_refuses_at_the_start_keeps_nothing_else_from_being_closed() {
    for failing in 0..4 {
        let mut world = with_grants();
        for source in ["192.0.2.66", "192.0.2.67", "192.0.2.1"] {
            world.kernel.set(&entry(22, source), BootTime(u64::MAX)).unwrap();
        }
        // The first change of a start protects the ports.
        world.kernel.fail(1 + failing..usize::MAX);
        world.restart();
        world.clock.advance(secs(1000));
        for source in ["192.0.2.66", "192.0.2.67", "192.0.2.1"] {
            assert!(!world.admits(22, source), "{source}, change {failing}");
        }
        world.kernel.fail(0..0);
        world.pass(5);
        assert_eq!((world.entries().len(), world.faults()), (1, Vec::new()));
    }
}

#[test]
fn a_grant_that_intact_tables_lack_is_not_opened_again_but_new_tables_are_filled() {
    let mut world = with_grants();
    world.kernel.remove(&entry(22, "192.0.2.1"), None).unwrap();
    world.restart();
    assert_eq!((world.live(), world.states()), (vec![2], vec!["ended".to_owned(), "live".to_owned()]));
    assert!(!world.admits(22, "192.0.2.1"));

    let mut world = with_grants();
    world.kernel = MemoryDatapath::new(Arc::new(world.clock.clone()), 100);
    world.start(false);
    assert_eq!(world.live(), [1, 2]);
    assert!(world.admits(22, "192.0.2.1"));
}

#[test]
fn a_changed_configuration_ends_or_shortens_what_it_no_longer_allows() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1", "10.0.0.0/8"], 3000), port(3389, &["192.0.2.1"], 3000)]).unwrap();
    world.submit(vec![port(22, &["192.0.2.2"], 200)]).unwrap();
    let changed = "
        interfaces = ['eth0']
        mode = 'enforce'
        [[port]]
        number = 22
        protocol = 'tcp'
        allowed_sources = ['192.0.2.0/24']
        max_duration = '5m'
    ";
    world.config = Config::parse(changed, "config.toml").unwrap();
    for run in ["first", "second"] {
        world.restart();
        assert_eq!(world.states(), ["live", "ended", "ended", "live"], "{run}");
        assert_eq!(remaining(&mut world), [200, 300], "{run}");
        assert_eq!(world.entries().len(), 2, "{run}");
        assert_eq!((world.count("ended"), world.count("shortened")), (2, 1), "{run}");
    }
    assert_eq!(
        world.reasons()[1..3],
        ["10.0.0.0/8 is no longer an allowed source of port 22/tcp", "port 3389/any is no longer in the configuration",]
    );
    world.clock.advance(secs(300));
    assert!(!world.admits(22, "192.0.2.1"));
}
