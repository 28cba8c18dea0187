//! Roles, and what each may do.

use std::fmt;

/// What a user or group is in `[roles]`. Roles do not nest: each has the rights listed at [`Right`], and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Requests; reads, extends and ends their own.
    Requester,
    /// Reads everything, approves or denies what others request, revokes any grant.
    Approver,
    /// Does everything, and changes ports.
    Admin,
    /// Requests in the name of others: a control plane that pushes.
    Delegate,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Requester, Self::Approver, Self::Admin, Self::Delegate];

    /// The role's key in `[roles]`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Requester => "requester",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Delegate => "delegate",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A right, which not everybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// See mode, faults, port policies, and one's own requests and grants.
    Look,
    /// See everybody's requests and grants, the audit log and the packets.
    ReadAll,
    /// Request access; extend, cancel and end one's own requests and grants.
    Request,
    /// Name someone else as the requestor.
    Delegate,
    /// Approve or deny what others request.
    Decide,
    /// End anybody's grants, or cancel anybody's requests.
    RevokeAny,
    /// Change ports, reload the configuration.
    Administer,
}

impl Right {
    /// The role to give to a person who needs this right.
    #[must_use]
    pub const fn meant_for(self) -> Role {
        match self {
            Self::Look | Self::ReadAll => Role::Viewer,
            Self::Request => Role::Requester,
            Self::Delegate => Role::Delegate,
            Self::Decide | Self::RevokeAny => Role::Approver,
            Self::Administer => Role::Admin,
        }
    }

    /// The roles that have this right.
    #[must_use]
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::Look => &[Role::Viewer, Role::Requester, Role::Approver, Role::Admin, Role::Delegate],
            Self::ReadAll => &[Role::Viewer, Role::Approver, Role::Admin],
            Self::Request => &[Role::Requester, Role::Delegate, Role::Admin],
            Self::Delegate => &[Role::Delegate, Role::Admin],
            Self::Decide | Self::RevokeAny => &[Role::Approver, Role::Admin],
            Self::Administer => &[Role::Admin],
        }
    }
}
