use jit_policy::{Approval, Protocol};
use proptest::{collection::vec, prelude::*};

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text, "config.toml").unwrap()
}

fn id(number: u16, protocol: Protocol) -> PortId {
    PortId { number, protocol }
}

const OWNERS: &str =
    "mode = 'observe'\n[[port]]\nnumber = 22\nprotocol = 'tcp'\n[[port]]\nnumber = 3389\nprotocol = 'any'\n";

#[test]
fn what_the_agent_set_wins_and_each_difference_has_a_name() {
    let owners = config(OWNERS);
    let wanted = config(
        "mode = 'enforce'\n[[port]]\nnumber = 22\nprotocol = 'tcp'\nquota = 7\n[[port]]\nnumber = 443\nprotocol = 'tcp'\n",
    );
    let own = Own::between(&owners, &wanted);
    assert_eq!(own.over(&owners).unwrap(), wanted);
    let ssh = Override::Port(id(22, Protocol::Tcp));
    let added = Override::Added(id(443, Protocol::Tcp));
    let removed = Override::Removed(id(3389, Protocol::Any));
    assert_eq!(own.overrides(&owners), [Override::Mode, ssh, added, removed]);
    for (name, left) in [
        ("mode", vec![ssh, added, removed]),
        ("22", vec![Override::Mode, added, removed]),
        ("22/tcp", vec![Override::Mode, added, removed]),
        ("3389/any", vec![Override::Mode, ssh, added]),
        ("443", vec![Override::Mode, ssh, removed]),
        ("22/udp", vec![Override::Mode, ssh, added, removed]),
    ] {
        assert_eq!(own.clone().without(&[name.to_owned()]).overrides(&owners), left, "{name}");
    }
    assert_eq!(Own::between(&owners, &owners).text(), None);
    // Once the owner's files say the same, nothing is left to tell.
    assert_eq!(own.overrides(&wanted), []);
}

#[test]
fn a_policy_of_the_owner_for_the_same_packets_is_an_error() {
    let own = Own { port: vec![PortPolicy::new(id(3389, Protocol::Tcp))], ..Own::default() };
    assert!(matches!(own.over(&config(OWNERS)), Err(PolicyError::Overlap(..))));
}

#[test]
fn a_file_that_the_agent_could_not_have_written_is_refused() {
    let state = Path::new("/var/lib/jit-agent");
    for (text, part) in [
        ("mode = 'enfore'", "enfore"),
        ("interfaces = ['eth0']", "interfaces"),
        ("removed = ['22']", "`22` is no port"),
        ("[[port]]\nnumber = 22\nprotocol = 'tcp'\nquota = 0", "quota"),
        ("port = 7", "port"),
    ] {
        let error = format!("{:#}", parse(state, text).unwrap_err());
        assert!(error.contains("/var/lib/jit-agent/policy.toml") && error.contains(part), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn what_is_set_is_read_as_it_was_written_and_makes_of_any_files_what_is_wanted(
        owners in policies(), wanted in policies(), modes in any::<(bool, bool)>()
    ) {
        let config = |ports: Vec<PortPolicy>, enforces: bool| Config {
            mode: if enforces { Mode::Enforce } else { Mode::Observe },
            ports: PortPolicies::new(ports).unwrap(),
            ..config("")
        };
        let (owners, wanted) = (config(owners, modes.0), config(wanted, modes.1));
        let own = Own::between(&owners, &wanted);
        prop_assert_eq!(&own.over(&owners).unwrap(), &wanted);
        let read = own.text().map_or_else(Own::default, |text| parse(Path::new("/"), &text).unwrap());
        prop_assert_eq!(&read, &own);
        prop_assert_eq!(own.text().is_none(), owners == wanted);
    }
}

/// Policies that don't overlap.
fn policies() -> impl Strategy<Value = Vec<PortPolicy>> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)];
    let policy = (1u16..5, protocol, 1u32..9, any::<bool>(), 300u64..86_400).prop_map(
        |(number, protocol, quota, approval, seconds)| PortPolicy {
            quota,
            approval: if approval { Approval::Required } else { Approval::Auto },
            max_duration: std::time::Duration::from_secs(seconds),
            ..PortPolicy::new(id(number, protocol))
        },
    );
    vec(policy, 0..6).prop_map(|all| {
        let mut kept: Vec<PortPolicy> = Vec::new();
        for policy in all {
            if !kept.iter().any(|known| known.id.overlaps(policy.id)) {
                kept.push(policy);
            }
        }
        kept
    })
}
