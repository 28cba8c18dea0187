//! The local users at the other end of the socket.

use jit_policy::{Actor, Person};

/// A local user, as the kernel identifies the peer of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary and supplementary group ids.
    pub groups: Vec<u32>,
    /// Name of the user. A user without a name has the user id here.
    pub name: String,
    /// User id and name of the person who logged in, even if that person has become another user since (`sudo`).
    /// `None`: nobody logged in, as for services, or the kernel does not tell.
    pub login: Option<(u32, String)>,
    /// Why it is not known who logged in. Then nobody knows whether the peer is the same person as another peer.
    pub login_unknown: Option<LoginUnknown>,
}

/// Why it is not known who logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginUnknown {
    /// The process that connected has ended. Whoever starts a process can bring this about.
    Ended,
    /// `/proc` hides the process from the agent, for instance by `hidepid`.
    Hidden,
}

impl Peer {
    /// Returns the peer's identity without the groups.
    #[must_use]
    pub fn person(&self) -> Person {
        Person { uid: self.uid, name: self.name.clone(), login: self.login.clone() }
    }

    /// Returns the peer as an actor for the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.person())
    }
}
