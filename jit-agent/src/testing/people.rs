//! The people of tests, with user ids that no host gives to anybody, so that nobody has a role by a group.

use jit_policy::Role;

use crate::core::{Access, peer::Peer};

/// Requests access.
pub const ALICE: u32 = 4_000_000_001;
/// Requests and approves.
pub const BOB: u32 = 4_000_000_002;
/// Approves.
pub const CAROL: u32 = 4_000_000_003;
/// Requests in the names of others.
pub const PUSHER: u32 = 4_000_000_004;
/// Sees everything.
pub const VIEWER: u32 = 4_000_000_005;
/// Has no role.
pub const MALLORY: u32 = 4_000_000_006;

/// The roles of all of them.
#[must_use]
pub fn people() -> Access {
    Access::of_users(&[
        (Role::Requester, ALICE),
        (Role::Requester, BOB),
        (Role::Approver, BOB),
        (Role::Approver, CAROL),
        (Role::Delegate, PUSHER),
        (Role::Viewer, VIEWER),
    ])
}

/// A user who is in no group but its own.
#[must_use]
pub fn peer(uid: u32, name: &str) -> Peer {
    Peer { uid, groups: vec![uid], name: name.to_owned(), login: None }
}

/// The user with all rights.
#[must_use]
pub fn root() -> Peer {
    peer(0, "root")
}

/// See [`ALICE`].
#[must_use]
pub fn alice() -> Peer {
    peer(ALICE, "alice")
}

/// See [`BOB`].
#[must_use]
pub fn bob() -> Peer {
    peer(BOB, "bob")
}

/// See [`CAROL`].
#[must_use]
pub fn carol() -> Peer {
    peer(CAROL, "carol")
}

/// See [`PUSHER`].
#[must_use]
pub fn pusher() -> Peer {
    peer(PUSHER, "pusher")
}

/// See [`VIEWER`].
#[must_use]
pub fn viewer() -> Peer {
    peer(VIEWER, "viewer")
}

/// See [`MALLORY`].
#[must_use]
pub fn mallory() -> Peer {
    peer(MALLORY, "mallory")
}
