//! What the agent itself sets: the mode, and policies of ports. It is kept in a file of the agent's state directory, and
//! wins over the files of the owner, which the agent never writes.

use std::{fmt, path::Path};

use anyhow::Context as _;
use jit_common::abi::Mode;
use jit_policy::{PolicyError, PortId, PortPolicies, PortPolicy};
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Table;

use super::{Config, checksummed, written::port_array};

/// The file's name.
pub(crate) const NAME: &str = "policy.toml";
const ABOUT: &str = "\
# What `jitctl ports`, `jit-agent enable`, `confirm` and `disable` set. It wins over the configuration files.
# The agent writes this file: `jitctl ports reset` ends what it says of a port, or of the mode.
";

/// A change to one port policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The port gets this policy.
    Set(PortPolicy),
    /// The port's policy is removed.
    Remove(PortId),
}

impl Edit {
    /// The port whose policy changes.
    #[must_use]
    pub const fn port(&self) -> PortId {
        match self {
            Self::Set(policy) => policy.id,
            Self::Remove(id) => *id,
        }
    }
}

/// What the agent itself set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    mode: Option<Mode>,
    #[serde(default)]
    port: Vec<PortPolicy>,
    /// Ports of the owner's files that are not protected.
    #[serde(default, deserialize_with = "ports")]
    removed: Vec<PortId>,
}

/// One thing that the agent set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// The mode.
    Mode,
    /// The policy of a port.
    Port(PortId),
    /// The policy of a port that the owner's files don't have.
    Added(PortId),
    /// The removal of a port's policy.
    Removed(PortId),
}

/// As people name it: `mode` or a port like `22/tcp`.
impl fmt::Display for Override {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode => formatter.write_str("mode"),
            Self::Port(id) | Self::Added(id) | Self::Removed(id) => id.fmt(formatter),
        }
    }
}

impl Override {
    /// Whether the owner's files say something else.
    #[must_use]
    pub const fn is_conflict(self) -> bool {
        !matches!(self, Self::Added(_))
    }

    /// Whether people mean this by `mode`, `22` or `22/tcp`.
    #[must_use]
    pub fn is_named_by(self, name: &str) -> bool {
        match self {
            Self::Mode => name == "mode",
            Self::Port(id) | Self::Added(id) | Self::Removed(id) => {
                name == id.number.to_string() || name == id.to_string()
            }
        }
    }
}

impl Own {
    /// What the agent has to set, so that the owner's configuration becomes the wanted one.
    #[must_use]
    pub fn between(owners: &Config, wanted: &Config) -> Self {
        let differs = |policy: &&PortPolicy| !owners.ports.iter().any(|known| known == *policy);
        let is_removed = |policy: &&PortPolicy| !wanted.ports.iter().any(|known| known.id == policy.id);
        Self {
            mode: (wanted.mode != owners.mode).then_some(wanted.mode),
            port: wanted.ports.iter().filter(differs).cloned().collect(),
            removed: owners.ports.iter().filter(is_removed).map(|policy| policy.id).collect(),
        }
    }

    /// The owner's configuration, with what the agent set.
    ///
    /// # Errors
    /// A policy of the owner and one that the agent set are for the same packets.
    pub fn over(&self, owners: &Config) -> Result<Config, PolicyError> {
        let is_owners = |policy: &&PortPolicy| {
            !self.removed.contains(&policy.id) && !self.port.iter().any(|known| known.id == policy.id)
        };
        let ports = owners.ports.iter().filter(is_owners).chain(&self.port).cloned().collect();
        let mode = self.mode.unwrap_or(owners.mode);
        Ok(Config { mode, ports: PortPolicies::new(ports)?, ..owners.clone() })
    }

    /// What is left of a broken configuration, with what the agent set. A port whose policy can't be read stays locked.
    #[must_use]
    pub(super) fn over_salvaged(&self, salvaged: &Config) -> Config {
        let is_locked = |policy: &&PortPolicy| {
            salvaged.ports.iter().any(|known| known.allowed_sources.is_empty() && known.id.overlaps(policy.id))
        };
        let own: Vec<&PortPolicy> = self.port.iter().filter(|policy| !is_locked(policy)).collect();
        // Policies for a part of the same port are locked together.
        let is_other = |policy: &&PortPolicy| !own.iter().any(|known| known.id == policy.id);
        let others = salvaged.ports.iter().filter(is_other);
        let ports = PortPolicies::salvaged(others.chain(own.iter().copied()).cloned().collect());
        let mode = if self.mode == Some(Mode::Enforce) { Mode::Enforce } else { salvaged.mode };
        Config { mode, ports, ..salvaged.clone() }
    }

