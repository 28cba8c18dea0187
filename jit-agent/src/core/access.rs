//! The rights of users, as the kernel identifies the peer of the socket.

use jit_policy::{Right, Role};

use super::{peer::Peer, refusal::Refusal};
use crate::accounts::Numbers;

/// The roles, with names resolved to ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    users: Vec<(Role, u32)>,
    groups: Vec<(Role, u32)>,
    /// The roles of which a name has no number.
    lacking: Vec<Role>,
}

impl Access {
    /// Gives each role to the users and `@groups` whose numbers are known.
    pub(super) fn of(roles: &[(Role, Vec<String>)], numbers: &Numbers) -> Self {
        let mut access = Self::default();
        for (role, name) in roles.iter().flat_map(|(role, names)| names.iter().map(move |name| (*role, name))) {
            let of_kind = if name.starts_with('@') { &mut access.groups } else { &mut access.users };
            match numbers.number(name) {
                Some(number) => of_kind.push((role, number)),
                None => access.lacking.push(role),
            }
        }
        access
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
        let some_unknown = right.roles().iter().any(|role| self.lacking.contains(role));
        let (name, role) = (peer.name.clone(), right.meant_for().name());
        Err(Refusal::NotPermitted { name, uid: peer.uid, role, some_unknown })
    }

    /// Whether the peer has the role of a delegate. An admin may do everything that a delegate may, but does not count.
    pub(super) fn is_delegate(&self, peer: &Peer) -> bool {
        self.is(peer, Role::Delegate)
    }

    /// Whether the peer has a role. Root is always an admin.
    fn is(&self, peer: &Peer, role: Role) -> bool {
        (role == Role::Admin && peer.uid == 0)
            || self.users.contains(&(role, peer.uid))
            || peer.groups.iter().any(|group| self.groups.contains(&(role, *group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::{Found, Number};

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, groups: groups.to_vec(), name: "someone".to_owned(), login: None, login_unknown: None }
    }

    /// Gives each role to the user 1000 + the role's index, and to the group 2000 + the role's index.
    fn access() -> Access {
        let ids = |first: u32| Role::ALL.into_iter().zip(first..).collect();
        Access { users: ids(1000), groups: ids(2000), lacking: Vec::new() }
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
        assert!(Access::default().has(&peer(0, &[0]), Right::Administer));
        let stranger = peer(1001 + 1000, &[1000, 1001, 1002, 1003, 1004]);
        for right in [Right::Look, Right::Request, Right::Administer] {
            assert!(!access().has(&stranger, right), "{right:?}: a user's id is not a group's");
        }
    }

    #[test]
    fn a_name_without_a_number_gives_nobody_a_role() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let roles =
            [(Role::Viewer, names(&["root", "no-such-user"])), (Role::Admin, names(&["@root", "@no-such-group"]))];
        let is_zero = Found::Is(Number { number: 0, local: true });
        let numbers = Numbers::of(["root", "@root"].map(|name| (name.to_owned(), is_zero.clone())));
        assert_eq!(
            Access::of(&roles, &numbers),
            Access {
                users: vec![(Role::Viewer, 0)],
                groups: vec![(Role::Admin, 0)],
                lacking: vec![Role::Viewer, Role::Admin]
            }
        );
    }
}
