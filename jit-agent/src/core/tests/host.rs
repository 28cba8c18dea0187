//! A host for tests of changes of the configuration and of enforcement.

use jit_api::wire::{EnforcementChange, Status};
use jit_common::abi::Mode;
use jit_policy::{EnableAsked, PortPolicy, Protocol, Reload, Session};

use super::{
    change::{Changed, PortEdit},
    *,
};
use crate::config::{own::Edit, trial};

pub(super) const SSH: PortId = PortId { number: 22, protocol: Protocol::Tcp };
pub(super) const LENGTH: u64 = 600;
pub(super) const OPERATOR: &str = "192.0.2.7";

pub(super) fn session(source: &str) -> Session {
    Session { source: source.parse().unwrap(), port: 22 }
}

pub(super) fn asked() -> EnableAsked {
    EnableAsked { trial: secs(LENGTH), session: Some(session(OPERATOR)), grant: None, console: true }
}

/// A world, and the session of the person who works there.
pub(super) struct Host {
    pub(super) world: World,
    /// The session of the person who changes something.
    pub(super) session: Option<Session>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self { world: World::new(), session: None }
    }

    pub(super) fn text(&self) -> String {
        self.world.text()
    }

    /// What the agent keeps of what it sets itself.
    pub(super) fn own_text(&self) -> String {
        self.world.own_text()
    }

    pub(super) fn rewrite(&self, from: &str, to: &str) {
        self.world.rewrite(from, to);
    }

    pub(super) fn grant(&mut self, number: u32, source: &str, seconds: u64) {
        self.world.submit(vec![port(number, &[source], seconds)]).unwrap();
    }

    pub(super) fn version(&mut self) -> String {
        self.world.core().port_list(&root()).unwrap().version
    }

    pub(super) fn change(&mut self, edit: Edit, confirm: bool) -> Result<Changed, Refusal> {
        let version = self.version();
        self.world.core().change_port(&root(), &PortEdit { edit, version, confirm, session: self.session })
    }

    pub(super) fn reload(&mut self, allow_open: &[&str], confirm: bool) -> Result<Changed, Refusal> {
        let allow_open = allow_open.iter().map(|name| (*name).to_owned()).collect();
        self.world
            .core()
            .reload(Some(&root()), &Reload { allow_open, confirm, session: self.session, ..Reload::default() })
    }

    /// Whether the agent knows that someone unloaded enforcement by hand.
    pub(super) fn unloaded(&mut self) -> bool {
        let Core { enforcement, records, .. } = self.world.core();
        enforcement.check_unloaded(records)
    }

    pub(super) fn policy(&mut self, id: PortId) -> PortPolicy {
        self.world.core().settings.config().ports.for_port(id).unwrap().clone()
    }
}

impl Host {
    /// Makes a host whose agent observes.
    pub(super) fn observing() -> Self {
        let mut host = Self::new();
        host.rewrite("mode = 'enforce'", "mode = 'observe' # for now");
        host.begin(true);
        host
    }

    /// Starts the agent with the configuration with which the daemon would start.
    pub(super) fn begin(&mut self, adopted: bool) {
        drop(self.world.core.take());
        self.world.load();
        self.world.start(adopted);
    }

    /// Starts the agent in another boot, which begins at this moment.
    pub(super) fn reboot(&mut self) {
        drop(self.world.core.take());
        let now = self.world.clock.wall();
        self.world.renew(now);
        self.begin(false);
    }

    pub(super) fn enable(&mut self, asked: EnableAsked) -> Result<EnforcementChange, Refusal> {
        self.world.ask(async |core| core.enable(root(), asked).await)
    }

    pub(super) fn confirm(&mut self) -> Result<bool, Refusal> {
        self.world.ask(async |core| core.confirm(root()).await).map(|change| change.durable)
    }

    pub(super) fn disable(&mut self) -> Result<bool, Refusal> {
        self.world.ask(async |core| core.disable(root()).await).map(|change| change.durable)
    }

    pub(super) fn status(&mut self) -> Status {
        self.world.core().status(&root()).unwrap()
    }

    pub(super) fn written(&self) -> bool {
        trial::recall(self.world.dir.path()).unwrap().is_some()
    }
}

/// Whether a TCP packet passes, even if only because nothing is dropped at all.
pub(super) fn passes(host: &Host, number: u16, source: &str) -> bool {
    let packet = jit_policy::Packet {
        source: source.parse().unwrap(),
        number,
        transport: Transport::Tcp,
        destination: None,
        interface: None,
    };
    let trace = host.world.kernel.trace(&packet).unwrap();
    trace.mode == Mode::Observe || trace.reason.verdict() == Verdict::Pass
}

/// Whether only the operator is admitted.
pub(super) fn is_shut(host: &Host) -> bool {
    passes(host, 22, OPERATOR) && !passes(host, 22, "192.0.2.8") && !passes(host, 3389, "192.0.2.8")
}

pub(super) fn is_open(host: &Host) -> bool {
    passes(host, 22, "192.0.2.8") && passes(host, 3389, "203.0.113.1")
}
