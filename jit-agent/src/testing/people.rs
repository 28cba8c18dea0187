//! The users of tests. No host gives their user ids to anybody, so no user has a role through a group.

use jit_policy::Role;

use crate::{
    accounts::{Found, Number, Numbers},
    core::{names::Named, peer::Peer},
};

/// A user who requests access.
pub const ALICE: u32 = 4_000_000_001;
/// A user who requests and approves.
pub const BOB: u32 = 4_000_000_002;
/// A user who approves.
pub const CAROL: u32 = 4_000_000_003;
/// A user who requests in the names of others.
pub const PUSHER: u32 = 4_000_000_004;
/// A user who sees everything.
pub const VIEWER: u32 = 4_000_000_005;
/// A user who has no role.
pub const MALLORY: u32 = 4_000_000_006;

/// The roles of all these users.
pub const PEOPLE: [(Role, u32); 6] = [
    (Role::Requester, ALICE),
    (Role::Requester, BOB),
    (Role::Approver, BOB),
    (Role::Approver, CAROL),
    (Role::Delegate, PUSHER),
    (Role::Viewer, VIEWER),
];

/// Makes names for users with roles, and what is known about the names.
pub(crate) fn named(roles: &[(Role, u32)]) -> (Named, Numbers) {
    let number = |number| Found::Is(Number { number, local: true });
    let roles_of = roles.iter().map(|(role, uid)| (*role, vec![uid.to_string()])).collect();
    let named = Named { roles: roles_of, ..Named::default() };
    (named, Numbers::of(roles.iter().map(|(_, uid)| (uid.to_string(), number(*uid)))))
}

/// Makes a user who is in no group except the group with the user's own id.
#[must_use]
pub fn peer(uid: u32, name: &str) -> Peer {
    Peer { uid, groups: vec![uid], name: name.to_owned(), login: None, login_unknown: None }
}

/// Makes the user with all rights.
#[must_use]
pub fn root() -> Peer {
    peer(0, "root")
}

/// Makes the user of [`ALICE`].
#[must_use]
pub fn alice() -> Peer {
    peer(ALICE, "alice")
}

/// Makes the user of [`BOB`].
#[must_use]
pub fn bob() -> Peer {
    peer(BOB, "bob")
}

/// Makes the user of [`CAROL`].
#[must_use]
pub fn carol() -> Peer {
    peer(CAROL, "carol")
}

/// Makes the user of [`PUSHER`].
#[must_use]
pub fn pusher() -> Peer {
    peer(PUSHER, "pusher")
}

/// Makes the user of [`VIEWER`].
#[must_use]
pub fn viewer() -> Peer {
    peer(VIEWER, "viewer")
}

/// Makes the user of [`MALLORY`].
#[must_use]
pub fn mallory() -> Peer {
    peer(MALLORY, "mallory")
}
