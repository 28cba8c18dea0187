//! Which accounts and which names that delegates give are one person.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::person::{Person, Requestor, is_of};

/// The word before a name that delegates give.
const NAMED: &str = "named:";
/// The word before a key.
const KEY: &str = "key:";

/// A way in which one person comes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Door {
    /// A local account.
    Account(String),
    /// A name that a delegate gives, folded.
    Named(String),
}

/// The persons of `[people]`, each with the doors by which that person comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People(BTreeMap<String, Vec<Door>>);

impl People {
    /// Makes people of the texts of their doors.
    ///
    /// # Errors
    /// A door is none, or two persons have the same door. The text says what to write instead.
    pub fn new(written: BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut people: BTreeMap<String, Vec<Door>> = BTreeMap::new();
        for (person, doors) in written {
            for text in doors {
                let door = door(&text).map_err(|problem| format!("[people] {person}: {problem}"))?;
                if let Some((other, _)) = people.iter().find(|(_, known)| known.contains(&door)) {
                    return Err(format!(
                        "[people]: `{text}` is listed under {other} and under {person}; one account or name belongs to \
                         one person, so keep it in one place"
                    ));
                }
                people.entry(person.clone()).or_default().push(door);
            }
        }
        Ok(Self(people))
    }

    /// The accounts of a person, for all persons.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, &String)> {
        let of_person = |(person, doors)| (doors as &Vec<Door>).iter().map(move |door| (person as &String, door));
        self.0.iter().flat_map(of_person).filter_map(|(person, door)| match door {
            Door::Account(name) => Some((person.as_str(), name)),
            Door::Named(_) => None,
        })
    }

    /// The doors of each person, as they are written.
    pub fn written(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let text = |door: &Door| match door {
            Door::Account(name) => name.clone(),
            Door::Named(name) => format!("{NAMED}{name}"),
        };
        self.0.iter().map(move |(person, doors)| (person.as_str(), doors.iter().map(text).collect()))
    }

    /// The person for whom a condition holds for one of the doors.
    fn find(&self, is_it: impl Fn(&Door) -> bool) -> Option<&String> {
        self.0.iter().find(|(_, doors)| doors.iter().any(&is_it)).map(|(person, _)| person)
    }
}

impl<'de> Deserialize<'de> for People {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(BTreeMap::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn door(text: &str) -> Result<Door, String> {
    let usage = "write an account like \"ann\", or a name that delegates give like \"named:ann@example.org\"";
    if text.starts_with(KEY) {
        return Err(format!("`{text}`: this version knows no keys; leave it out, and {usage}"));
    }
    match text.strip_prefix(NAMED) {
        Some(name) if fold(name).is_empty() => Err(format!("`{text}` names nobody; {usage}")),
        Some(name) => Ok(Door::Named(fold(name))),
        None if text.trim().is_empty() => Err(format!("`{text}` names nobody; {usage}")),
        None if text.starts_with('@') => Err(format!("`{text}` is a group, and no person; {usage}")),
        None => Ok(Door::Account(text.to_owned())),
    }
}

/// Returns a name that a delegate gave in the form in which such names are compared.
fn fold(name: &str) -> String {
    let name = name.trim().to_lowercase();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

/// Returns the part of a name that a delegate gave which may be an account: the part behind `\` and before `@`.
fn account_part(name: &str) -> String {
    let name = name.rsplit('\\').next().unwrap_or(name);
    fold(name.split('@').next().unwrap_or(name))
}

/// Who it is that holds grants, however they come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// A person of `[people]`.
    Person(String),
    /// Whoever has this name, folded, on this host or for a delegate.
    Name(String),
    /// A user without a name.
    User(u32),
}

/// The people, with the user ids of their accounts as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persons {
    people: People,
    uids: BTreeMap<u32, String>,
}

impl Persons {
    /// Makes the persons. `number` tells the user id of an account.
    #[must_use]
    pub fn new(people: &People, number: impl Fn(&str) -> Option<u32>) -> Self {
        let uids = people.accounts().filter_map(|(person, name)| Some((number(name)?, person.to_owned()))).collect();
        Self { people: people.clone(), uids }
    }

    /// Whether `[people]` is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.0.is_empty()
    }

