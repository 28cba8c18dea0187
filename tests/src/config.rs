//! Configuration files for the agent under test.

use toml::{Table, Value};

/// An agent configuration. The agent adds the paths of its files when it is prepared.
#[derive(Clone, Debug)]
pub struct Config {
    table: Table,
}

impl Config {
    /// `mode = "enforce"` on one network device, with the default ports (22, 3389, 5985, 5986).
    #[must_use]
    pub fn enforcing(interface: &str) -> Self {
        let empty = Self { table: Table::new() };
        empty.set("mode", "enforce").set("interfaces", vec![Value::from(interface)])
    }

    /// `mode = "enforce"` on a list of interfaces, with the default ports.
    #[must_use]
    pub fn interfaces(self, interfaces: &[&str]) -> Self {
        self.set("interfaces", interfaces.iter().map(|name| Value::from(*name)).collect::<Vec<_>>())
    }

    /// Sets a top-level key, known or unknown: tests of refused configurations need wrong keys too.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a `[[port]]` table. The first table replaces the default ports.
    #[must_use]
    pub fn port(mut self, port: Port) -> Self {
        let ports = self.table.entry("port").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(ports) = ports {
            ports.push(Value::Table(port.table));
        }
        self
    }

    /// The text of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        self.table.to_string()
    }

    /// Sets a key unless a test has set it already.
    #[must_use]
    pub(crate) fn or_set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table.entry(key).or_insert_with(|| value.into());
        self
    }
}

/// A port policy, one `[[port]]` table.
#[derive(Clone, Debug)]
pub struct Port {
    table: Table,
}

impl Port {
    /// The policy of a TCP port with the defaults of the agent.
    #[must_use]
    pub fn tcp(number: u16) -> Self {
        Self::new(number, "tcp")
    }

    /// The policy of a UDP port with the defaults of the agent.
    #[must_use]
    pub fn udp(number: u16) -> Self {
        Self::new(number, "udp")
    }

    /// The policy of a port for `protocol`: `tcp`, `udp` or `any`.
    #[must_use]
    pub fn new(number: u16, protocol: &str) -> Self {
        let empty = Self { table: Table::new() };
        // Tests that are not about quotas open as many grants as they like.
        empty.set("number", i64::from(number)).set("protocol", protocol).set("quota", 1 << 20)
    }

    /// Sets `allowed_sources`.
    #[must_use]
    pub fn allow(self, prefixes: &[&str]) -> Self {
        let prefixes: Vec<Value> = prefixes.iter().map(|prefix| Value::from(*prefix)).collect();
        self.set("allowed_sources", prefixes)
    }

    /// Sets `max_duration`, such as `3h`.
    #[must_use]
    pub fn max(self, duration: &str) -> Self {
        self.set("max_duration", duration)
    }

    /// Sets any key of the table.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_tables_after_the_other_keys() {
        let config = Config::enforcing("srv0")
            .port(Port::tcp(22).allow(&["192.0.2.0/24"]).max("1h"))
            .port(Port::udp(5000))
            .or_set("mode", "observe")
            .or_set("socket", "/run/s");
        let text = config.to_toml();
        let read: Table = text.parse().unwrap();
        assert_eq!(read["mode"].as_str(), Some("enforce"), "{text}");
        assert_eq!(read["socket"].as_str(), Some("/run/s"), "{text}");
        assert_eq!(read["interfaces"][0].as_str(), Some("srv0"), "{text}");
        assert_eq!(read["port"][0]["allowed_sources"][0].as_str(), Some("192.0.2.0/24"), "{text}");
        assert_eq!(read["port"][1]["protocol"].as_str(), Some("udp"), "{text}");
    }
}
