//! Who may do what, by the kernel's word on the socket's peer.

use nix::unistd::{Group, User};

use super::view::{Peer, Refusal};

/// The roles, with names resolved to ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    admin_users: Vec<u32>,
    admin_groups: Vec<u32>,
}

impl Access {
    /// Resolves users and `@groups`. Returns the names that do not resolve, which get no role.
    #[must_use]
    pub fn resolve(admins: &[String]) -> (Self, Vec<String>) {
        let (mut access, mut unknown) = (Self::default(), Vec::new());
        for name in admins {
            let user_or_group = match name.strip_prefix('@') {
                Some(group) => {
                    Group::from_name(group).ok().flatten().map(|group| access.admin_groups.push(group.gid.as_raw()))
                }
                None => User::from_name(name).ok().flatten().map(|user| access.admin_users.push(user.uid.as_raw())),
            };
            if user_or_group.is_none() {
                unknown.push(name.clone());
            }
        }
        (access, unknown)
    }

    /// Lets root and admins through.
    pub(super) fn check(&self, peer: &Peer) -> Result<(), Refusal> {
        let by_group = || peer.groups.iter().any(|group| self.admin_groups.contains(group));
        if peer.uid == 0 || self.admin_users.contains(&peer.uid) || by_group() {
            Ok(())
        } else {
            Err(Refusal::NotPermitted { name: peer.name.clone(), uid: peer.uid, role: "admin" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, groups: groups.to_vec(), name: "someone".to_owned() }
    }

    #[test]
    fn root_and_the_admins_users_and_groups_get_in_and_nobody_else() {
        let access = Access { admin_users: vec![1000], admin_groups: vec![27] };
        for allowed in [peer(0, &[0]), peer(1000, &[1000]), peer(1001, &[1001, 27])] {
            assert_eq!(access.check(&allowed), Ok(()), "{allowed:?}");
        }
        let refused = access.check(&peer(1001, &[1001, 1000])).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "someone (uid 1001) has no role that allows this; an admin can add the user or a group to `admin` in \
             [roles]"
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_is_reported_and_gives_no_role() {
        let names = ["root".to_owned(), "@root".to_owned(), "no-such-user".to_owned(), "@no-such-group".to_owned()];
        let (access, unknown) = Access::resolve(&names);
        assert_eq!(access, Access { admin_users: vec![0], admin_groups: vec![0] });
        assert_eq!(unknown, ["no-such-user", "@no-such-group"]);
    }
}
