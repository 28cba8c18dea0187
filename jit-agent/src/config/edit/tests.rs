use std::time::Duration;

use jit_policy::{Approval, Justification};
use proptest::prelude::*;

use super::*;
use crate::config::files;

fn part(text: &str) -> Part {
    Part { path: "config.toml".into(), text: text.to_owned() }
}

fn policy(number: u16, protocol: Protocol) -> PortPolicy {
    PortPolicy::new(PortId { number, protocol })
}

fn ports(parts: &[Part]) -> PortPolicies {
    files::parse(parts).unwrap().config.ports
}

#[track_caller]
fn edited(text: &str, change: &Edit) -> String {
    let parts = [part(text)];
    let (place, new) = edit(&parts, &ports(&parts), change).unwrap();
    assert_eq!(place, 0);
    new
}

const COMMENTED: &str = "\
# of this host
interfaces = ['eth0'] # the only one

# Secure shell.
[[port]]
number = 22 # well known
protocol = \"TCP\"
max_duration   =   '1h' # as agreed
quota = 3

# The web.

# Only inside.
[[port]]
protocol = 'tcp'
number = 443
allowed_sources = [
    '192.0.2.0/24', # office
]

[roles] # who
admin = ['ann']
# the end
";

#[test]
fn only_the_changed_fields_are_touched() {
    let new = PortPolicy {
        max_duration: Duration::from_secs(5400),
        approval: Approval::Required,
        quota: 3,
        ..policy(22, Protocol::Tcp)
    };
    let expected = COMMENTED
        .replace("'1h' # as agreed", "\"1h30m\" # as agreed")
        .replace("quota = 3\n", "quota = 3\napproval = \"required\"\n");
    assert_eq!(edited(COMMENTED, &Edit::Set(new)), expected);
}

#[test]
fn a_field_goes_back_to_its_default_and_other_ports_stay() {
    let expected = COMMENTED.replace("[\n    '192.0.2.0/24', # office\n]", "[\"0.0.0.0/0\", \"::/0\"]");
    assert_eq!(edited(COMMENTED, &Edit::Set(policy(443, Protocol::Tcp))), expected);
}

#[test]
fn a_new_port_comes_after_the_others() {
    let new = PortPolicy {
        allowed_sources: vec!["2001:db8::/32".parse().unwrap()],
        max_duration: Duration::from_secs(300),
        approval_timeout: Duration::from_secs(86_400 * 2),
        justification: Justification::Optional,
        ..policy(80, Protocol::Any)
    };
    let block = "\n[[port]]\nnumber = 80\nprotocol = \"any\"\nallowed_sources = [\"2001:db8::/32\"]\nmax_duration = \
                 \"5m\"\napproval_timeout = \"48h\"\njustification = \"optional\"\n";
    assert_eq!(edited(COMMENTED, &Edit::Set(new)), COMMENTED.replace("\n[roles]", &format!("{block}\n[roles]")));
}

#[test]
fn a_removed_port_goes_with_the_comment_right_above_it() {
    let web = COMMENTED.find("# Only inside.").unwrap()..COMMENTED.find("\n[roles]").unwrap();
    let mut expected = COMMENTED.to_owned();
    expected.replace_range(web, "");
    let new = edited(COMMENTED, &Edit::Remove(PortId { number: 443, protocol: Protocol::Tcp }));
    for line in expected.lines() {
        assert!(new.lines().any(|kept| kept == line), "{line:?} is not in\n{new}");
    }
    assert!(!new.contains("443") && !new.contains("Only inside"), "{new}");
    let error = edit(
        &[part(COMMENTED)],
        &ports(&[part(COMMENTED)]),
        &Edit::Remove(PortId { number: 443, protocol: Protocol::Udp }),
    );
    assert_eq!(error.unwrap_err().to_string(), "no file has a policy of port 443/udp");
}

