//! What one configuration leaves open that another configuration keeps shut.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use jit_common::abi::{Mode, Transport};
use jit_policy::{Fragments, Interfaces, Pattern, PortId, PortPolicies, PortPolicy, Protocol, Scope};

use super::Config;

/// The name of the mode in the list of what a change opens.
const OBSERVE: &str = "mode=observe";
/// The beginning of the name of a break-glass source in that list.
const BREAK_GLASS: &str = "break_glass=";

/// What a change leaves unprotected, or admits without a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The name that people use for what is opened.
    pub(crate) name: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A port number, for these transports.
    Port(u16, Vec<Transport>),
    /// All ports, for a source that is always admitted.
    BreakGlass(IpNet),
    /// All ports, at least of one interface or for some packets.
    Other,
}

impl Opened {
    fn other(name: &str) -> Self {
        Self { name: name.to_owned(), what: What::Other }
    }

    /// All ports of an interface.
    pub(crate) fn interface(name: &str) -> Self {
        Self::other(&format!("interface={name}"))
    }

    /// Whether a name like `22`, `22/tcp`, `3389/any`, `mode=observe`, `interface=eth0`, `break_glass=192.0.2.7`,
    /// `scope=local` or `fragments=pass` covers what is opened.
    pub(crate) fn is_named_by(&self, name: &str) -> bool {
        match &self.what {
            What::Other => name == self.name,
            What::BreakGlass(prefix) => {
                let given = name.strip_prefix(BREAK_GLASS).unwrap_or_default();
                given.parse() == Ok(*prefix) || given.parse::<IpAddr>().map(IpNet::from).as_ref() == Ok(prefix)
            }
            What::Port(number, transports) => {
                let (given, protocol) =
                    name.split_once('/').map_or((name, None), |(given, protocol)| (given, Some(protocol)));
                given.parse() == Ok(*number)
                    && protocol.is_none_or(|protocol| {
                        let named = protocol.parse::<Protocol>().map(Protocol::transports).unwrap_or_default();
                        transports.iter().all(|transport| named.contains(transport) || transport.name() == protocol)
                    })
            }
        }
    }
}

/// What a new configuration would open, as far as that can be told without the host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Openings {
    /// The names by which a reload may open.
    pub(crate) named: Vec<String>,
    /// The entries of `interfaces` that the new configuration lacks.
    pub(crate) interfaces: Vec<String>,
}

impl Openings {
    /// Nothing is dropped any more.
    pub(crate) fn observe() -> Self {
        Self { named: vec![OBSERVE.to_owned()], interfaces: Vec::new() }
    }

    /// What a configuration keeps shut and a new configuration would open.
    pub(crate) fn between(now: &Config, new: &Config) -> Self {
        let named = opened(now, new).into_iter().map(|opened| opened.name).collect();
        Self { named, interfaces: left_out(&now.interfaces, &new.interfaces) }
    }

    /// Whether nothing would be opened.
    pub(crate) const fn is_empty(&self) -> bool {
        self.named.is_empty() && self.interfaces.is_empty()
    }
}

impl fmt::Display for Openings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interfaces = self.interfaces.iter().map(|pattern| format!("interfaces = \"{pattern}\""));
        let all: Vec<String> = self.named.iter().cloned().chain(interfaces).collect();
        formatter.write_str(&all.join(", "))
    }
}

