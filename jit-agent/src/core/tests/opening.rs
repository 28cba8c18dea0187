//! Tests that a request is opened completely or not at all.

use super::*;

/// Makes ports that extend the entry of a grant for 192.0.2.7 and add five entries.
fn several() -> Vec<RequestedPort> {
    vec![port(22, &["192.0.2.7", "10.0.0.0/8", "10.1.0.0/16"], 3000), port(3389, &["2001:db8::7"], 600)]
}

fn with_one_grant() -> World {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.7"], 1000)]).unwrap();
    world
}

#[test]
fn a_request_opens_what_it_names_and_nothing_else() {
    let mut world = with_one_grant();
    let done = world.submit(several()).unwrap();
    assert_eq!(done.status, RequestState::Approved);
    let shown: Vec<_> = done.grants.iter().map(|grant| (grant.source.to_string(), grant.remaining_seconds)).collect();
    let expected = [("192.0.2.7/32", 3000), ("10.0.0.0/8", 3000), ("10.1.0.0/16", 3000), ("2001:db8::7/128", 600)];
    assert_eq!(shown, expected.map(|(source, seconds)| (source.to_owned(), seconds)));
    assert_eq!(world.core().request(&root(), done.id).unwrap(), done, "the store says the same");
    for (number, source, admitted) in [
        (22, "192.0.2.7", true),
        (22, "192.0.2.8", false),
        (22, "10.200.0.1", true),
        (22, "2001:db8::7", false),
        (3389, "2001:db8::7", true),
        (3389, "192.0.2.7", false),
    ] {
        assert_eq!(world.admits(number, source), admitted, "{number} from {source}");
    }
    assert_eq!(world.states(), ["live"; 5]);
    let status = world.core().status(&root()).unwrap();
    assert_eq!((status.grants.intended, status.grants.enforced, status.faults), (5, 5, Vec::new()));
}

#[test]
fn a_failure_at_any_single_change_to_the_kernel_leaves_everything_as_it_was() {
    for failing in 0.. {
        let mut world = with_one_grant();
        let before = world.entries();
        world.kernel.fail(failing..failing + 1);
        let Err(refusal) = world.submit(several()) else {
            assert_eq!(failing, 6, "as many changes as the request needs");
            break;
        };
        assert!(refusal.to_string().contains("made to fail"), "{refusal}");
        for run in ["at once", "after a restart"] {
            assert_eq!(world.entries(), before, "{run}, change {failing}");
            assert_eq!(world.live(), [1], "{run}, change {failing}");
            assert_eq!(world.statuses(), ["approved", "failed"], "{run}, change {failing}");
            assert_eq!(world.states(), ["live", "ended", "ended", "ended", "ended"], "{run}, change {failing}");
            assert_eq!(world.faults(), Vec::<String>::new(), "{run}, change {failing}");
            world.restart();
        }
    }
}

#[test]
fn a_kernel_that_refuses_everything_from_then_on_lets_nobody_new_in_and_is_mended_later() {
    for failing in 0..6 {
        let mut world = with_one_grant();
        let before = world.entries();
        world.kernel.fail(failing..usize::MAX);
        world.submit(several()).unwrap_err();
        for source in ["10.0.0.1", "10.1.0.1", "192.0.2.8"] {
            assert!(!world.admits(22, source), "{source}, change {failing}");
        }
        assert!(!world.admits(3389, "2001:db8::7"), "change {failing}");
        let faults = world.faults().join("\n");
        assert!(faults.contains("could not be changed as they should"), "change {failing}: {faults}");

        world.kernel.fail(0..0);
        world.pass(5);
        assert_eq!((world.entries(), world.faults()), (before, Vec::new()), "change {failing}");
    }
}

#[test]
fn full_tables_refuse_the_whole_request() {
    let mut world = World::new();
    world.kernel = MemoryDatapath::new(Arc::new(world.clock.clone()), 3);
    world.start(false);
    let refusal = world.submit(several()).unwrap_err();
    assert!(matches!(refusal, Refusal::Full(_)), "{refusal}");
    assert_eq!((world.entries(), world.live()), (Vec::new(), Vec::new()));
    assert_eq!(world.statuses(), ["failed"]);
}