#[test]
fn without_any_port_the_defaults_are_written_out() {
    let text = "interfaces = ['eth0']\n[roles]\nadmin = ['ann']\n";
    let with_web = edited(text, &Edit::Set(policy(443, Protocol::Tcp)));
    let names = |text: &str| ports(&[part(text)]).iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&with_web), ["22/tcp", "443/tcp", "3389/any", "5985/tcp", "5986/tcp"]);
    assert!(with_web.starts_with(text), "{with_web}");
    let without_ssh = edited(text, &Edit::Remove(PortId { number: 22, protocol: Protocol::Tcp }));
    assert_eq!(names(&without_ssh), ["3389/any", "5985/tcp", "5986/tcp"]);
    let changed = PortPolicy { quota: 1, ..policy(22, Protocol::Tcp) };
    let changed = edited(text, &Edit::Set(changed));
    assert_eq!(names(&changed), ["22/tcp", "3389/any", "5985/tcp", "5986/tcp"]);
    assert!(changed.contains("quota = 1"), "{changed}");
}

#[test]
fn after_the_last_port_is_removed_none_is_protected() {
    let text = "# host\ninterfaces = ['eth0']\n\n[[port]]\nnumber = 22\nprotocol = 'tcp'\n\n[roles]\nadmin = []\n";
    let ssh = PortId { number: 22, protocol: Protocol::Tcp };
    let new = edited(text, &Edit::Remove(ssh));
    assert_eq!(ports(&[part(&new)]).iter().count(), 0, "{new}");
    let again = edited(&new, &Edit::Set(PortPolicy::new(ssh)));
    assert_eq!(ports(&[part(&again)]).iter().count(), 1, "{again}");
}

#[test]
fn a_list_in_brackets_is_kept_as_one() {
    let text = "port = [{ number = 22, protocol = 'tcp', quota = 2 }] # two\ninterfaces = ['eth0']\n";
    let ssh = PortId { number: 22, protocol: Protocol::Tcp };
    assert_eq!(
        edited(text, &Edit::Set(PortPolicy { quota: 9, ..PortPolicy::new(ssh) })),
        text.replace("quota = 2", "quota = 9")
    );
    assert_eq!(
        edited(text, &Edit::Set(policy(80, Protocol::Udp))),
        text.replace("}]", "}, { number = 80, protocol = \"udp\" }]")
    );
    assert_eq!(edited(text, &Edit::Remove(ssh)), "port = [] # two\ninterfaces = ['eth0']\n");
}

#[test]
fn the_file_that_holds_the_port_is_edited_and_new_ones_go_to_the_first() {
    let parts = [
        part("interfaces = ['eth0']\n"),
        Part { path: "x".into(), text: "[[port]]\nnumber=80\nprotocol='tcp'\n".into() },
    ];
    let present = ports(&parts);
    let set = |policy| edit(&parts, &present, &Edit::Set(policy)).unwrap();
    assert_eq!(set(PortPolicy { quota: 1, ..policy(80, Protocol::Tcp) }).0, 1);
    let (place, text) = set(policy(81, Protocol::Tcp));
    assert_eq!((place, text.as_str()), (0, "interfaces = ['eth0']\n\n[[port]]\nnumber = 81\nprotocol = \"tcp\"\n"));
}

fn policies() -> impl Strategy<Value = PortPolicy> {
    let sources = prop_oneof![
        Just(vec!["0.0.0.0/0", "::/0"]),
        Just(vec!["192.0.2.0/24"]),
        Just(vec!["192.0.2.7/32", "2001:db8::/32"]),
    ];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)];
    (1..9_u16, protocol, sources, 300..=86_400_u64, any::<bool>(), 60..=604_800_u64, any::<bool>(), 1..100_u32)
        .prop_map(|(number, protocol, sources, maximum, approval, timeout, justification, quota)| PortPolicy {
            allowed_sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            max_duration: Duration::from_secs(maximum),
            approval: if approval { Approval::Required } else { Approval::Auto },
            approval_timeout: Duration::from_secs(timeout),
            justification: if justification { Justification::Optional } else { Justification::Required },
            quota,
            ..policy(number, protocol)
        })
}

