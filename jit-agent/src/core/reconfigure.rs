//! Replacing the present configuration by a new one: the effects of the change, and carrying it out without a gap.

use std::net::IpAddr;

use ipnet::IpNet;
use jit_api::wire::Effects;
use jit_common::abi::{Mode, Transport};
use jit_policy::{Actor, Fragments, PortId, ProtectedPort, Protection, Protocol, Scope};

use super::{Core, live::LiveGrants, refusal::NotReconfigured, settings::Settings};
use crate::config::Config;

/// The name of the mode in the list of what a change opens.
const OBSERVE: &str = "mode=observe";
/// The beginning of the name of a break-glass source in that list.
const BREAK_GLASS: &str = "break_glass=";

/// What a change leaves unprotected, or admits without a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The name that people use for what is opened.
    pub(super) name: String,
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
    fn other(name: String) -> Self {
        Self { name, what: What::Other }
    }

    /// Whether a name like `22`, `22/tcp`, `3389/any`, `mode=observe`, `interface=eth0`, `break_glass=192.0.2.7`,
    /// `scope=local` or `fragments=pass` covers what is opened.
    pub(super) fn is_named_by(&self, name: &str) -> bool {
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

/// Returns what is protected now and would be unprotected on all interfaces under a new configuration.
fn opened_everywhere(now: &Config, new: &Config) -> Vec<Opened> {
    let mut opened = Vec::new();
    if (now.mode, new.mode) == (Mode::Enforce, Mode::Observe) {
        opened.push(Opened::other(OBSERVE.to_owned()));
    }
    let protected = new.protection().ports;
    for policy in now.ports.iter() {
        let PortId { number, protocol } = policy.id;
        let lost =
            protocol.transports().iter().copied().filter(|one| !protected.contains(&ProtectedPort::new(number, *one)));
        let lost: Vec<Transport> = lost.collect();
        if lost.len() == protocol.transports().len() {
            opened.push(Opened { name: policy.id.to_string(), what: What::Port(number, lost) });
        } else {
            opened.extend(lost.into_iter().map(|transport| Opened {
                name: format!("{number}/{}", transport.name()),
                what: What::Port(number, vec![transport]),
            }));
        }
    }
    if (now.mode, new.mode) == (Mode::Enforce, Mode::Enforce) {
        opened.extend(loosened(now, new));
    }
    opened
}

/// Returns what an enforcing host would admit without a grant under a new configuration that enforces too, although all
/// ports stay protected.
fn loosened(now: &Config, new: &Config) -> Vec<Opened> {
    let is_new = |prefix: &&IpNet| !now.break_glass.iter().any(|known| known.contains(*prefix));
    let break_glass = new.break_glass.iter().filter(is_new);
    let mut loosened: Vec<Opened> = break_glass
        .map(|prefix| Opened { name: format!("{BREAK_GLASS}{prefix}"), what: What::BreakGlass(*prefix) })
        .collect();
    if (now.scope, new.scope) == (Scope::All, Scope::Local) {
        loosened.push(Opened::other("scope=local".to_owned()));
    }
    if (now.fragments, new.fragments) == (Fragments::Drop, Fragments::Pass) {
        loosened.push(Opened::other("fragments=pass".to_owned()));
    }
    loosened
}

/// Returns what is protected now and would be unprotected under a new configuration.
pub(super) fn opened(settings: &Settings, live: &LiveGrants, new: &Config) -> Vec<Opened> {
    let mut opened = opened_everywhere(settings.config(), new);
    let interfaces = live.datapath().left_out(&new.interfaces).into_iter();
    opened.extend(interfaces.map(|name| Opened::other(format!("interface={name}"))));
    opened
}

/// Returns the effects of a configuration on packets and live grants.
pub(super) fn effects(settings: &Settings, live: &LiveGrants, new: &Config) -> Effects {
    let (ended, shortened) = live.effects_of(&new.ports);
    Effects { opened: opened(settings, live, new).into_iter().map(|opened| opened.name).collect(), ended, shortened }
}

/// Returns a protection that refuses everything that at least one of the two protections refuses.
pub(super) fn strictest(one: &Protection, other: &Protection) -> Protection {
    let mut ports = one.ports.clone();
    ports.extend(other.ports.iter().filter(|port| !one.ports.contains(port)));
    let enforces = one.mode == Mode::Enforce || other.mode == Mode::Enforce;
    let all = one.scope == Scope::All || other.scope == Scope::All;
    Protection {
        ports,
        mode: if enforces { Mode::Enforce } else { Mode::Observe },
        drop_fragments: one.drop_fragments || other.drop_fragments,
        scope: if all { Scope::All } else { Scope::Local },
        break_glass: one.break_glass.iter().filter(|source| other.break_glass.contains(source)).copied().collect(),
        // A trial must end by itself, whatever happens to the agent meanwhile. Neither of the two protections opens
        // anything before the later end.
        trial_until: one.trial_until.max(other.trial_until),
    }
}

impl Core {
    /// Puts a configuration in force on behalf of `by`: first protects what is new, then ends and shortens grants, and
    /// opens last. `now` is what the kernel enforces now. Returns the effects, and whether all of them are written.
    ///
    /// # Errors
    /// The kernel refuses the configuration. Then the present configuration stays in force. Grants that were already
    /// ended stay ended, and the text says how many.
    pub(super) fn reconfigure(
        &mut self,
        now: &Protection,
        new: Config,
        by: &Actor,
    ) -> Result<(Effects, bool), NotReconfigured> {
        let Self { settings, live, records, enforcement, .. } = self;
        let (wanted, interfaces) = (new.protection(), &settings.config().interfaces);
        if let Err(error) = live.datapath_mut().configure(&strictest(now, &wanted)) {
            enforcement.restore(live, records, (now, interfaces));
            return Err(NotReconfigured { error: error.into(), hit: 0 });
        }
        if new.interfaces != *interfaces {
            enforcement.cover(live, records, &interfaces.or(&new.interfaces));
        }
        let opened = opened(settings, live, &new).into_iter().map(|opened| opened.name).collect();
        let (ended, shortened) = live.apply_policies(&new.ports, Some(by), records);
        if let Err(error) = live.datapath_mut().configure(&wanted) {
            enforcement.restore(live, records, (now, interfaces));
            return Err(NotReconfigured { error: error.into(), hit: ended.len() + shortened.len() });
        }
        // A trial may cover more interfaces than the configuration in force.
        enforcement.cover(live, records, &new.interfaces);
        settings.replace(new);
        self.keep_covered(None);
        self.records.write_backlog();
        Ok((Effects { opened, ended, shortened }, self.records.are_written()))
    }
}
