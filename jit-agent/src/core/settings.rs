//! The configuration in force, its files, and the roles of users.

use std::path::Path;

use jit_common::abi::Mode;
use jit_policy::{Packet, PortId, PortPolicies, PortPolicy, Right};

use super::{
    names::{APPROVERS, Named, Names, Permit},
    origin::{Changed, Origin},
    peer::Peer,
    records::budgets::Payer,
    refusal::{ChangeRefusal, OtherFiles, Refusal, Unavailable},
    shared_access::SharedAccess,
};
use crate::{
    config::{
        Config, accepted,
        files::{self, Loaded},
        own::{Edit, Override},
    },
    warnings::Warn,
};

/// The configuration in force, its files, and the roles of users.
pub(super) struct Settings {
    config: Config,
    names: Names,
    origin: Origin,
    /// What was broken at the start.
    faults: Vec<String>,
    /// Why metrics are not served.
    metrics_fault: Option<String>,
    warnings: Warn,
}

impl Settings {
    pub(super) const fn new(config: Config, names: Names, origin: Origin, faults: Vec<String>, warnings: Warn) -> Self {
        Self { config, names, origin, faults, metrics_fault: None, warnings }
    }

    /// The configuration in force.
    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    /// The port policies in force.
    pub(super) const fn ports(&self) -> &PortPolicies {
        &self.config.ports
    }

    /// The directory of the agent's own files.
    pub(super) fn state(&self) -> &Path {
        &self.config.places.state
    }

    /// The main configuration file.
    pub(super) fn path(&self) -> &Path {
        &self.origin.path
    }

    /// The files in force. `None`: the files on disk could not be used.
    pub(super) const fn files(&self) -> Option<&files::Origin> {
        self.origin.files.as_ref()
    }

    /// The version of the list of port policies.
    pub(super) fn version(&self) -> String {
        files::version(&self.config.ports, self.files())
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let own = self.faults.iter().chain(&self.metrics_fault).chain(self.origin.faults()).cloned();
        own.chain(self.names.faults())
    }

    /// Returns the work that finds what the configuration in force is warned about. It looks at the host, which may
    /// take a while.
    pub(super) fn warnings(&self) -> impl FnOnce() -> Vec<String> + Send + use<> {
        let (find, config) = (self.warnings, self.config.clone());
        let former_default = |key: &String| {
            format!(
                "`{key}` is in no file and keeps the default of the version that accepted it, because this version has \
                 another default; write the key with the value that you want"
            )
        };
        let overrides = self.origin.overrides.iter().filter(|(what, _)| what.is_conflict());
        let overrides = overrides.map(|(_, text)| text.clone());
        let of_files: Vec<String> = self.origin.former_defaults.iter().map(former_default).chain(overrides).collect();
        move || find(&config).into_iter().chain(of_files).collect()
    }

    /// Whether the agent itself set the policy of a port.
    pub(super) fn is_own(&self, id: PortId) -> bool {
        let is_set = |what: &Override| *what == Override::Port(id) || *what == Override::Added(id);
        self.origin.overrides.iter().any(|(what, _)| is_set(what))
    }

