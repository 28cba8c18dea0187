//! The names of `[roles]`: when they are looked up, and the roles that follow from the numbers that were found.
//!
//! The core only says when. The look-ups run on a thread of their own, because a name service may take long.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use jit_policy::{self as policy, BootTime, People, Persons, PortId, Right, Role};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    Core, access::Access, command::Command, handle::CoreHandle, peer::Peer, refusal::Refusal,
    shared_access::SharedAccess, times::Times, waiting::attribute,
};
use crate::{
    accounts::{LookUp, Numbers, PATIENCE},
    config::Config,
};

/// How often names are looked up if all have a number. Somebody may delete a user or a group, or make it anew.
const PERIOD: Duration = Duration::from_secs(60);
/// How often names are looked up while one of them has no certain number.
const RETRY: Duration = Duration::from_secs(10);
/// The pause between two rounds of look-ups, however often somebody without a role is refused.
const PAUSE: Duration = Duration::from_secs(5);

/// The keys of a port policy that narrow a role.
pub(super) const REQUESTERS: &str = "requesters";
pub(super) const APPROVERS: &str = "approvers";

/// The names of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The names that have each role.
    pub roles: Vec<(Role, Vec<String>)>,
    /// The accounts and names that are one person.
    pub people: People,
    /// The lists of each port policy that are not empty, each with its key.
    pub ports: Vec<(PortId, &'static str, policy::Names)>,
}

impl Named {
    /// The names of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let lists = config.ports.iter().flat_map(|policy| {
            [(policy.id, REQUESTERS, policy.requesters.clone()), (policy.id, APPROVERS, policy.approvers.clone())]
        });
        let ports = lists.filter(|(.., names)| !names.is_empty()).collect();
        Self { roles: config.roles.clone(), people: config.people.clone(), ports }
    }

    /// All names, each with where it stands.
    fn all(&self) -> impl Iterator<Item = (String, &String)> {
        let of_roles = self.roles.iter().flat_map(|(role, names)| names.iter().map(move |name| (role, name)));
        let of_roles = of_roles.map(|(role, name)| (format!("[roles] {role}"), name));
        let of_ports = self.ports.iter().flat_map(|(port, key, names)| names.iter().map(move |name| (port, key, name)));
        of_roles
            .chain(self.people.accounts().map(|(person, name)| (format!("[people] {person}"), name)))
            .chain(of_ports.map(|(port, key, name)| (format!("port {port}, {key}"), name)))
    }
}

/// Names to look up.
#[derive(Debug)]
pub struct LookUps {
    /// The names.
    pub names: Vec<String>,
    /// What was known about them before.
    pub former: Numbers,
}

/// What was found.
#[derive(Debug)]
pub struct LookedUp {
    /// What is known now.
    pub numbers: Numbers,
    /// Why a later start won't know the numbers.
    pub not_kept: Option<String>,
}

/// A right that a peer has until the peer's role goes.
#[derive(Clone, Debug)]
pub struct Permit {
    peer: Peer,
    right: Right,
    access: watch::Receiver<Access>,
}

impl Permit {
    /// Whether the peer has the right now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.access.borrow().has(&self.peer, self.right)
    }

    /// Returns when the peer has lost the right.
    pub async fn lost(&mut self) {
        let Self { peer, right, access } = self;
        if access.wait_for(|access| !access.has(peer, *right)).await.is_err() {
            // The core has ended, and took nothing away.
            std::future::pending::<()>().await;
        }
    }
}

impl CoreHandle {
    /// Looks up the names of roles, and returns when that is done, or after [`PATIENCE`].
    pub async fn look_up_names(&self) {
        let done = self.ask(|core| Ok(core.settings.names_mut().look_up_now())).await;
        if let Ok(done) = done {
            // Without an answer, the roles stay as they are, and the status tells why.
            drop(timeout(PATIENCE, done).await);
        }
    }

    /// Looks names up as the core wants it, until the core ends. Each result is also kept in the state directory.
    pub fn follow_names(&self, wanted: &mpsc::Receiver<LookUps>, state: &Path, look_up: LookUp) {
        for LookUps { names, former } in wanted {
            let numbers = former.looked_up(&names, look_up);
            let not_kept = numbers.keep(state).err().map(|error| {
                format!("[roles]: the numbers of the names could not be kept for the next start: {error:#}")
            });
            let found = LookedUp { numbers, not_kept };
            let take = move |core: &mut Core| {
                core.settings.names_mut().take(found);
                attribute(core.settings.names().persons(), &mut core.live, &mut core.waiting);
            };
            if self.blocking_send(Command::Work(Box::new(take))).is_err() {
                return;
            }
        }
    }
}

/// The names of roles, and the roles that are in force.
pub(super) struct Names {
    times: Times,
    named: Named,
    /// The names of a configuration on trial. They give nobody a role, but are known when the trial is confirmed.
    tried: Named,
    numbers: Numbers,
    not_kept: Option<String>,
    access: watch::Sender<Access>,
    persons: Persons,
    look_ups: mpsc::Sender<LookUps>,
    /// When the last round began.
    last: BootTime,
    next: BootTime,
    is_under_way: bool,
    /// Whether somebody without a role was refused since the last round began.
    refused: Arc<AtomicBool>,
    /// Who waits for the round that is under way, and who waits for the round after it.
    waiting: [Vec<oneshot::Sender<()>>; 2],
}