/// What a configuration keeps shut and a new configuration would open, whatever interfaces the host has. The interfaces
/// themselves are not compared.
pub(crate) fn opened(now: &Config, new: &Config) -> Vec<Opened> {
    // Each key is here by name, so that a new key can't be forgotten.
    let Config {
        mode,
        interfaces: _,
        fragments,
        scope,
        break_glass,
        // These keys let no packet pass.
        places: _,
        metrics_listen: _,
        ports,
        retention: _,
        roles: _,
        people: _,
    } = new;
    let mut opened = Vec::new();
    if (now.mode, *mode) == (Mode::Enforce, Mode::Observe) {
        opened.push(Opened::other(OBSERVE));
    }
    for policy in now.ports.iter() {
        let PortId { number, protocol } = policy.id;
        let lost = lost(policy.id, ports);
        if lost.len() == protocol.transports().len() {
            opened.push(Opened { name: policy.id.to_string(), what: What::Port(number, lost) });
        } else {
            opened.extend(lost.into_iter().map(|transport| Opened {
                name: format!("{number}/{}", transport.name()),
                what: What::Port(number, vec![transport]),
            }));
        }
    }
    if (now.mode, *mode) == (Mode::Enforce, Mode::Enforce) {
        let is_new = |prefix: &&IpNet| !now.break_glass.iter().any(|known| known.contains(*prefix));
        let admitted = break_glass.iter().filter(is_new);
        opened.extend(
            admitted.map(|prefix| Opened { name: format!("{BREAK_GLASS}{prefix}"), what: What::BreakGlass(*prefix) }),
        );
        if (now.scope, *scope) == (Scope::All, Scope::Local) {
            opened.push(Opened::other("scope=local"));
        }
        if (now.fragments, *fragments) == (Fragments::Drop, Fragments::Pass) {
            opened.push(Opened::other("fragments=pass"));
        }
    }
    opened
}

/// The entries of `interfaces` that a new list lacks. Without the host's interfaces it can't be told what they cover, so
/// an entry is only taken to be in the new list if a glance at both texts shows it.
fn left_out(now: &Interfaces, new: &Interfaces) -> Vec<String> {
    let is_in_new = |pattern: &Pattern| {
        new.iter().any(|other| match (pattern, other) {
            (Pattern::Name(name), Pattern::Glob(glob)) => glob.matches(name),
            _ => pattern == other,
        })
    };
    now.iter().filter(|pattern| !is_in_new(pattern)).map(ToString::to_string).collect()
}

/// The new configuration, as far as it opens nothing that the present configuration keeps shut. Where it would, this
/// key is that of the present configuration.
pub(crate) fn stricter(now: &Config, new: &Config) -> Config {
    Config {
        mode: if now.mode == Mode::Enforce { Mode::Enforce } else { new.mode },
        interfaces: new.interfaces.or(&now.interfaces),
        fragments: if now.fragments == Fragments::Drop { Fragments::Drop } else { new.fragments },
        scope: if now.scope == Scope::All { Scope::All } else { new.scope },
        break_glass: in_both(&now.break_glass, &new.break_glass),
        ports: all_protected(&now.ports, &new.ports),
        // The other keys let no packet pass.
        ..new.clone()
    }
}

/// The sources that are in both lists.
fn in_both(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let within = |inner: &[IpNet], outer: &[IpNet]| -> Vec<IpNet> {
        inner.iter().filter(|prefix| outer.iter().any(|known| known.contains(*prefix))).copied().collect()
    };
    let mut both = within(one, other);
    both.extend(within(other, one));
    both.sort_unstable();
    both.dedup();
    both
}

/// The new policies, with a policy for each port that only the present policies protect. A new policy that protects only
/// a part of a port stays in force for all of the port.
fn all_protected(now: &PortPolicies, new: &PortPolicies) -> PortPolicies {
    let mut all: Vec<PortPolicy> = new.iter().cloned().collect();
    for policy in now.iter().filter(|policy| !lost(policy.id, new).is_empty()) {
        let for_a_part = all.iter().position(|other| other.id.overlaps(policy.id)).map(|place| all.remove(place));
        all.retain(|other| !other.id.overlaps(policy.id));
        all.push(PortPolicy { id: policy.id, ..for_a_part.unwrap_or_else(|| policy.clone()) });
    }
    PortPolicies::salvaged(all)
}

