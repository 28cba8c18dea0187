//! `jitctl status`.

use super::*;

#[test]
fn status_shows_packets_by_reason() {
    let agent = granted();
    for _ in 0..1234 {
        assert!(agent.machine.admits(22, "192.0.2.10"));
    }
    for _ in 0..56 {
        assert!(!agent.machine.admits(22, "192.0.2.11"));
    }
    let expected = "\
mode     enforce
version  0.1.0
grants   1 intended, 1 enforced

interface  index  attached
eth0           2  native

packets  verdict  reason      mode
     56  dropped  no_grant    enforce
   1234  passed   host_grant  enforce
";
    shows(&jitctl(&agent, &["status"]), Exit::Done, expected);
}

#[test]
fn status_of_a_broken_agent_ends_with_its_faults_and_the_code_for_degraded() {
    let mut machine = Machine::usual_with(&USUAL.replace("'enforce'", "'observe'"));
    let (name, fault) = ("eth1".to_owned(), Some("no such device".to_owned()));
    machine.cover(&[InterfaceView { name, fault, ..InterfaceView::default() }]);
    machine.faults = vec!["the store can't be written:\ndisk full".to_owned()];
    let agent = Agent::start(machine);
    for _ in 0..5 {
        agent.machine.admits(22, "192.0.2.10");
    }
    let arguments =
        ["request", "--port", "22", "--for", "1h", "--from", "192.0.2.10", "--from", "192.0.2.11", "--from"];
    assert_eq!(jitctl(&agent, &[&arguments[..], &["192.0.2.12"]].concat()).exit, Exit::Done);
    let mut kernel = agent.machine.kernel.clone();
    for (entry, _) in kernel.entries().unwrap().iter().skip(1) {
        kernel.remove(entry, None).unwrap();
    }
    let expected = "\
mode     observe
version  0.1.0
grants   3 intended, 1 enforced

interface  index  attached
eth1        none  NOT ATTACHED

packets  verdict           reason    mode
      5  would be dropped  no_grant  observe

WARNINGS
- mode = \"observe\": nothing is dropped, only counted; `jit-agent enable` shuts the ports

FAULTS
- 2 of 3 grants not enforced
- the store can't be written:\\ndisk full
- 2 grants are not in force, since someone else changed the kernel's tables; revoke them, and request them again
- interface eth1: no such device
";
    shows(&jitctl(&agent, &["status"]), Exit::Degraded, expected);
    assert_eq!(jitctl(&agent, &["--json", "status"]).exit, Exit::Degraded);
}

#[test]
fn any_fault_and_any_grant_that_is_not_enforced_make_an_agent_degraded() {
    let agent = Agent::start(Machine { faults: vec!["x".to_owned()], ..Machine::usual() });
    assert_eq!(jitctl(&agent, &["status"]).exit, Exit::Degraded);
    // An agent of this version says both, the number and a fault.
    for (enforced, exit) in [(1, Exit::Done), (0, Exit::Degraded)] {
        let status = json!({
            "mode": "enforce", "version": "0.1.0", "interfaces": [], "uncovered": [], "counters": [],
            "grants": { "intended": 1, "enforced": enforced }, "faults": [], "warnings": [], "trial": null,
        });
        let server = Server::start(vec![(200, None, status)]);
        assert_eq!(jitctl_at(&server.socket(), &["status"]).exit, exit);
    }
}
