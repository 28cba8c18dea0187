//! Files that can't be used, and files of several machines.

use super::*;

#[test]
fn everything_that_can_not_be_used_is_listed_at_once_and_nothing_is_set() {
    let one = |changes: Value| {
        let mut port = port(1, "TCP");
        changes.as_object().unwrap().iter().for_each(|(name, value)| port[name] = value.clone());
        port
    };
    let file = of_machines(&json!([{"id": "/x/vm1", "ports": [
        one(json!({"number": 0})),
        one(json!({"number": 65536, "protocol": "ICMP"})),
        one(json!({"allowedSourceAddressPrefix": "VirtualNetwork"})),
        one(json!({"allowedSourceAddressPrefix": "192.0.2.7/24"})),
        one(json!({"allowedSourceAddressPrefixes": ["192.0.2.7"]})),
        one(json!({"allowedSourceAddressPrefix": null})),
        one(json!({"allowedSourceAddressPrefix": null, "allowedSourceAddressPrefixes": ["::/0", 7]})),
        one(json!({"maxRequestAccessDuration": "PT4M"})),
        one(json!({"maxRequestAccessDuration": "P2D"})),
        port(22, "*"), port(8080, "TCP"), port(8080, "tcp"), port(9000, "UDP"), port(9000, "*"), 5,
    ]}]));
    let served = served();
    let before = policies_of(&served);
    let (outcome, _) = run_real(&served, &file, &["--apply", "--yes"], None);
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (Exit::Failed, ""));
    assert!(outcome.stderr.contains("policy.json can't be imported as it is; nothing was changed\n"));
    for (place, given, remedy) in [
        ("[0].number", "0", "from 1 to 65535"),
        ("[1].number", "65536", "from 1 to 65535"),
        ("[1].protocol", "\"ICMP\"", "TCP, UDP or *"),
        ("[2].allowedSourceAddressPrefix", "\"VirtualNetwork\"", "only Azure knows what its tags mean"),
        ("[3].allowedSourceAddressPrefix", "\"192.0.2.7/24\"", "write 192.0.2.0/24 for the network"),
        ("[4].allowedSourceAddressPrefixes", "allowedSourceAddressPrefix too", "one of"),
        ("[5].allowedSourceAddressPrefixes", "nothing", "one of"),
        ("[6].allowedSourceAddressPrefixes[1]", "7", "a text"),
        ("[7].maxRequestAccessDuration", "\"PT4M\"", "5 minutes to 24 hours"),
        ("[8].maxRequestAccessDuration", "\"P2D\"", "5 minutes to 24 hours"),
        ("[9]", "22/any", "22/tcp as the agent has it"),
        ("[11]", "8080/tcp", "ports[10] has 8080/tcp too"),
        ("[13]", "9000/any", "ports[12] has 9000/udp too"),
        ("[14]", "5", "an object"),
    ] {
        let place = format!("  $.value[0].properties.virtualMachines[0].ports{place} ");
        let line = outcome.stderr.lines().find(|line| line.starts_with(&place) && line.contains(given));
        assert!(line.is_some_and(|line| line.contains(remedy)), "{place}: {}", outcome.stderr);
    }
    assert_eq!(outcome.stderr.lines().count(), 2 + 14, "{}", outcome.stderr);
    assert_eq!(policies_of(&served), before);
}

#[test]
fn a_file_of_another_form_is_refused_with_the_place() {
    for (file, place) in [
        (json!(7), "$ "),
        (json!({"value": {}}), "$.value "),
        (json!({"virtualMachines": 7}), "$.virtualMachines "),
        (json!([{"properties": {}}]), "$[0].properties.virtualMachines "),
        (json!([{"virtualMachines": [{"ports": []}]}]), "$[0].virtualMachines[0].id "),
        (json!([{"virtualMachines": [{"id": "/x/vm"}]}]), "$[0].virtualMachines[0].ports "),
        (json!({"value": [], "nextLink": "https://example.com/2"}), "$.nextLink "),
    ] {
        let faults = policies::parse(file.to_string().as_bytes()).unwrap_err();
        assert!(faults.iter().any(|fault| format!("{} ", fault.path) == place), "{file}: {faults:?}");
    }
    assert!(policies::parse(b"{").unwrap_err()[0].remedy.contains("az security jit-policy list"));
}

#[test]
fn of_several_machines_with_different_ports_one_must_be_named() {
    let file = of_machines(&json!([
        {"id": "/x/virtualMachines/vm1", "ports": [port(80, "TCP")]},
        {"id": "/x/virtualMachines/vm2", "ports": [port(81, "TCP")]},
        {"id": "/y/virtualMachines/vm2", "ports": [port(82, "TCP")]},
        // Azure does not tell capitals apart, and one machine may stand in two policies.
        {"id": "/X/virtualmachines/VM1", "ports": [port(83, "TCP")]},
    ]));
    let served = served();
    let list = "  /x/virtualMachines/vm1\n  /x/virtualMachines/vm2\n  /y/virtualMachines/vm2\n";
    for (options, part) in [
        (&[][..], "whose ports differ; name one by its whole id with --vm"),
        (&["--vm=vm2"], "whose ports differ"),
        (&["--vm=vm3"], "has no virtual machine `vm3`; it has"),
    ] {
        let (outcome, _) = run_real(&served, &file, options, None);
        assert_eq!(outcome.exit, Exit::Usage, "{outcome:?}");
        assert!(outcome.stderr.contains(part) && outcome.stderr.ends_with(list), "{outcome:?}");
    }
    for (vm, ports) in [("--vm=VM1", &["80/tcp", "83/tcp"][..]), ("--vm=/Y/VirtualMachines/vm2", &["82/tcp"])] {
        let (outcome, _) = run_real(&served, &file, &[vm], None);
        let shown: Vec<_> =
            outcome.stdout.lines().filter_map(|line| line.split_once("  ")?.0.split_once("/tcp")).collect();
        assert_eq!(shown.len(), ports.len(), "{outcome:?}");
        assert!(ports.iter().all(|port| outcome.stdout.contains(port)), "{outcome:?}");
    }
}