/// The text of a file with one policy and a comment. The policy is in brackets or in a table.
fn written(policy: &PortPolicy, inline: bool) -> String {
    let PortId { number, protocol } = policy.id;
    let keys = policy.keys().into_iter();
    let pairs: Vec<String> = keys.map(|(key, value)| format!("{key} = {}", as_toml(value))).collect();
    if inline {
        return format!("{{ number = {number}, protocol = '{protocol}', {} }}", pairs.join(", "));
    }
    format!(
        "# about {number}/{protocol}\n[[port]]\nnumber = {number} # it\nprotocol = '{protocol}'\n{}\n",
        pairs.join(" # x\n")
    )
}

proptest! {
    #[test]
    fn the_edited_text_says_what_was_intended_and_the_rest_stays(
        list in prop::collection::btree_map(0..9_u16, policies(), 0..6),
        change in policies(),
        removes: bool,
        inline: bool,
    ) {
        let mut list: Vec<PortPolicy> = list
            .into_iter()
            .map(|(number, policy)| {
                let id = PortId { number: number + 1, ..policy.id };
                PortPolicy { id, ..policy }
            })
            .collect();
        let blocks: Vec<String> = list.iter().map(|policy| written(policy, inline)).collect();
        let text = if inline {
            format!("# top\nport = [{}] # list\ninterfaces = ['eth0']\n# end\n", blocks.join(", "))
        } else {
            let list = if list.is_empty() { "port = []\n".to_owned() } else { String::new() };
            format!("# top\n{list}interfaces = ['eth0']\n\n{}\n[roles]\nadmin = []\n# end\n", blocks.join("\n"))
        };
        let parts = [part(&text)];
        let present = ports(&parts);
        // The test keeps the protocol: the protocol is part of the policy's identity, so another protocol would be
        // another policy.
        let change = match present.for_number(change.id.number).next() {
            Some(known) => PortPolicy { id: known.id, ..change },
            None => change,
        };
        list.retain(|policy| policy.id != change.id);
        let edited = if removes {
            edit(&parts, &present, &Edit::Remove(change.id))
        } else {
            list.push(change.clone());
            edit(&parts, &present, &Edit::Set(change.clone()))
        };
        let known = present.for_port(change.id).is_some();
        prop_assert_eq!(edited.is_ok(), known || !removes);
        let Ok((_, new)) = edited else { return Ok(()) };
        prop_assert_eq!(ports(&[part(&new)]), PortPolicies::new(list).unwrap(), "{}", new);
        for (policy, block) in present.iter().zip(&blocks) {
            if policy.id != change.id {
                prop_assert!(new.contains(block), "{} is not in\n{}", block, new);
            }
        }
        for line in ["# top", "interfaces = ['eth0']", "# end"] {
            prop_assert!(new.contains(line), "{}", new);
        }
        if !removes && known {
            let comment = format!("number = {} # it", change.id.number);
            prop_assert!(inline || new.contains(&comment), "{}", new);
        }
    }
}

#[test]
fn the_mode_is_set_where_it_is_and_else_in_the_first_file_and_all_else_stays() {
    let set = |texts: &[&str], mode| {
        let parts: Vec<Part> = texts.iter().map(|text| part(text)).collect();
        set_mode(&parts, mode).unwrap()
    };
    let commented = "mode  =  'observe' # for now\ninterfaces = ['eth0']\n";
    let expected = "mode  =  \"enforce\" # for now\ninterfaces = ['eth0']\n";
    assert_eq!(set(&["# first\n", commented], Mode::Enforce), (1, expected.to_owned()));
    assert_eq!(set(&[commented], Mode::Observe), (0, commented.to_owned()), "however it is spelt");
    let (place, new) = set(&[COMMENTED], Mode::Enforce);
    assert_eq!((place, new.replace("mode = \"enforce\"\n", "")), (0, COMMENTED.to_owned()));
    assert_eq!(files::parse(&[part(&new)]).unwrap().config.mode, Mode::Enforce);
    assert!(set_mode(&[part("mode =")], Mode::Enforce).is_err());
}
