//! A configuration as a table with every key, whether a file has the key or its default is in force.

use jit_policy::{Plain, PortPolicy, Span};
use toml::{Table, Value};

use super::{Config, Places};

impl Config {
    /// Every key with its value in force, as a file has them. [`Config::parse`] of this text gives the same
    /// configuration.
    #[must_use]
    pub(crate) fn written(&self) -> Table {
        let Self {
            mode,
            interfaces,
            fragments,
            scope,
            break_glass,
            places: Places { socket, state, bpffs },
            metrics_listen,
            ports,
            retention,
            roles,
            people,
        } = self;
        let people = people.written().map(|(person, doors)| (person.to_owned(), texts(doors)));
        let roles = roles.iter().map(|(role, names)| (role.name().to_owned(), texts(names)));
        Table::from_iter([
            ("mode".to_owned(), mode.name().into()),
            ("interfaces".to_owned(), texts(interfaces.iter())),
            ("scope".to_owned(), scope.name().into()),
            ("fragments".to_owned(), fragments.name().into()),
            ("break_glass".to_owned(), texts(break_glass)),
            ("socket".to_owned(), socket.display().to_string().into()),
            ("state_dir".to_owned(), state.display().to_string().into()),
            ("bpffs_dir".to_owned(), bpffs.display().to_string().into()),
            ("metrics_listen".to_owned(), metrics_listen.map(|address| address.to_string()).unwrap_or_default().into()),
            ("retention".to_owned(), Span(*retention).in_file().into()),
            ("port".to_owned(), port_array(ports.iter())),
            ("roles".to_owned(), Value::Table(roles.collect())),
            ("people".to_owned(), Value::Table(people.collect())),
        ])
    }
}

/// Policies as a file has them.
pub(super) fn port_array<'a>(policies: impl IntoIterator<Item = &'a PortPolicy>) -> Value {
    Value::Array(policies.into_iter().map(|policy| Value::Table(policy_table(policy))).collect())
}

/// Number, protocol and every key of a policy.
fn policy_table(policy: &PortPolicy) -> Table {
    let mut table = Table::from_iter([
        ("number".to_owned(), Value::from(i64::from(policy.id.number))),
        ("protocol".to_owned(), policy.id.protocol.to_string().into()),
    ]);
    table.extend(policy.keys().into_iter().map(|(key, value)| (key.to_owned(), plain(value))));
    table
}

fn plain(value: Plain) -> Value {
    match value {
        Plain::Texts(list) => texts(list),
        Plain::Time(span) => span.in_file().into(),
        Plain::Text(text) => text.into(),
        Plain::Number(number) => i64::from(number).into(),
    }
}

fn texts(values: impl IntoIterator<Item = impl ToString>) -> Value {
    Value::Array(values.into_iter().map(|value| value.to_string().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_configuration() {
        let full = "
            mode = 'enforce'
            interfaces = ['auto', 'eth*', 'lo']
            scope = 'local'
            fragments = 'pass'
            break_glass = ['192.0.2.7', '2001:db8::/32']
            socket = '/a'
            state_dir = '/b'
            bpffs_dir = '/c'
            metrics_listen = '[::1]:9590'
            retention = '30d'
            [[port]]
            number = 22
            protocol = 'tcp'
            allowed_sources = ['192.0.2.0/24']
            max_duration = '1h30m'
            approval = 'required'
            approval_timeout = '10m'
            justification = 'optional'
            quota = 7
            [roles]
            admin = ['ann', '@wheel']
            viewer = ['bob']
            [people]
            ann = ['ann', 'named:ann@example.org']
        ";
        for given in ["", "port = []", full] {
            let config = Config::parse(given, "").unwrap();
            let written = config.written().to_string();
            assert_eq!(Config::parse(&written, "").unwrap(), config, "{written}");
        }
    }
}
