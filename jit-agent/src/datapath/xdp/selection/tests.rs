use super::*;

/// A card with its index.
fn card(index: u32, name: &str) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        link_type: link_type::ETHERNET,
        is_up: true,
        mtu: 1500,
        ..Interface::default()
    }
}

fn made(index: u32, name: &str, kind: &str) -> Interface {
    Interface { kind: kind.to_owned(), ..card(index, name) }
}

fn of(master: u32, interface: Interface) -> Interface {
    Interface { master: Some(master), ..interface }
}

fn over(lower: u32, interface: Interface) -> Interface {
    Interface { lower: Some(lower), ..interface }
}

fn with_address(interface: Interface) -> Interface {
    Interface { addresses: vec!["192.0.2.1/24".parse().unwrap()], ..interface }
}

fn loopback() -> Interface {
    let loopback = Interface { is_loopback: true, link_type: link_type::LOOPBACK, ..card(1, "lo") };
    with_address(loopback)
}

fn patterns(texts: &[&str]) -> Interfaces {
    Interfaces::parse(texts).unwrap()
}

fn selected(all: &[Interface], texts: &[&str]) -> Vec<String> {
    Selection::of(all, &patterns(texts)).selected.into_iter().map(|selected| selected.interface.name).collect()
}

/// Names of the uncovered interfaces where all that is selected is covered.
fn unseen(all: &[Interface], texts: &[&str]) -> Vec<(String, String)> {
    let selection = Selection::of(all, &patterns(texts));
    let uncovered = uncovered(all, &selection, |index| selection.contains(index));
    uncovered.into_iter().map(|one| (one.interface.name.clone(), one.reason)).collect()
}

/// A host with most of what there is.
fn host() -> Vec<Interface> {
    vec![
        loopback(),
        with_address(card(2, "eth0")),
        over(2, with_address(made(3, "eth0.5", "vlan"))),
        with_address(made(4, "bond0", "bond")),
        of(4, card(5, "eth1")),
        of(4, card(6, "eth2")),
        over(4, with_address(made(7, "bond0.7", "vlan"))),
        with_address(made(8, "br0", "bridge")),
        of(8, made(9, "veth9", "veth")),
        of(8, made(10, "vxlan10", "vxlan")),
    ]
}

#[test]
fn auto_covers_the_lowest_device_of_each_path() {
    assert_eq!(selected(&host(), &["auto"]), ["eth0", "eth1", "eth2", "veth9", "vxlan10"]);
    assert_eq!(unseen(&host(), &["auto"]), []);
}

#[test]
fn a_vlan_whose_parent_is_in_another_namespace_is_the_lowest_device_here() {
    assert_eq!(selected(&[with_address(made(3, "eth0.5", "vlan"))], &["auto"]), ["eth0.5"]);
}

#[test]
fn auto_covers_what_siblings_reach_without_the_device_below() {
    let all = [card(2, "eth0"), over(2, with_address(made(3, "mv0", "macvlan"))), over(2, made(4, "iv0", "ipvlan"))];
    assert_eq!(selected(&all, &["auto"]), ["eth0", "mv0", "iv0"]);
}

#[test]
fn auto_covers_tunnels_over_which_something_can_come() {
    let fallback = |index, name: &str, kind: &str| Interface {
        is_up: false,
        link_type: link_type::TUNNEL,
        ..made(index, name, kind)
    };
    let tun = |index, name: &str| Interface { link_type: link_type::NONE, ..fallback(index, name, "tun") };
    let all = [
        fallback(2, "tunl0", "ipip"),
        with_address(tun(3, "tun0")),
        Interface { is_up: true, ..tun(4, "tun1") },
        tun(5, "tun2"),
        of(9, Interface { is_up: false, ..made(6, "vxlan0", "vxlan") }),
    ];
    assert_eq!(selected(&all, &["auto"]), ["tun0", "tun1", "vxlan0"]);
    let layers: Vec<_> = Selection::of(&all, &patterns(&["auto"])).selected.into_iter().map(|one| one.layer).collect();
    assert_eq!(layers, [Ok(Layer::Network), Ok(Layer::Network), Ok(Layer::Ethernet)]);
}

#[test]
fn devices_over_which_nothing_comes_are_covered_only_with_an_address() {
    for kind in ["dummy", "ifb", "nlmon"] {
        let all = [made(2, "x0", kind), with_address(made(3, "x1", kind))];
        assert_eq!(selected(&all, &["auto"]), ["x1"], "{kind}");
    }
}

#[test]
fn what_is_named_is_covered_whatever_it_is() {
    assert_eq!(selected(&host(), &["lo", "br0", "bond0.7"]), ["lo", "bond0.7", "br0"]);
}

#[test]
fn a_named_bond_is_covered_by_its_members() {
    assert_eq!(selected(&host(), &["bond0"]), ["eth1", "eth2"]);
    assert_eq!(selected(&host(), &["bond*"]), ["eth1", "eth2", "bond0.7"]);
    assert_eq!(
        Selection::of(&[made(4, "bond0", "bond")], &patterns(&["bond0"])),
        Selection::default(),
        "without members yet"
    );
}

#[test]
fn a_glob_stands_for_what_matches_but_not_for_loopback() {
    assert_eq!(selected(&host(), &["eth?"]), ["eth0", "eth1", "eth2"]);
    assert!(!selected(&host(), &["*"]).contains(&"lo".to_owned()));
}

#[test]
fn entries_that_stand_for_nothing_are_told() {
    let unmatched = |all: &[Interface], texts: &[&str]| -> Vec<String> {
        Selection::of(all, &patterns(texts)).unmatched.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(unmatched(&host(), &["eth9", "eth0", "wg*"]), ["eth9"], "a glob may wait, as something is covered");
    assert_eq!(unmatched(&[loopback()], &["auto", "wg*"]), ["auto", "wg*"]);
}

#[test]
fn what_is_left_out_is_told_with_what_lets_packets_in() {
    let left_out = |name: &str| format!("{name} below it is left out by `interfaces`");
    let is = "is left out by `interfaces`".to_owned();
    let expected = [
        ("eth0", is),
        ("eth0.5", left_out("eth0")),
        ("bond0", left_out("eth2")),
        ("bond0.7", left_out("eth2")),
        ("br0", left_out("vxlan10")),
    ];
    let expected = expected.map(|(name, reason)| (name.to_owned(), reason));
    assert_eq!(unseen(&host(), &["eth1", "veth*"]), expected);
}

#[test]
fn a_member_that_could_not_be_covered_leaves_the_bond_uncovered() {
    let all = host();
    let selection = Selection::of(&all, &patterns(&["auto"]));
    let uncovered = uncovered(&all, &selection, |index| [2, 5, 9, 10].contains(&index));
    let found: Vec<_> = uncovered.iter().map(|one| (one.interface.name.as_str(), one.is_selected)).collect();
    assert_eq!(found, [("bond0", true), ("bond0.7", true)]);
    assert_eq!(uncovered[0].reason, "eth2 below it could not be covered");
}

#[test]
fn packets_that_the_program_can_not_read_are_told() {
    let infiniband = Interface { link_type: 32, ..card(2, "ib0") };
    let selection = Selection::of(&[infiniband], &patterns(&["auto"]));
    assert!(selection.selected[0].layer.unwrap_err().to_string().contains("link type 32"));
}

#[test]
fn a_circle_of_interfaces_ends_the_search() {
    let all = [of(2, with_address(made(1, "br1", "bridge"))), of(1, made(2, "br2", "bridge"))];
    assert_eq!(uncovered(&all, &Selection::default(), |_| false), []);
}