    /// Returns a refusal if the agent set nothing of one of these names.
    pub(super) fn check_set(&self, names: &[String]) -> Result<(), Refusal> {
        let is_set = |name: &str| self.origin.overrides.iter().any(|(what, _)| what.is_named_by(name));
        // Without files in force, it is not known what the agent set.
        let unset = names.iter().find(|name| self.files().is_some() && !is_set(name));
        unset.map_or(Ok(()), |name| Err(ChangeRefusal::NotSet(name.clone()).into()))
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    pub(super) const fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// The roles, as the server sees them.
    pub(super) fn shared_access(&self) -> SharedAccess {
        self.names.shared()
    }

    /// Whether the peer has a right by any of its roles.
    pub(super) fn has(&self, peer: &Peer, right: Right) -> bool {
        self.names.has(peer, right)
    }

    /// Who pays for what this peer writes.
    pub(super) fn payer(&self, peer: &Peer) -> Payer {
        if self.has(peer, Right::Administer) {
            Payer::Unlimited
        } else if self.names.is_delegate(peer) {
            Payer::Delegate(peer.uid)
        } else {
            Payer::Person(peer.uid)
        }
    }

    /// Returns a refusal if the peer lacks a right.
    pub(super) fn check(&self, peer: &Peer, right: Right) -> Result<(), Refusal> {
        self.names.check(peer, right)
    }

    /// Returns a refusal if the policy of one of these ports leaves the peer out. The lists narrow a role for everybody but
    /// admins.
    pub(super) fn check_listed(
        &self,
        peer: &Peer,
        ports: impl Iterator<Item = PortId>,
        key: &'static str,
    ) -> Result<(), Refusal> {
        if self.has(peer, Right::Administer) {
            return Ok(());
        }
        for policy in ports.filter_map(|port| self.config.ports.for_port(port)) {
            let names = if key == APPROVERS { &policy.approvers } else { &policy.requesters };
            if !self.names.is_listed(peer, names) {
                self.names.note_refused();
                let (name, port) = (peer.name.clone(), policy.id);
                return Err(Refusal::NotListed { name, uid: peer.uid, port, key });
            }
        }
        Ok(())
    }

    /// Returns a right of a peer, which the peer may lose later.
    ///
    /// # Errors
    /// The peer lacks the right.
    pub(super) fn permit(&self, peer: &Peer, right: Right) -> Result<Permit, Refusal> {
        self.check(peer, right)?;
        Ok(self.names.permit(peer, right))
    }

    /// The user to whose own requests and grants this peer's view is restricted. `None`: the peer may see everything.
    pub(super) fn only_own(&self, peer: &Peer) -> Result<Option<u32>, Refusal> {
        self.check(peer, Right::Look)?;
        Ok((!self.has(peer, Right::ReadAll)).then_some(peer.uid))
    }

    /// Returns the names of the connected delegates, except for the peer who asks.
    pub(super) fn delegates(&self, asking: &Peer, connected: &[Peer]) -> Vec<String> {
        let others = connected.iter().filter(|peer| peer.uid != asking.uid && self.names.is_delegate(peer));
        let mut names: Vec<String> = others.map(|peer| peer.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the policy that protects a packet's port.
    pub(super) fn policy_for(&self, packet: &Packet) -> Option<&PortPolicy> {
        self.config.ports.for_transport(packet.number, packet.transport)
    }

    /// Returns the files with one change of a port policy.
    ///
    /// # Errors
    /// The change does not fit the present policies; a file was edited since it was loaded.
    pub(super) fn edited(&self, change: &Edit) -> Result<Loaded, Refusal> {
        self.check_edit(change)?;
        self.changed_to(&Config { ports: self.with_change(change)?, ..self.config.clone() })
    }

    /// Returns the files with another mode.
    ///
    /// # Errors
    /// A file was edited since it was loaded.
    pub(super) fn with_mode(&self, mode: Mode) -> Result<Loaded, Refusal> {
        self.changed_to(&Config { mode, ..self.config.clone() })
    }

    fn changed_to(&self, wanted: &Config) -> Result<Loaded, Refusal> {
        let not_in_force = || ChangeRefusal::from(OtherFiles::NotInForce(self.origin.path.clone()));
        let loaded = self.origin.files.as_ref().ok_or_else(not_in_force)?.unchanged()?;
        let changed = loaded.changed_to(wanted).map_err(|error| ChangeRefusal::Invalid(error.into()))?;
        if changed.config == *wanted { Ok(changed) } else { Err(not_in_force().into()) }
    }

    /// Checks a change against the present policies.
    fn check_edit(&self, change: &Edit) -> Result<(), Refusal> {
        match change {
            Edit::Remove(id) if self.config.ports.iter().any(|policy| policy.id == *id) => Ok(()),
            Edit::Remove(id) => Err(ChangeRefusal::NoPort(*id).into()),
            Edit::Set(policy) => {
                let id = policy.id;
                let overlapping = self.config.ports.iter().find(|known| known.id != id && known.id.overlaps(id));
                overlapping.map_or(Ok(()), |known| Err(ChangeRefusal::Overlap(id, known.id).into()))
            }
        }
    }

    fn with_change(&self, change: &Edit) -> Result<PortPolicies, Refusal> {
        let new = match change {
            Edit::Set(policy) => Some(policy.clone()),
            Edit::Remove(_) => None,
        };
        let others = self.config.ports.iter().filter(|policy| policy.id != change.port()).cloned();
        Ok(PortPolicies::new(others.chain(new).collect()).map_err(Unavailable::Policies)?)
    }

    /// Replaces the configuration in force.
    pub(super) fn replace(&mut self, config: Config) {
        self.config = config;
        self.names.set_tried(Named::of(&self.config));
    }

    /// Notes that the configuration in force is that of these files.
    pub(super) fn set_files(&mut self, loaded: &Loaded) {
        self.origin.take_files(loaded);
    }

    /// Takes what the start changed: the configuration that was accepted before, and that of the start.
    pub(super) const fn take_change(&mut self) -> Option<Changed> {
        self.origin.changed.take()
    }

    /// Notes whether the configuration in force could be kept as the accepted configuration.
    pub(super) fn set_kept(&mut self, kept: anyhow::Result<()>) {
        self.origin.not_kept = kept.err().map(|error| accepted::not_kept(&error));
    }

    /// Notes that the files on disk are not in force, for this reason.
    pub(super) fn unset_files(&mut self, reason: String) {
        self.origin.files = None;
        self.origin.fault = Some(reason);
    }

    /// Shows a fault of the files on disk, while the files that were loaded before stay in force.
    pub(super) fn set_fault(&mut self, fault: String) {
        self.origin.fault = Some(fault);
    }

    /// Shows a fault of the listener for metrics. `None`: metrics are served.
    pub(super) fn set_metrics_fault(&mut self, fault: Option<String>) {
        self.metrics_fault = fault;
    }

    /// Gives the roles to the names of the configuration in force.
    pub(super) fn adopt_names(&mut self) {
        self.names.set_named(Named::of(&self.config));
    }
}
