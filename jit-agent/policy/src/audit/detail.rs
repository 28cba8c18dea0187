//! Details as the agent reads them back: of this version, of older versions, and of newer ones, which may have other
//! keys.

use jiff::Timestamp;
use serde_json::Value;

/// The detail of a row. Whatever is not of the expected type counts as missing.
#[derive(Clone, Copy, Debug)]
pub struct Detail<'row>(pub &'row Value);

/// A port as a row names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedPort<'row> {
    /// A number, and the protocol if the row has a protocol.
    Number(u16, Option<&'row str>),
    /// A text like `22/tcp`.
    Text(&'row str),
}

impl<'row> Detail<'row> {
    /// The value of a key. Null counts as missing.
    #[must_use]
    pub fn get(self, key: &str) -> Option<&'row Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key as a text.
    #[must_use]
    pub fn text(self, key: &str) -> Option<&'row str> {
        self.get(key)?.as_str()
    }

    /// The value of a key as a whole number.
    #[must_use]
    pub fn number(self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    /// The value of a key as a time.
    #[must_use]
    pub fn time(self, key: &str) -> Option<Timestamp> {
        self.text(key)?.parse().ok()
    }

    /// The value of a key as the elements of a list.
    #[must_use]
    pub fn list(self, key: &str) -> &'row [Value] {
        self.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The part of the detail about who caused the event.
    #[must_use]
    pub fn of_by(self, key: &str) -> Option<&'row Value> {
        Detail(self.get("by")?).get(key)
    }

    /// The name of the person who caused the event.
    #[must_use]
    pub fn by_name(self) -> Option<&'row str> {
        self.of_by("name")?.as_str()
    }

    /// The person or signal that caused the event, or `start`.
    #[must_use]
    pub fn by(self) -> Option<&'row str> {
        let signal = || self.of_by("signal").or_else(|| self.of_by("at"))?.as_str();
        // Versions before schema 1.2 wrote who unloaded enforcement as a text.
        let of_text = || {
            let (who, time) = self.text("by")?.strip_prefix("by ")?.rsplit_once(" at ")?;
            time.parse::<Timestamp>().is_ok().then_some(who)
        };
        let who = self.by_name().or_else(signal).or_else(of_text)?;
        Some(who.split_once(" (logged in as ").map_or(who, |(name, _)| name))
    }

    /// The port or ports that the row is about.
    #[must_use]
    pub fn ports(self) -> Vec<NamedPort<'row>> {
        // Versions before schema 1.2 wrote some ports as texts.
        let one = |port: &'row Value| match port {
            Value::String(text) => Some(NamedPort::Text(text)),
            port => Detail(port).own_port(),
        };
        let others = self.get("port").into_iter().chain(self.list("ports")).filter_map(one);
        self.own_port().into_iter().chain(others).collect()
    }

    fn own_port(self) -> Option<NamedPort<'row>> {
        let number = u16::try_from(self.number("number")?).ok()?;
        Some(NamedPort::Number(number, self.text("protocol")))
    }

    /// The terms by which searches find the row. The store's view `audit_terms_due` has the same terms in SQL, and the
    /// verification of the log uses that view.
    #[must_use]
    pub fn terms(self, event: &str) -> Vec<String> {
        let users = [self.text("requestor"), self.by_name()];
        let numbers = self.list("ports").iter().map(|port| Detail(port).number("number"));
        let mut terms = vec![format!("event:{event}")];
        terms.extend(users.into_iter().flatten().map(|user| format!("user:{user}")));
        terms.extend(numbers.chain([self.number("number")]).flatten().map(|number| format!("port:{number}")));
        terms
    }
}