impl Names {
    pub(super) fn new(times: Times, named: Named, numbers: Numbers, look_ups: mpsc::Sender<LookUps>) -> Self {
        let access = watch::Sender::new(Access::of(&named.roles, &numbers));
        let persons = Persons::new(&named.people, |name| numbers.number(name));
        Self {
            times,
            named,
            tried: Named::default(),
            numbers,
            not_kept: None,
            access,
            persons,
            look_ups,
            last: BootTime::default(),
            next: BootTime::default(),
            is_under_way: false,
            refused: Arc::default(),
            waiting: Default::default(),
        }
    }

    /// Whether a peer has a right by any of its roles.
    pub(super) fn has(&self, peer: &Peer, right: Right) -> bool {
        self.access.borrow().has(peer, right)
    }

    /// Whether a list of a port policy has the peer. An empty list has everybody.
    pub(super) fn is_listed(&self, peer: &Peer, names: &policy::Names) -> bool {
        let is_theirs =
            |name: &String| {
                let number = self.numbers.number(name);
                number.is_some_and(|number| {
                    if name.starts_with('@') { peer.groups.contains(&number) } else { peer.uid == number }
                })
            };
        names.is_empty() || names.iter().any(is_theirs)
    }

    /// Who is one person.
    pub(super) const fn persons(&self) -> &Persons {
        &self.persons
    }

    /// Whether the peer has the role of a delegate.
    pub(super) fn is_delegate(&self, peer: &Peer) -> bool {
        self.access.borrow().is_delegate(peer)
    }

    /// Returns the right of a peer, for as long as the peer has it.
    pub(super) fn permit(&self, peer: &Peer, right: Right) -> Permit {
        Permit { peer: peer.clone(), right, access: self.access.subscribe() }
    }

    /// Returns a refusal if the peer lacks a right.
    pub(super) fn check(&self, peer: &Peer, right: Right) -> Result<(), Refusal> {
        self.access.borrow().check(peer, right).inspect_err(|_| self.note_refused())
    }

    /// Returns the roles in force, now and whenever they change, as the server sees them.
    pub(super) fn shared(&self) -> SharedAccess {
        SharedAccess::new(self.access.subscribe(), Arc::clone(&self.refused))
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let late = self.is_under_way && self.times.now() > self.last.after(PATIENCE);
        let late = late.then(|| {
            "[roles]: the name service of this host does not answer, so everybody keeps the roles that they have"
                .to_owned()
        });
        let faults =
            self.named.all().filter_map(|(place, name)| Some(format!("{place}: {}", self.numbers.fault(name)?)));
        faults.chain(late).chain(self.not_kept.clone())
    }

    /// Puts other names in force. Numbers that are known stay known, whether the name service works or not.
    pub(super) fn set_named(&mut self, named: Named) {
        if self.named != named {
            self.named = named;
            self.next = BootTime::default();
            self.resolve();
        }
    }

    /// Sets the names that would have roles by the configuration on trial.
    pub(super) fn set_tried(&mut self, named: Named) {
        if self.tried != named {
            self.tried = named;
            self.next = BootTime::default();
        }
    }

    /// Notes that a peer lacks a role. Perhaps a name has got its number, or another number, meanwhile.
    pub(super) fn note_refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Looks all names up now. The answer is ready when they are looked up. If nobody looks names up, it fails at once.
    fn look_up_now(&mut self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        self.waiting[usize::from(self.is_under_way)].push(done);
        if !self.is_under_way {
            self.look_up();
        }
        is_done
    }

    /// Looks all names up, if that is due.
    pub(super) fn look_up_if_due(&mut self) {
        if self.next_round().is_some_and(|moment| moment <= self.times.now()) {
            self.look_up();
        }
    }

    /// The moment at which the next round is due. `None`: a round is under way.
    pub(super) fn next_round(&self) -> Option<BootTime> {
        let after_refusal = self.refused.load(Ordering::Relaxed).then(|| self.last.after(PAUSE));
        let next = after_refusal.map_or(self.next, |moment| moment.min(self.next));
        (!self.is_under_way).then_some(next)
    }

    fn look_up(&mut self) {
        let mut names: Vec<String> = self.named.all().chain(self.tried.all()).map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        (self.last, self.next) = (self.times.now(), self.times.after(PERIOD));
        self.refused.store(false, Ordering::Relaxed);
        self.is_under_way = self.look_ups.send(LookUps { names, former: self.numbers.clone() }).is_ok();
        if !self.is_under_way {
            self.waiting = Default::default();
        }
    }

    /// Takes over what was found.
    pub(super) fn take(&mut self, found: LookedUp) {
        let LookedUp { numbers, not_kept } = found;
        self.is_under_way = false;
        let before: Vec<String> = self.faults().collect();
        (self.numbers, self.not_kept) = (numbers, not_kept);
        self.resolve();
        let faults: Vec<String> = self.faults().collect();
        for fault in faults.iter().filter(|fault| !before.contains(fault)) {
            tracing::error!(fault, "not everybody may have the role that the configuration gives");
        }
        self.next = self.last.after(if faults.is_empty() { PERIOD } else { RETRY });
        let [of_this, of_next] = std::mem::take(&mut self.waiting);
        for done in of_this {
            // The client may have gone away.
            let _ = done.send(());
        }
        if !of_next.is_empty() {
            self.waiting[0] = of_next;
            self.look_up();
        }
    }

    /// Puts the roles and persons in force that follow from the numbers.
    fn resolve(&mut self) {
        self.persons = Persons::new(&self.named.people, |name| self.numbers.number(name));
        let access = Access::of(&self.named.roles, &self.numbers);
        self.access.send_if_modified(|now| {
            let is_new = *now != access;
            *now = access;
            is_new
        });
    }
}
