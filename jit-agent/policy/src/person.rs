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
    /// The name of the requestor. Someone whom a delegate names is never taken for a local user.
    #[must_use]
    pub fn identity(&self) -> String {
        match &self.named {
            Some(name) => format!("{name} via {}", self.sender.name),
            None => self.sender.name.clone(),
        }
    }

    /// Whether this person is the requestor under one identity or another: as the sender, as whoever logged in to
    /// become the sender or this person, or as the one whom a delegate names.
    #[must_use]
    pub fn is(&self, person: &Person) -> bool {
        let uids = |person: &Person| {
            let Person { uid, name: _, login } = person;
            [Some(*uid), login.as_ref().map(|(uid, _)| *uid)]
        };
        let sender = uids(&self.sender);
        let names = [Some(&person.name), person.login.as_ref().map(|(_, name)| name)];
        uids(person).into_iter().flatten().any(|uid| sender.contains(&Some(uid)))
            || self.named.as_ref().is_some_and(|named| {
                names.into_iter().flatten().any(|name| name.trim().eq_ignore_ascii_case(named.trim()))
            })
    }
}

/// Whether a user's name means a requestor's identity: the user's own requests, the requests that a delegate sent in
/// that name, and those that the user sent as a delegate.
#[must_use]
pub fn is_of(identity: &str, name: &str) -> bool {
    identity == name
        || identity.strip_prefix(name).is_some_and(|rest| rest.starts_with(" via "))
        || identity.strip_suffix(name).is_some_and(|rest| rest.ends_with(" via "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(uid: u32, name: &str, login: Option<(u32, &str)>) -> Person {
        Person { uid, name: name.to_owned(), login: login.map(|(uid, name)| (uid, name.to_owned())) }
    }

    #[test]
    fn nobody_passes_for_another_person_than_the_requestor_by_sudo_or_a_delegate() {
        let alice = Requestor { sender: person(1000, "alice", Some((1000, "alice"))), named: None };
        let pushed = Requestor { sender: person(900, "pusher", None), named: Some("alice".to_owned()) };
        let by_sudo = Requestor { sender: person(900, "pusher", Some((1000, "alice"))), named: Some("x".to_owned()) };
        for (request, person, is_own) in [
            (&alice, person(1000, "alice", None), true),
            (&alice, person(1001, "bob", Some((1000, "alice"))), true),
            (&alice, person(1001, "bob", Some((1001, "bob"))), false),
            (&alice, person(1001, "bob", None), false),
            (&pushed, person(1000, "alice", None), true),
            (&pushed, person(1000, "Alice", None), true),
            (&pushed, person(1001, "bob", Some((1000, "alice"))), true),
            (&pushed, person(900, "pusher", None), true),
            (&pushed, person(1001, "bob", None), false),
            (&by_sudo, person(1000, "alice", None), true),
            (&by_sudo, person(1001, "bob", None), false),
        ] {
            assert_eq!(request.is(&person), is_own, "{request:?} {person:?}");
        }
    }

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
