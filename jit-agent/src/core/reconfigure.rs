//! Replacing the present configuration by a new one: the effects of the change, and carrying it out without a gap.

use jit_api::wire::Effects;
use jit_policy::{Actor, Protection, Scope};

use super::{Core, live::LiveGrants, refusal::NotReconfigured, settings::Settings};
use crate::config::{
    Config,
    opening::{self, Opened},
};

/// Returns what is protected now and would be unprotected under a new configuration.
pub(super) fn opened(settings: &Settings, live: &LiveGrants, new: &Config) -> Vec<Opened> {
    let mut opened = opening::opened(settings.config(), new);
    opened.extend(live.datapath().left_out(&new.interfaces).iter().map(|name| Opened::interface(name)));
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
    let all = one.scope == Scope::All || other.scope == Scope::All;
    Protection {
        ports,
        enforce_until: one.enforce_until.max(other.enforce_until),
        drop_fragments: one.drop_fragments || other.drop_fragments,
        scope: if all { Scope::All } else { Scope::Local },
        break_glass: one.break_glass.iter().filter(|source| other.break_glass.contains(source)).copied().collect(),
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