#[test]
fn what_the_store_does_not_take_is_not_opened() {
    for table in ["INSERT ON requests", "INSERT ON grants", "INSERT ON audit", "INSERT ON checkpoint"] {
        let mut world = with_one_grant();
        let (before, operations) = (world.entries(), world.kernel.operations());
        world.forbid(table);
        let refusal = world.submit(several()).unwrap_err();
        assert!(refusal.to_string().starts_with("nothing was opened: recording a request"), "{table}: {refusal}");
        assert_eq!((world.entries(), world.kernel.operations()), (before, operations), "{table}");
        assert_eq!((world.live(), world.states()), (vec![1], vec!["live".to_owned()]), "{table}");
    }
}

#[test]
fn what_can_not_be_recorded_as_live_is_taken_back() {
    let mut world = with_one_grant();
    let before = world.entries();
    world.forbid("UPDATE ON grants WHEN NEW.state = 'live'");
    let refusal = world.submit(several()).unwrap_err();
    assert!(refusal.to_string().starts_with("nothing was opened: recording grants as live"), "{refusal}");
    assert_eq!((world.entries(), world.live()), (before, vec![1]));
    assert_eq!(world.statuses(), ["approved", "failed"]);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[test]
fn a_failure_that_can_not_be_recorded_is_a_fault_until_it_is() {
    let mut world = with_one_grant();
    let before = world.entries();
    world.forbid("UPDATE ON grants");
    world.submit(several()).unwrap_err();
    assert_eq!((world.entries(), world.live()), (before, vec![1]));
    assert_eq!(world.states(), ["live", "opening", "opening", "opening", "opening"]);
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("1 closings are in force but not written: recording a failed request"), "{faults}");
    world.allow_all();
    world.pass(5);
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.statuses(), ["approved", "failed"]);
    assert_eq!(world.states()[1..], ["ended"; 4]);
}

#[test]
fn a_refusal_lists_every_violation_and_is_in_the_audit_log() {
    let mut world = World::new();
    let operations = world.kernel.operations();
    let ports = vec![port(22, &["203.0.113.1"], 4 * 3600), port(80, &["192.0.2.1"], 60)];
    let asked = NewRequest { ports, justification: String::new() };
    let Err(Refusal::Violations(violations)) = world.submit_as(&root(), asked) else { panic!("opened") };
    let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["allowedSourceAddressPrefixes", "duration", "justification", "number"]);
    assert_eq!(world.events(), ["started", "denied"]);
    assert_eq!((world.states(), world.kernel.operations()), (Vec::new(), operations));
}

#[test]
fn ten_thousand_sources_are_opened_shown_and_closed_in_a_few_seconds() {
    let mut world = World::new();
    let sources: Vec<String> = (0..10_000).map(|n| format!("10.{}.{}.7", n / 250, n % 250)).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let started = Instant::now();
    let lap = |what: &str, limit: u64| {
        let took = started.elapsed();
        println!("{what}: {took:?} since the start");
        assert!(took < secs(limit), "{what} took {took:?}");
    };
    assert_eq!(world.submit(vec![port(22, &sources, 60)]).unwrap().grants.len(), 10_000);
    lap("opening", 20);
    assert_eq!(world.core().status(&root()).unwrap().grants.enforced, 10_000);
    assert_eq!(world.core().port_list(&root()).unwrap().ports[0].activity.live_grants, 10_000);
    lap("showing", 25);
    world.clock.advance(secs(60));
    let (sweep, mut longest) = (Instant::now(), Duration::ZERO);
    while world.core().until_next_sweep().is_zero() {
        let one = Instant::now();
        world.core().sweep();
        longest = longest.max(one.elapsed());
    }
    println!("longest sweep {longest:?} of {:?}", sweep.elapsed());
    assert_eq!(world.entries(), []);
    assert_eq!(world.count("expired"), 10_000);
    assert!(longest < secs(2), "a command could wait {longest:?} for a sweep");
}
