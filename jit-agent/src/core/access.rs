//! The rights of users, as the kernel identifies the peer of the socket.

use std::ffi::CString;

use jit_policy::{Right, Role};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::{peer::Peer, refusal::Refusal};

/// The roles, with names resolved to ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    users: Vec<(Role, u32)>,
    groups: Vec<(Role, u32)>,
}

impl Access {
    /// Resolves users and `@groups`. Also returns a message for each name that does not resolve, with the name's role.
    /// Such a name gives nobody a role.
    #[must_use]
    pub fn resolve(roles: &[(Role, Vec<String>)]) -> (Self, Vec<String>) {
        let (mut access, mut unknown) = (Self::default(), Vec::new());
        for (role, name) in roles.iter().flat_map(|(role, names)| names.iter().map(move |name| (*role, name))) {
            let user_or_group = match name.strip_prefix('@') {
                Some(group) => {
                    Group::from_name(group).ok().flatten().map(|group| access.groups.push((role, group.gid.as_raw())))
                }
                None => User::from_name(name).ok().flatten().map(|user| access.users.push((role, user.uid.as_raw()))),
            };
            if user_or_group.is_none() {
                unknown.push(format!("[roles] {role}: there is no user or group `{name}`"));
            }
        }
        (access, unknown)
    }

    /// Makes roles of users only.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of_users(users: &[(Role, u32)]) -> Self {
        Self { users: users.to_vec(), groups: Vec::new() }
    }

    /// Whether the peer has a right by any of its roles.
    pub(super) fn has(&self, peer: &Peer, right: Right) -> bool {
        right.roles().iter().any(|role| self.is(peer, *role))
    }

    /// Returns a refusal if the peer lacks a right.
    pub(super) fn check(&self, peer: &Peer, right: Right) -> Result<(), Refusal> {
        if self.has(peer, right) {
            return Ok(());
        }
        Err(Refusal::NotPermitted { name: peer.name.clone(), uid: peer.uid, role: right.meant_for().name() })
    }

    /// Whether the peer has the role of a delegate. An admin may do everything that a delegate may, but does not count.
    pub(super) fn is_delegate(&self, peer: &Peer) -> bool {
        self.is(peer, Role::Delegate)
    }

    /// Whether a user who is not connected now would have a right, by the host's users and groups.
    pub(super) fn user_has(&self, uid: u32, right: Right) -> bool {
        let groups = groups_of(uid);
        self.has(&Peer { uid, groups, name: String::new(), login: None, login_unknown: None }, right)
    }

    /// Whether the peer has a role. Root is always an admin.
    fn is(&self, peer: &Peer, role: Role) -> bool {
        (role == Role::Admin && peer.uid == 0)
            || self.users.contains(&(role, peer.uid))
            || peer.groups.iter().any(|group| self.groups.contains(&(role, *group)))
    }
}

/// Returns the groups of a user. The list is empty if the user no longer exists.
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let name = CString::new(user.name).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(Gid::as_raw).collect()
}

/// Returns the user id for a name. A user without a name is named by the user id.
pub(super) fn uid_of(name: &str) -> Option<u32> {
    let user = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    user.or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, groups: groups.to_vec(), name: "someone".to_owned(), login: None, login_unknown: None }
    }

    /// Gives each role to the user 1000 + the role's index, and to the group 2000 + the role's index.
    fn access() -> Access {
        let ids = |first: u32| Role::ALL.into_iter().zip(first..).collect();
        Access { users: ids(1000), groups: ids(2000) }
    }

    #[test]
    fn each_role_has_its_rights_and_no_others() {
        let all = [
            Right::Look,
            Right::ReadAll,
            Right::Request,
            Right::Delegate,
            Right::Decide,
            Right::RevokeAny,
            Right::Administer,
        ];
        let table = [
            (Role::Viewer, vec![Right::Look, Right::ReadAll]),
            (Role::Requester, vec![Right::Look, Right::Request]),
            (Role::Approver, vec![Right::Look, Right::ReadAll, Right::Decide, Right::RevokeAny]),
            (Role::Admin, all.to_vec()),
            (Role::Delegate, vec![Right::Look, Right::Request, Right::Delegate]),
        ];
        for ((role, rights), place) in table.into_iter().zip(0..) {
            for right in all {
                for person in [peer(1000 + place, &[7]), peer(7, &[7, 2000 + place])] {
                    assert_eq!(access().has(&person, right), rights.contains(&right), "{role} {right:?} {person:?}");
                }
            }
        }
    }

    #[test]
    fn root_is_an_admin_and_whoever_has_no_role_may_do_nothing() {
        assert_eq!(Access::default().check(&peer(0, &[0]), Right::Administer), Ok(()));
        let stranger = peer(1001 + 1000, &[1000, 1001, 1002, 1003, 1004]);
        for right in [Right::Look, Right::Request, Right::Administer] {
            assert!(access().check(&stranger, right).is_err(), "{right:?}: a user's id is not a group's");
        }
        let refused = access().check(&stranger, Right::Request).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "someone (uid 2001) has no role that allows this; an admin can add the user or a group to `requester` in \
             [roles]"
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_is_reported_with_its_role_and_gives_nobody_a_role() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (access, unknown) = Access::resolve(&[
            (Role::Viewer, names(&["root", "no-such-user"])),
            (Role::Admin, names(&["@root", "@no-such-group"])),
        ]);
        assert_eq!(access, Access { users: vec![(Role::Viewer, 0)], groups: vec![(Role::Admin, 0)] });
        assert_eq!(
            unknown,
            [
                "[roles] viewer: there is no user or group `no-such-user`",
                "[roles] admin: there is no user or group `@no-such-group`"
            ]
        );
    }
}