    /// What is set here, except for what is the same in the owner's configuration.
    pub fn overrides(&self, owners: &Config) -> Vec<Override> {
        let Self { mode, port, removed } = Self::between(owners, &self.over(owners).unwrap_or_else(|_| owners.clone()));
        let is_owners = |id: PortId| owners.ports.iter().any(|policy| policy.id == id);
        let ports = port.into_iter().map(|policy| policy.id);
        let ports = ports.map(|id| if is_owners(id) { Override::Port(id) } else { Override::Added(id) });
        let removed = removed.into_iter().map(Override::Removed);
        mode.map(|_| Override::Mode).into_iter().chain(ports).chain(removed).collect()
    }

    /// Whether the agent sets a key of the configuration: `mode`, `port`, or a key of a port like `22/tcp quota`.
    pub(super) fn sets(&self, key: &str) -> bool {
        match key {
            "mode" => self.mode.is_some(),
            "port" => !self.port.is_empty() || !self.removed.is_empty(),
            key => self.port.iter().any(|policy| key.starts_with(&format!("{} ", policy.id))),
        }
    }

    /// The same without what one of these names means.
    #[must_use]
    pub fn without(mut self, names: &[String]) -> Self {
        let stays = |what: Override| !names.iter().any(|name| what.is_named_by(name));
        self.mode = self.mode.filter(|_| stays(Override::Mode));
        self.port.retain(|policy| stays(Override::Port(policy.id)));
        self.removed.retain(|id| stays(Override::Removed(*id)));
        self
    }

    /// The same without what alone keeps shut what one of these names opens: a mode that enforces, and ports that the
    /// owner's files don't protect.
    #[must_use]
    pub(super) fn without_shut(mut self, owners: &Config, opened: &[String]) -> Self {
        let is_named = |what: Override| opened.iter().any(|name| what.is_named_by(name));
        let observes = opened.iter().any(|name| name == "mode=observe");
        self.mode = self.mode.filter(|mode| *mode == Mode::Observe || !observes);
        let is_owners = |policy: &PortPolicy| owners.ports.iter().any(|known| known.id.overlaps(policy.id));
        self.port.retain(|policy| is_owners(policy) || !is_named(Override::Added(policy.id)));
        self
    }

    /// The same without what opens: without removed ports, and without a mode that observes.
    #[must_use]
    pub(super) fn shutting(self) -> Self {
        Self { mode: self.mode.filter(|mode| *mode == Mode::Enforce), removed: Vec::new(), ..self }
    }

    /// The file's text; `None`: the agent set nothing, and there is no file.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let Self { mode, port, removed } = self;
        let mut table = Table::new();
        if let Some(mode) = mode {
            table.insert("mode".to_owned(), mode.name().into());
        }
        if !removed.is_empty() {
            table.insert("removed".to_owned(), removed.iter().map(ToString::to_string).collect::<Vec<_>>().into());
        }
        if !port.is_empty() {
            table.insert("port".to_owned(), port_array(port));
        }
        (!table.is_empty()).then(|| format!("{ABOUT}{table}"))
    }
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PortId>, D::Error> {
    let port = |text: &String| {
        let (number, protocol) = text.split_once('/')?;
        Some(PortId { number: number.parse().ok()?, protocol: protocol.parse().ok()? })
    };
    let texts = Vec::<String>::deserialize(deserializer)?;
    let ports = texts.iter().map(|text| port(text).ok_or_else(|| D::Error::custom(format!("`{text}` is no port"))));
    ports.collect()
}

/// The text of the file in this directory; `None`: there is none.
pub(super) fn text(state: &Path) -> anyhow::Result<Option<String>> {
    checksummed::read_if_any(state, NAME)
}

/// Reads the text of the file.
pub(super) fn parse(state: &Path, text: &str) -> anyhow::Result<Own> {
    let own: Own = toml::from_str(text).with_context(|| state.join(NAME).display().to_string())?;
    // The policies are checked as those of the owner are.
    PortPolicies::new(own.port.clone()).with_context(|| state.join(NAME).display().to_string())?;
    Ok(own)
}

/// Writes the file, or removes it if there is nothing to say.
pub(super) fn keep(state: &Path, text: Option<&str>) -> anyhow::Result<()> {
    match text {
        Some(text) => checksummed::write(state, NAME, text),
        None => checksummed::remove(state, NAME),
    }
}

#[cfg(test)]
mod tests;
