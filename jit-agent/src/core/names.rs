//! The names of `[roles]`: when they are looked up, and the roles that follow from the numbers that were found.
//!
//! The core only says when. The look-ups run on a thread of their own, because a name service may take long.

use std::{cell::Cell, path::Path, sync::mpsc, time::Duration};

use jit_policy::{BootTime, Right, Role};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{Core, access::Access, command::Command, handle::CoreHandle, peer::Peer, refusal::Refusal, times::Times};
use crate::accounts::{LookUp, Numbers, PATIENCE};

/// How often names are looked up if all have a number. Somebody may delete a user or a group, or make it anew.
const PERIOD: Duration = Duration::from_secs(60);
/// How often names are looked up while one of them has no certain number.
const RETRY: Duration = Duration::from_secs(10);
/// The pause between two rounds of look-ups, however often somebody without a role is refused.
const PAUSE: Duration = Duration::from_secs(5);

/// The names that have each role.
pub type NamedRoles = Vec<(Role, Vec<String>)>;

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
            let take = move |core: &mut Core| core.settings.names_mut().take(found);
            if self.blocking_send(Command::Work(Box::new(take))).is_err() {
                return;
            }
        }
    }
}

/// The names of roles, and the roles that are in force.
pub(super) struct Names {
    times: Times,
    roles: NamedRoles,
    /// The names of a configuration on trial. They give nobody a role, but are known when the trial is confirmed.
    tried: NamedRoles,
    numbers: Numbers,
    not_kept: Option<String>,
    access: watch::Sender<Access>,
    look_ups: mpsc::Sender<LookUps>,
    /// When the last round began.
    last: BootTime,
    next: BootTime,
    is_under_way: bool,
    /// Whether somebody without a role was refused since the last round began.
    refused: Cell<bool>,
    /// Who waits for the round that is under way, and who waits for the round after it.
    waiting: [Vec<oneshot::Sender<()>>; 2],
}

impl Names {
    pub(super) fn new(times: Times, roles: NamedRoles, numbers: Numbers, look_ups: mpsc::Sender<LookUps>) -> Self {
        let access = watch::Sender::new(Access::of(&roles, &numbers));
        Self {
            times,
            roles,
            tried: Vec::new(),
            numbers,
            not_kept: None,
            access,
            look_ups,
            last: BootTime::default(),
            next: BootTime::default(),
            is_under_way: false,
            refused: Cell::new(false),
            waiting: Default::default(),
        }
    }

    /// Whether a peer has a right by any of its roles.
    pub(super) fn has(&self, peer: &Peer, right: Right) -> bool {
        self.access.borrow().has(peer, right)
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

    /// Returns the roles in force, now and whenever they change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Access> {
        self.access.subscribe()
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let late = self.is_under_way && self.times.now() > self.last.after(PATIENCE);
        let late = late.then(|| {
            "[roles]: the name service of this host does not answer, so everybody keeps the roles that they have"
                .to_owned()
        });
        let names = self.roles.iter().flat_map(|(role, names)| names.iter().map(move |name| (role, name)));
        let faults = names.filter_map(|(role, name)| Some(format!("[roles] {role}: {}", self.numbers.fault(name)?)));
        faults.chain(late).chain(self.not_kept.clone())
    }

    /// Puts other names in force. Numbers that are known stay known, whether the name service works or not.
    pub(super) fn set_roles(&mut self, roles: NamedRoles) {
        if self.roles != roles {
            self.roles = roles;
            self.next = BootTime::default();
            self.resolve();
        }
    }

    /// Sets the names that would have roles by the configuration on trial.
    pub(super) fn set_tried(&mut self, roles: NamedRoles) {
        if self.tried != roles {
            self.tried = roles;
            self.next = BootTime::default();
        }
    }

    /// Notes that a peer lacks a role. Perhaps a name has got its number, or another number, meanwhile.
    pub(super) fn note_refused(&self) {
        self.refused.set(true);
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
        let after_refusal = self.refused.get().then(|| self.last.after(PAUSE));
        let next = after_refusal.map_or(self.next, |moment| moment.min(self.next));
        (!self.is_under_way).then_some(next)
    }

    fn look_up(&mut self) {
        let mut names: Vec<String> =
            self.roles.iter().chain(&self.tried).flat_map(|(_, names)| names).cloned().collect();
        names.sort_unstable();
        names.dedup();
        (self.last, self.next) = (self.times.now(), self.times.after(PERIOD));
        self.refused.set(false);
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

    /// Puts the roles in force that follow from the numbers.
    fn resolve(&self) {
        let access = Access::of(&self.roles, &self.numbers);
        self.access.send_if_modified(|now| {
            let is_new = *now != access;
            *now = access;
            is_new
        });
    }
}
