//! Persons who ask for something, and persons who do something.

/// A local user, as the kernel identifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user id.
    pub uid: u32,
    /// The name of the user, or the user id if the user has no name.
    pub name: String,
    /// The user id and name of who logged in, whoever they have become since (`sudo`). `None`: nobody logged in, as for
    /// services, or the kernel does not tell.
    pub login: Option<(u32, String)>,
}

/// The person or signal that made the agent do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A local user.
    Person(Person),
    /// The signal of this name, from an unknown sender: the kernel does not say who sent it.
    Signal(&'static str),
    /// The start of the agent: somebody changed the files while it did not run, or before a restart.
    Start,
}

impl Actor {
    /// The local user, if that user is known.
    #[must_use]
    pub const fn person(&self) -> Option<&Person> {
        match self {
            Self::Person(person) => Some(person),
            Self::Signal(_) | Self::Start => None,
        }
    }
}

/// The requestor of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requestor {
    /// The user who sent the request.
    pub sender: Person,
    /// The name that a delegate gave, if the sender is a delegate.
    pub named: Option<String>,
}

impl Requestor {
    /// The name of who logged in to become the sender, if that is another user.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        let (uid, name) = self.sender.login.as_ref()?;
        (*uid != self.sender.uid).then_some(name)
    }

    /// The name of the requestor. Someone whom a delegate names is never taken for a local user.
    #[must_use]
    pub fn identity(&self) -> String {
        match &self.named {
            Some(name) => format!("{name} via {}", self.sender.name),
            None => self.sender.name.clone(),
        }
    }
}

/// Whether a user's name means a requestor's identity: the user's own requests, the requests that a delegate sent in
/// that name, and those that the user sent as a delegate.
pub(crate) fn is_of(identity: &str, name: &str) -> bool {
    identity == name
        || identity.strip_prefix(name).is_some_and(|rest| rest.starts_with(" via "))
        || identity.strip_suffix(name).is_some_and(|rest| rest.ends_with(" via "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_means_what_they_asked_for_themselves_through_a_delegate_or_as_one() {
        for (identity, name, means) in [
            ("alice", "alice", true),
            ("alice via pusher", "alice", true),
            ("alice via pusher", "pusher", true),
            ("alice via pusher", "bob", false),
            ("alicette", "alice", false),
            ("malice via pusher", "alice", false),
            ("alice via the pusher", "pusher", false),
        ] {
            assert_eq!(is_of(identity, name), means, "{identity} {name}");
        }
    }
}
