//! Replacing the present configuration by a new one: the effects of the change, and carrying it out without a gap.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jit_api::wire::{Effects, Grant, GrantState, whole_seconds};
use jit_common::abi::{Mode, Transport};
use jit_policy::{Actor, BootTime, GrantId, PortId, PortPolicies, ProtectedPort, Protection, Protocol, Scope};

use super::{Core, Ended, backlog::Closing};
use crate::{
    config::Config,
    datapath::DatapathError,
    store::{self, Deadline, EndedGrant},
};

/// The name of the mode in the list of what a change opens.
const OBSERVE: &str = "mode=observe";
/// Why grants are shortened.
pub(super) const LESS_TIME: &str = "the configuration allows less time";

/// A port, a mode or an interface that a change leaves unprotected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The name that people use for what is opened.
    pub(super) name: String,
    /// The port number and the transports. `None`: all ports, at least of one interface.
    port: Option<(u16, Vec<Transport>)>,
}

impl Opened {
    /// Whether a name like `22`, `22/tcp`, `3389/any`, `mode=observe` or `interface=eth0` covers what is opened.
    pub(super) fn is_named_by(&self, name: &str) -> bool {
        let Some((number, transports)) = &self.port else { return name == self.name };
        let (given, protocol) = name.split_once('/').map_or((name, None), |(given, protocol)| (given, Some(protocol)));
        given.parse() == Ok(*number)
            && protocol.is_none_or(|protocol| {
                let named = protocol.parse::<Protocol>().map(Protocol::transports).unwrap_or_default();
                transports.iter().all(|transport| named.contains(transport) || transport.name() == protocol)
            })
    }
}

/// The effects of other policies on live grants.
#[derive(Default)]
struct Fates {
    ended: Vec<(GrantId, String)>,
    shortened: Vec<(GrantId, BootTime)>,
}

/// Returns what is protected now and would be unprotected on all interfaces under a new configuration.
fn opened(now: &Config, new: &Config) -> Vec<Opened> {
    let mut opened = Vec::new();
    if (now.mode, new.mode) == (Mode::Enforce, Mode::Observe) {
        opened.push(Opened { name: OBSERVE.to_owned(), port: None });
    }
    let protected = new.protection().ports;
    for policy in now.ports.iter() {
        let PortId { number, protocol } = policy.id;
        let lost =
            protocol.transports().iter().copied().filter(|one| !protected.contains(&ProtectedPort::new(number, *one)));
        let lost: Vec<Transport> = lost.collect();
        if lost.len() == protocol.transports().len() {
            opened.push(Opened { name: policy.id.to_string(), port: Some((number, lost)) });
        } else {
            opened.extend(lost.into_iter().map(|transport| Opened {
                name: format!("{number}/{}", transport.name()),
                port: Some((number, vec![transport])),
            }));
        }
    }
    opened
}