/// The transports of a port that these policies don't protect.
fn lost(port: PortId, policies: &PortPolicies) -> Vec<Transport> {
    let transports = port.protocol.transports().iter().copied();
    transports.filter(|transport| policies.for_transport(port.number, *transport).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "
        mode = 'enforce'
        interfaces = ['auto', 'eth0']
        scope = 'all'
        fragments = 'drop'
        break_glass = ['192.0.2.0/24']
        retention = '30d'
        [[port]]
        number = 22
        protocol = 'any'
        quota = 7
        [roles]
        viewer = ['ann']
    ";

    fn config(text: &str) -> Config {
        Config::parse(text, "").unwrap()
    }

    fn ports(config: &Config) -> Vec<String> {
        config.ports.iter().map(|policy| format!("{} {}", policy.id, policy.quota)).collect()
    }

    /// For each key: a value that opens, or `None` for a key that can't open anything.
    const KEYS: [(&str, Option<(&str, &str)>); 13] = [
        ("mode", Some(("mode = 'enforce'", "mode = 'observe'"))),
        ("interfaces", Some(("['auto', 'eth0']", "['eth*']"))),
        ("scope", Some(("scope = 'all'", "scope = 'local'"))),
        ("fragments", Some(("fragments = 'drop'", "fragments = 'pass'"))),
        ("break_glass", Some(("192.0.2.0/24", "192.0.0.0/16"))),
        ("port", Some(("number = 22", "number = 23"))),
        ("socket", None),
        ("state_dir", None),
        ("bpffs_dir", None),
        ("metrics_listen", None),
        ("retention", None),
        ("roles", None),
        ("people", None),
    ];

    #[test]
    fn of_every_key_that_can_open_the_stricter_value_stays() {
        let now = config(NOW);
        // A key that is missing here was added to the configuration since.
        let mut known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        known.sort_unstable();
        assert_eq!(now.written().keys().map(String::as_str).collect::<Vec<_>>(), known);
        for (key, (from, to)) in KEYS.into_iter().filter_map(|(key, opens)| Some((key, opens?))) {
            assert!(NOW.contains(from), "{from}");
            let new = config(&NOW.replace(from, to));
            let names: Vec<String> = opened(&now, &new).into_iter().map(|opened| opened.name).collect();
            let all = [names, left_out(&now.interfaces, &new.interfaces)].concat();
            assert!(!all.is_empty(), "{key}");
            let stricter = stricter(&now, &new);
            let (opened, left_out) = (opened(&now, &stricter), left_out(&now.interfaces, &stricter.interfaces));
            assert_eq!((opened, left_out), (Vec::new(), Vec::new()), "{key}");
            // Nothing is more open than in the new configuration either.
            assert_eq!(super::opened(&new, &stricter), [], "{key}");
        }
    }

    #[test]
    fn what_shuts_more_or_opens_nothing_is_that_of_the_new_configuration() {
        let new = config("mode = 'enforce'\nbreak_glass = ['192.0.2.7', '10.0.0.0/8']\nfragments = 'pass'\nport = []");
        let stricter = stricter(&config(NOW), &new);
        assert_eq!((stricter.retention, &stricter.roles), (new.retention, &new.roles));
        assert_eq!(stricter.break_glass, config("break_glass = ['192.0.2.7']").break_glass);
        assert_eq!(ports(&stricter), ["22/any 7"]);
    }

    #[test]
    fn a_policy_for_a_part_of_a_port_stays_in_force_for_all_of_it() {
        let with = |ports: &str| config(&format!("mode = 'enforce'\n{ports}"));
        let part = with("[[port]]\nnumber = 22\nprotocol = 'tcp'\nquota = 3\n[[port]]\nnumber = 80\nprotocol = 'tcp'");
        assert_eq!(ports(&stricter(&config(NOW), &part)), ["22/any 3", "80/tcp 32"]);
        let other = "[[port]]\nnumber = 22\nprotocol = 'tcp'\n[[port]]\nnumber = 22\nprotocol = 'udp'\nquota = 3";
        assert_eq!(ports(&stricter(&config(NOW), &with(other))), ["22/any 32"]);
        let (tcp, udp) =
            (with("[[port]]\nnumber = 22\nprotocol = 'tcp'"), with("[[port]]\nnumber = 22\nprotocol = 'udp'"));
        assert_eq!(ports(&stricter(&tcp, &udp)), ["22/tcp 32", "22/udp 32"]);
    }

    #[test]
    fn an_entry_of_interfaces_is_left_out_unless_a_glance_shows_that_it_is_not() {
        let list = |texts: &[&str]| Interfaces::parse(texts).unwrap();
        for (now, new, expected) in [
            (&["eth0"][..], &["eth*"][..], &[][..]),
            (&["auto", "lo"], &["lo", "auto", "br0"], &[]),
            (&["auto"], &["eth0"], &["auto"]),
            (&["eth*"], &["eth0"], &["eth*"]),
            (&["eth0"], &["auto"], &["eth0"]),
        ] {
            assert_eq!(left_out(&list(now), &list(new)), expected, "{now:?} {new:?}");
        }
    }
}