    /// Whose grants a requestor's are.
    #[must_use]
    pub fn holder(&self, requestor: &Requestor) -> Holder {
        let Requestor { sender, named } = requestor;
        named.as_ref().map_or_else(|| self.of_account(sender.uid, &sender.name), |named| self.of_named(named))
    }

    /// Whether this person is the requestor under one identity or another: as the sender, as whoever logged in to
    /// become the sender or this person, as the one whom a delegate names, or by `[people]`.
    #[must_use]
    pub fn is_same(&self, requestor: &Requestor, person: &Person) -> bool {
        let Requestor { sender, named } = requestor;
        let same_account = accounts(person).any(|(uid, name)| {
            accounts(sender).any(|(other_uid, other_name)| {
                let person = self.person_of(uid, name);
                uid == other_uid || (person.is_some() && person == self.person_of(other_uid, other_name))
            })
        });
        let is_named = |named: &String| {
            let holder = self.of_named(named);
            // Whatever the lists say of accounts, a name that no list has may be that of each account like it.
            let part = self.of_listed_name(named).is_none().then(|| account_part(named));
            accounts(person).any(|(uid, name)| {
                self.of_account(uid, name) == holder
                    || (!is_number(uid, name) && part.as_ref().is_some_and(|part| *part == account_part(name)))
            })
        };
        same_account || named.as_ref().is_some_and(is_named)
    }

    /// Whether it can be told that this person is not the requestor. It can't if a delegate named somebody who may have
    /// any account, and this person's name is not known.
    #[must_use]
    pub fn can_tell(&self, requestor: &Requestor, person: &Person) -> bool {
        let nameless = accounts(person).any(|(uid, name)| self.person_of(uid, name).is_none() && is_number(uid, name));
        !nameless || (requestor.named.is_none() && self.is_empty())
    }

    /// Whether a name means a requestor: as an account, a name that a delegate gave, a person of `[people]`, whoever
    /// logged in to become the sender, or the delegate who sent it.
    #[must_use]
    pub fn means(&self, name: &str, requestor: &Requestor) -> bool {
        let Requestor { sender, named } = requestor;
        let person = self.people.0.get_key_value(name).map(|(person, _)| person).or_else(|| self.listed(name));
        let is_theirs =
            |uid: u32, account: &str| name == account || (person.is_some() && person == self.person_of(uid, account));
        let by_account = accounts(sender).any(|(uid, account)| is_theirs(uid, account));
        let by_name = named.as_ref().is_some_and(|named| {
            let wanted = person.cloned().map_or_else(|| self.of_named(name), Holder::Person);
            fold(named) == fold(name) || (!name.contains(['@', '\\']) && self.of_named(named) == wanted)
        });
        is_of(&requestor.identity(), name) || by_account || by_name
    }

    /// The person with an account or a delegate's name like this.
    fn listed(&self, name: &str) -> Option<&String> {
        let folded = fold(name);
        self.people.find(|door| match door {
            Door::Account(account) => account == name,
            Door::Named(named) => *named == folded,
        })
    }

    /// The person of an account.
    fn person_of(&self, uid: u32, name: &str) -> Option<&String> {
        self.uids
            .get(&uid)
            .or_else(|| self.people.find(|door| matches!(door, Door::Account(account) if account == name)))
    }

    fn of_account(&self, uid: u32, name: &str) -> Holder {
        match self.person_of(uid, name) {
            Some(person) => Holder::Person(person.clone()),
            None if is_number(uid, name) => Holder::User(uid),
            // A directory may give whole names like `ann@example.org` to accounts too.
            None => Holder::Name(account_part(name)),
        }
    }

    fn of_named(&self, named: &str) -> Holder {
        let part = account_part(named);
        let by_account =
            || self.people.find(|door| matches!(door, Door::Account(account) if account_part(account) == part));
        let person = self.of_listed_name(named).or_else(by_account);
        person.map_or(Holder::Name(part.clone()), |person| Holder::Person(person.clone()))
    }

    /// The person who lists a name that a delegate gives.
    fn of_listed_name(&self, named: &str) -> Option<&String> {
        let whole = fold(named);
        self.people.find(|door| matches!(door, Door::Named(name) if *name == whole))
    }
}

