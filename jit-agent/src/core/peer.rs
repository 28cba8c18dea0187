//! Those at the other end of the socket.

use jit_policy::{Actor, Person};

/// A local user, by the kernel's word on the socket's peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary and supplementary group ids.
    pub groups: Vec<u32>,
    /// Name of the user, or the number where it has none.
    pub name: String,
    /// Who logged in, whoever they have become since (`sudo`): user id and name. `None`: nobody did, as for services,
    /// or the kernel does not tell.
    pub login: Option<(u32, String)>,
}

impl Peer {
    /// Who it is, apart from the groups.
    #[must_use]
    pub fn person(&self) -> Person {
        Person { uid: self.uid, name: self.name.clone(), login: self.login.clone() }
    }

    /// The peer as who did something.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.person())
    }
}