/// Returns the latest end that the policies allow for a grant, or why they don't allow the grant.
pub(super) fn latest_end(
    ports: &PortPolicies,
    port: PortId,
    source: &IpNet,
    now: BootTime,
) -> Result<BootTime, String> {
    let policy = ports.for_port(port).ok_or_else(|| format!("port {port} is no longer in the configuration"))?;
    if !policy.allows_source(source) {
        return Err(format!("{source} is no longer an allowed source of port {}", policy.id));
    }
    Ok(now.after(policy.max_duration))
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
    /// Returns what is protected now and would be unprotected under a new configuration.
    pub(super) fn opened(&self, new: &Config) -> Vec<Opened> {
        let mut opened = opened(&self.config, new);
        let interfaces = self.datapath.left_out(&new.interfaces).into_iter();
        opened.extend(interfaces.map(|name| Opened { name: format!("interface={name}"), port: None }));
        opened
    }

    /// Returns the effects of a configuration on packets and live grants.
    pub(super) fn effects(&self, new: &Config) -> Effects {
        let Fates { ended, shortened } = self.fates(&new.ports);
        let view = |id: &GrantId| Some(self.live_view(self.book.get(*id)?, self.particulars.get(id)?));
        Effects {
            opened: self.opened(new).into_iter().map(|opened| opened.name).collect(),
            ended: ended.iter().filter_map(|(id, _)| view(id)).collect(),
            shortened: shortened.iter().filter_map(|(id, end)| Some(self.until(view(id)?, *end))).collect(),
        }
    }

    /// Returns the grant's view with another end.
    fn until(&self, grant: Grant, end: BootTime) -> Grant {
        let remaining = end.since(self.clock.boot());
        let end_time_utc = self.clock.wall().saturating_add(remaining).unwrap_or(grant.end_time_utc);
        Grant { end_time_utc, remaining_seconds: whole_seconds(remaining), ..grant }
    }

    /// Returns the live grants that would end under these policies.
    pub(super) fn ended_by(&self, ports: &PortPolicies) -> Vec<GrantId> {
        self.fates(ports).ended.into_iter().map(|(id, _)| id).collect()
    }

    fn fates(&self, ports: &PortPolicies) -> Fates {
        let now = self.clock.boot();
        let mut fates = Fates::default();
        for grant in self.book.iter().filter(|grant| grant.end > now) {
            match latest_end(ports, grant.port, &grant.source, now) {
                Ok(latest) if latest < grant.end => fates.shortened.push((grant.id, latest)),
                Ok(_) => {}
                Err(reason) => fates.ended.push((grant.id, reason)),
            }
        }
        fates
    }

    /// Puts a configuration in force on behalf of `by`: first protects what is new, then ends and shortens grants, and
    /// opens last. Returns the effects, and whether all of them are written.
    ///
    /// # Errors
    /// The kernel refuses the configuration. Then the present configuration stays in force. Grants that were already
    /// ended stay ended, and the text says how many.
    pub(super) fn reconfigure(&mut self, new: Config, by: &Actor) -> Result<(Effects, bool), String> {
        self.reconfigure_from(&self.protection(), new, by)
    }

    /// Like [`reconfigure`](Self::reconfigure), but for a kernel that enforces `now`.
    pub(super) fn reconfigure_from(
        &mut self,
        now: &Protection,
        new: Config,
        by: &Actor,
    ) -> Result<(Effects, bool), String> {
        let wanted = new.protection();
        if let Err(error) = self.datapath.configure(&strictest(now, &wanted)) {
            return Err(self.go_back(now, &error));
        }
        if new.interfaces != self.config.interfaces {
            self.cover(&self.config.interfaces.or(&new.interfaces));
        }
        let opened = self.opened(&new).into_iter().map(|opened| opened.name).collect();
        let Fates { ended, shortened } = self.fates(&new.ports);
        let ended = self.end(ended, by);
        let shortened = self.shorten(shortened, by);
        if let Err(error) = self.datapath.configure(&wanted) {
            let error = self.go_back(now, &error);
            let hit = ended.len() + shortened.len();
            return Err(if hit == 0 {
                error
            } else {
                format!("{error}; grants that were ended or shortened already: {hit}")
            });
        }
        if new.interfaces != self.config.interfaces {
            self.cover(&new.interfaces);
        }
        self.config = new;
        self.keep_covered(None);
        self.write_backlog();
        let durable = self.backlog.is_empty() && self.store.is_ok();
        Ok((Effects { opened, ended, shortened }, durable))
    }

    pub(super) fn go_back(&mut self, now: &Protection, error: &DatapathError) -> String {
        if let Err(again) = self.datapath.configure(now) {
            // The kernel then enforces the stricter of both protections, as far as that could be written.
            tracing::error!(error = %again, "the configuration before could not be put in force again either");
        }
        self.cover(&self.config.interfaces.clone());
        error.to_string()
    }

    fn end(&mut self, fates: Vec<(GrantId, String)>, by: &Actor) -> Vec<Grant> {
        let mut views = Vec::new();
        let mut by_reason: BTreeMap<String, Vec<EndedGrant>> = BTreeMap::new();
        for (id, reason) in fates {
            let Some(Ended { grant, particulars, connections }) = self.take_out(id) else { continue };
            let view = self.live_view(&grant, &particulars);
            views.push(view.over(GrantState::Ended, Some(reason.clone()), self.clock.wall()));
            by_reason.entry(reason).or_default().push((id, connections));
        }
        self.settle();
        for (reason, ids) in by_reason {
            let ending = self.ending(store::GrantEnd::Ended, Some(by.clone()), &reason);
            self.record(Closing::Ended(ids, ending));
        }
        views
    }

    fn shorten(&mut self, fates: Vec<(GrantId, BootTime)>, by: &Actor) -> Vec<Grant> {
        let mut views = Vec::new();
        let mut shortened = Vec::new();
        for (id, end) in fates {
            let Some(changes) = self.book.set_end(id, end) else { continue };
            self.enforce(&changes);
            let view = self.book.get(id).zip(self.particulars.get(&id));
            let Some(view) = view.map(|(grant, particulars)| self.live_view(grant, particulars)) else { continue };
            if let Some(particulars) = self.particulars.get_mut(&id) {
                particulars.end = view.end_time_utc;
            }
            shortened.push((id, Deadline { boot: end, wall: view.end_time_utc }));
            views.push(view);
        }
        self.settle();
        self.record_shortened(shortened, Some(by.clone()), LESS_TIME);
        views
    }
}