/// The accounts of a local user: the one of now, and the one of the login.
fn accounts(person: &Person) -> impl Iterator<Item = (u32, &str)> {
    let login = person.login.as_ref().map(|(uid, name)| (*uid, name.as_str()));
    std::iter::once((person.uid, person.name.as_str())).chain(login)
}

/// Whether a user has only a number for a name.
fn is_number(uid: u32, name: &str) -> bool {
    name == uid.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(text: &[(&str, &[&str])]) -> Result<People, String> {
        let doors = |doors: &[&str]| doors.iter().map(|door| (*door).to_owned()).collect();
        People::new(text.iter().map(|(person, list)| ((*person).to_owned(), doors(list))).collect())
    }

    #[test]
    fn an_account_is_the_name_that_a_delegate_gives_whatever_is_listed_of_other_accounts() {
        let account = |name: &str| Person { uid: 1000, name: name.to_owned(), login: None };
        let named =
            |name: &str| Requestor { sender: Person { uid: 7, ..account("pusher") }, named: Some(name.to_owned()) };
        for (doors, name) in [
            (&["ann@corp", "adm-ann"][..], "ann@corp"),
            (&["ann@corp"], "ann@other"),
            (&["CORP\\ann"], "ann"),
            (&["ann"], "ann@corp"),
            (&["ann"], "Ann"),
        ] {
            let persons = Persons::new(&people(&[("ann", doors)]).unwrap(), |_| None);
            for account in [account("ann@corp"), account("Ann"), account("CORP\\ann")] {
                assert!(persons.is_same(&named(name), &account), "{doors:?} {name} {account:?}");
            }
            assert!(!persons.is_same(&named(name), &account("bob")));
        }
        // A name that is listed belongs to whom the list says.
        let persons = Persons::new(&people(&[("bob", &["bob", "named:ann@corp"])]).unwrap(), |_| None);
        assert!(
            !persons.is_same(&named("ann@corp"), &account("ann"))
                && persons.is_same(&named("ann@corp"), &account("bob"))
        );
    }

    /// Ann has two accounts and a name in the directory of a delegate.
    fn persons() -> Persons {
        let people = people(&[("ann", &["ann", "adm-ann", "named:A.Nilsson@example.org"]), ("bob", &["bob"])]).unwrap();
        Persons::new(&people, |name| (name == "adm-ann").then_some(1009))
    }

    fn person(uid: u32, name: &str, login: Option<(u32, &str)>) -> Person {
        Person { uid, name: name.to_owned(), login: login.map(|(uid, name)| (uid, name.to_owned())) }
    }

    fn sent(sender: Person, named: Option<&str>) -> Requestor {
        Requestor { sender, named: named.map(str::to_owned) }
    }

    #[test]
    fn nobody_passes_for_another_person_than_the_requestor_by_sudo_or_a_delegate() {
        let alice = sent(person(1000, "alice", Some((1000, "alice"))), None);
        let pushed = |name| sent(person(900, "pusher", None), Some(name));
        let by_sudo = sent(person(900, "pusher", Some((1000, "alice"))), Some("x"));
        let by_login = person(1001, "bob", Some((1000, "alice")));
        for (request, person, is_own) in [
            (&alice, person(1000, "alice", None), true),
            (&alice, by_login.clone(), true),
            (&alice, person(1001, "bob", Some((1001, "bob"))), false),
            (&alice, person(1001, "Alice", None), false),
            (&pushed("alice"), person(1000, "alice", None), true),
            (&pushed("alice"), person(1000, "Alice", None), true),
            (&pushed("Alice@example.org"), person(1000, "alice", None), true),
            (&pushed("EXAMPLE\\alice"), person(1000, "alice", None), true),
            (&pushed("EXAMPLE\\ALICE."), by_login.clone(), true),
            (&pushed(" alice. "), person(1000, "alice", None), true),
            (&pushed("alice@example.org"), person(1000, "alice@example.org", None), true),
            (&pushed("alice2@example.org"), person(1000, "alice", None), false),
            (&pushed("alice"), by_login, true),
            (&pushed("alice"), person(900, "pusher", None), true),
            (&pushed("alice"), person(1001, "bob", None), false),
            (&by_sudo, person(1000, "alice", None), true),
            (&by_sudo, person(1001, "bob", None), false),
        ] {
            assert_eq!(Persons::default().is_same(request, &person), is_own, "{request:?} {person:?}");
        }
    }

    #[test]
    fn a_person_of_several_accounts_and_names_is_one() {
        let pushed = |name| sent(person(900, "pusher", None), Some(name));
        let (ann, admin) = (person(1000, "ann", None), person(1009, "renamed", None));
        for (request, person, is_own) in [
            (sent(ann.clone(), None), admin.clone(), true),
            (sent(admin.clone(), None), person(1001, "bob", Some((1000, "ann"))), true),
            (sent(ann.clone(), None), person(1001, "bob", None), false),
            (pushed("a.nilsson@EXAMPLE.org."), ann.clone(), true),
            (pushed("a.nilsson@example.org"), admin.clone(), true),
            (pushed("ann@example.org"), admin.clone(), true),
            (pushed("a.nilsson@example.com"), ann.clone(), false),
            (pushed("bob@example.org"), ann.clone(), false),
        ] {
            assert_eq!(persons().is_same(&request, &person), is_own, "{request:?} {person:?}");
        }
        let holder = |requestor| persons().holder(&requestor);
        let is_ann = Holder::Person("ann".to_owned());
        for requestor in [sent(ann, None), sent(admin, None), pushed("A.Nilsson@example.org"), pushed("X\\Ann")] {
            assert_eq!(holder(requestor), is_ann);
        }
        assert_eq!(holder(sent(person(7, "Zed", None), None)), holder(pushed("zed@example.org")));
        assert_eq!(holder(sent(person(7, "7", None), None)), Holder::User(7));
    }

    #[test]
    fn whose_name_is_not_known_can_not_be_told_from_somebody_whom_a_delegate_names() {
        let (pushed, own) = (sent(person(900, "pusher", None), Some("ann")), sent(person(1000, "ann", None), None));
        let (nameless, bob) = (person(1001, "1001", None), person(1001, "bob", None));
        let told = |persons: &Persons, request, person| persons.can_tell(request, person);
        assert!(!told(&Persons::default(), &pushed, &nameless) && told(&Persons::default(), &own, &nameless));
        assert!(!told(&persons(), &own, &nameless) && told(&persons(), &own, &bob) && told(&persons(), &pushed, &bob));
    }

    #[test]
    fn a_name_means_all_that_a_person_does() {
        let pushed = |name| sent(person(900, "pusher", None), Some(name));
        let by_sudo = sent(person(0, "root", Some((1000, "ann"))), None);
        for (name, requestor, means) in [
            ("ann", sent(person(1000, "ann", None), None), true),
            ("ann", sent(person(1009, "adm-ann", None), None), true),
            ("adm-ann", by_sudo.clone(), true),
            ("root", by_sudo.clone(), true),
            ("bob", by_sudo, false),
            ("ann", pushed("A.Nilsson@example.org"), true),
            ("a.nilsson@example.org", sent(person(1000, "ann", None), None), true),
            ("pusher", pushed("zed"), true),
            ("zed", pushed("zed@example.org"), true),
            ("zed@example.org", pushed("Zed@example.org"), true),
            ("zed@example.com", pushed("zed@example.org"), false),
            ("zed@example.org", sent(person(7, "zed", None), None), false),
            ("zed", pushed("zedd"), false),
        ] {
            assert_eq!(persons().means(name, &requestor), means, "{name} {requestor:?}");
        }
    }

    #[test]
    fn what_is_no_door_is_refused_with_what_to_write() {
        for (list, parts) in [
            (&[("ann", &["key:ann@example.org"] as &[&str])] as &[(&str, &[&str])], ["knows no keys", "\"ann\""]),
            (&[("ann", &["@ops"])], ["`@ops` is a group", "named:ann@example.org"]),
            (&[("ann", &["named: "])], ["`named: ` names nobody", "\"ann\""]),
            (&[("ann", &[""])], ["names nobody", "\"ann\""]),
            (&[("ann", &["ann", "x"]), ("bob", &["x"])], ["`x` is listed under ann and under bob", "one place"]),
            (
                &[("ann", &["named:X@y"]), ("bob", &["named:x@Y."])],
                ["`named:x@Y.` is listed under ann and under bob", "one person"],
            ),
        ] {
            let problem = people(list).unwrap_err();
            assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
        }
    }
}
