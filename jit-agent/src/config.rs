//! The configuration. It is read strictly: no setting that the owner wrote is silently without effect.

pub(crate) mod accepted;
mod checksummed;
pub mod files;
pub(crate) mod mark;
pub(crate) mod numbers;
pub(crate) mod opening;
pub mod own;
mod raw;
mod salvage;
pub(crate) mod settled;
pub(crate) mod trial;
pub(crate) mod trust;
pub(crate) mod unloaded;
mod written;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use jit_common::abi::Mode;
use jit_policy::{
    Fragments, People, PolicyError, PortId, PortPolicies, PortPolicy, ProtectedPort, Protection, Role, Scope,
};

pub(crate) use self::salvage::{doubt, named_places};
pub use self::salvage::{salvage, salvage_places};
use self::{raw::RawConfig, trust::Doubt};
pub use jit_policy::{Interfaces, Pattern};

/// The path of the configuration, unless `--config` names another file.
pub const DEFAULT_PATH: &str = "/etc/jit-agent/config.toml";
/// The path of the socket, unless the configuration names another path.
pub const DEFAULT_SOCKET: &str = "/run/jit-agent/jit-agent.sock";
const DEFAULT_STATE: &str = "/var/lib/jit-agent";
const DEFAULT_BPFFS: &str = "/sys/fs/bpf/jit-agent";

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether drops are carried out.
    pub mode: Mode,
    /// The interfaces to cover.
    pub interfaces: Interfaces,
    /// The treatment of fragments, except atomic fragments.
    pub fragments: Fragments,
    /// The packets to protected ports that the rules apply to.
    pub scope: Scope,
    /// The break-glass sources, which are always admitted.
    pub break_glass: Vec<IpNet>,
    /// The paths that the agent uses.
    pub places: Places,
    /// The address where metrics are served to any client; `None`: metrics are served on the socket only.
    pub metrics_listen: Option<SocketAddr>,
    /// The policies: which ports are protected, and what may be requested.
    pub ports: PortPolicies,
    /// The time for which records are kept.
    pub retention: Duration,
    /// The users and `@groups` of each role; root is always an admin.
    pub roles: Vec<(Role, Vec<String>)>,
    /// The accounts and names that are one person.
    pub people: People,
}

/// The paths that the agent uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The directory of the store and the lock.
    pub state: PathBuf,
    /// The directory of the pins, on a BPF file system.
    pub bpffs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), state: DEFAULT_STATE.into(), bpffs: DEFAULT_BPFFS.into() }
    }
}

/// A configuration that can't be used. The texts include the cause, so no field is an error's `source`: a report of all
/// causes would say each cause twice.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// Somebody else could change a file, or what leads to it.
    #[error("{0}")]
    Distrusted(Doubt),
    /// The file of what the agent itself set can't be used, or contradicts the owner's files.
    #[error("{0}")]
    Own(String),
    /// A key that can have only one value is set in two files.
    #[error("`{key}` is set in {first} and in {second}; keep one of them")]
    Twice {
        /// The key.
        key: String,
        /// A file that sets it.
        first: String,
        /// Another file that sets the key.
        second: String,
    },
    /// The text is not TOML, a key is unknown, or a key does not take the given value.
    #[error("{origin}: {error}")]
    Syntax {
        /// The source of the text.
        origin: String,
        /// The place and the problem.
        error: Box<toml::de::Error>,
    },
    /// The port policies contradict each other, or a policy is not possible.
    #[error("{origin}: {error}")]
    Policy {
        /// The source of the text.
        origin: String,
        /// The problem.
        error: PolicyError,
    },
    /// A path that must be absolute is relative.
    #[error("{origin}: {key} = \"{value}\" is not an absolute path; start it with /", value = value.display())]
    RelativePath {
        /// The source of the text.
        origin: String,
        /// The key.
        key: &'static str,
        /// The key's value.
        value: PathBuf,
    },
}

impl Config {
    /// Whether a source is always admitted.
    #[must_use]
    pub fn is_break_glass(&self, source: IpAddr) -> bool {
        self.break_glass.iter().any(|prefix| prefix.contains(&source))
    }

    /// Checks the text of a configuration. `origin` is the source of the text, for errors.
    ///
    /// # Errors
    /// The text is not a configuration. The error says where the problem is, and what to write instead.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let syntax = |error| ConfigError::Syntax { origin: origin.to_owned(), error: Box::new(error) };
        let raw: RawConfig = toml::from_str(text).map_err(syntax)?;
        let RawConfig {
            mode,
            interfaces,
            scope,
            fragments,
            break_glass,
            socket,
            state_dir,
            bpffs_dir,
            metrics_listen,
            retention,
            port,
            roles,
            people,
        } = raw;
        let policies = port.unwrap_or_else(raw::default_policies);
        let ports =
            PortPolicies::new(policies).map_err(|error| ConfigError::Policy { origin: origin.to_owned(), error })?;
        let places = Places { socket, state: state_dir, bpffs: bpffs_dir };
        places.check(origin)?;
        Ok(Self {
            mode,
            interfaces,
            fragments,
            scope,
            break_glass,
            places,
            metrics_listen,
            ports,
            retention,
            roles: roles.into(),
            people,
        })
    }

    /// The protection that the datapath is to carry out.
    #[must_use]
    pub fn protection(&self) -> Protection {
        let transports = |policy: &PortPolicy| {
            let PortId { number, protocol } = policy.id;
            protocol.transports().iter().map(move |transport| ProtectedPort::new(number, *transport))
        };
        Protection {
            ports: self.ports.iter().flat_map(transports).collect(),
            enforce_until: self.mode.into(),
            drop_fragments: self.fragments == Fragments::Drop,
            scope: self.scope,
            break_glass: self.break_glass.clone(),
        }
    }
}

impl Places {
    fn check(&self, origin: &str) -> Result<(), ConfigError> {
        for (key, value) in [("socket", &self.socket), ("state_dir", &self.state), ("bpffs_dir", &self.bpffs)] {
            if !value.is_absolute() {
                return Err(ConfigError::RelativePath { origin: origin.to_owned(), key, value: value.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, "config.toml").unwrap_err().to_string()
    }

    #[test]
    fn without_ports_the_management_ports_are_protected_and_nothing_is_enforced() {
        let config = Config::parse("interfaces = ['eth0']", "").unwrap();
        assert_eq!(config.mode, Mode::Observe);
        let ports: Vec<_> = config.ports.iter().map(|policy| policy.id.to_string()).collect();
        assert_eq!(ports, ["22/tcp", "3389/any", "5985/tcp", "5986/tcp"]);
        assert_eq!(config.protection().ports.len(), 6);
    }

    #[test]
    fn an_empty_port_list_protects_nothing() {
        let config = Config::parse("interfaces = ['eth0']\nport = []", "").unwrap();
        assert_eq!(config.protection().ports, []);
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_value_and_what_to_write() {
        let port = |rest: &str| error(&format!("interfaces = ['eth0']\n[[port]]\n{rest}"));
        for (text, parts) in [
            (error("interfaces = ['eth0']\nmode = 'enfore'"), ["enfore", "`observe` or `enforce`"]),
            (error("interfaces = ['eth0']\nenforce = true"), ["unknown field `enforce`", "line 2"]),
            (error("interfaces = ['eth[']"), ["`eth[`", "no pattern"]),
            (error("interfaces = ['auto', 'auto']"), ["`auto`", "listed twice"]),
            (error("interfaces = ['eth0', 'eth0']"), ["`eth0`", "listed twice"]),
            (error("interfaces = ['a/b']"), ["`a/b`", "not the name of an interface"]),
            (error("interfaces = ['eth0']\nsocket = 'run/x'"), ["run/x", "start it with /"]),
            (error("interfaces = ['eth0']\nmetrics_listen = '9590'"), ["`9590`", "127.0.0.1:9590"]),
            (error("interfaces = ['eth0']\nmetrics_listen = '0.0.0.0:9590'"), ["`0.0.0.0:9590`", "not on loopback"]),
            (error("interfaces = ['eth0']\nmetrics_listen = '[2001:db8::1]:9590'"), ["2001:db8::1", "not on loopback"]),
            (error("interfaces = ['eth0']\nscope = 'some'"), ["some", "`all` or `local`"]),
            (error("interfaces = ['eth0']\nbreak_glass = ['host']"), ["`host`", "192.0.2.7"]),
            (error("interfaces = ['eth0']\n[roles]\nadmin = ['@']"), ["`@`", "names nobody"]),
            (error("interfaces = ["), ["config.toml", "line 1"]),
            (error("[people]\nann = ['key:ann']"), ["`key:ann`", "knows no keys"]),
            (error("[people]\nann = ['x']\nbob = ['x']"), ["`x` is listed under ann and under bob", "one person"]),
            (port("number = 65536\nprotocol = 'tcp'"), ["65536", "use 1 to 65535"]),
            (port("number = 0\nprotocol = 'tcp'"), ["port number 0", "use 1 to 65535"]),
            (port("number = 22\nprotocol = 'icmp'"), ["`icmp`", "use tcp, udp or any"]),
            (
                port("number = 22\nprotocol = 'tcp'\nallowed_sources = ['192.0.2.1/24']"),
                ["192.0.2.1/24", "write 192.0.2.0/24"],
            ),
            (port("number = 22\nprotocol = 'tcp'\nallowed_sources = []"), ["22/tcp", "nobody could be let in"]),
            (port("number = 22\nprotocol = 'tcp'\nmax_duration = 'long'"), ["`long`", "\"3h\""]),
            (
                port("number = 22\nprotocol = 'tcp'\nmax_duration = '0s'"),
                ["22/tcp: max_duration of 0 s is", "use 5 min to 24 h"],
            ),
            (
                port("number = 22\nprotocol = 'tcp'\nmax_duration = '25h'"),
                ["22/tcp: max_duration of 25 h is", "use 5 min to 24 h"],
            ),
            (port("number = 22\nprotocol = 'tcp'\napproval = 'maybe'"), ["maybe", "`auto` or `required`"]),
            (
                port("number = 22\nprotocol = 'tcp'\napproval_timeout = '59s'"),
                ["approval_timeout of 59 s is", "use 1 min to 7 days"],
            ),
            (
                port("number = 22\nprotocol = 'tcp'\napproval_timeout = '169h'"),
                ["of 7 days 1 h is", "use 1 min to 7 days"],
            ),
            (port("number = 22\nprotocol = 'tcp'\nquota = 0"), ["22/tcp", "quota of 0"]),
            (error("interfaces = ['eth0']\nretention = '3h'"), ["`3h`", "\"1d\" to \"36500d\""]),
            (error("interfaces = ['eth0']\n[roles]\nowner = ['x']"), ["unknown field `owner`", "`requester`"]),
            (
                port("number = 22\nprotocol = 'tcp'\n[[port]]\nnumber = 22\nprotocol = 'any'"),
                ["22/tcp", "22/any overlap"],
            ),
        ] {
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
    }

    #[test]
    fn an_error_with_all_its_causes_says_each_thing_once() {
        let missing = files::load(Path::new("/no-such-directory/config.toml")).unwrap_err();
        let syntax = Config::parse("mode = 'enfore'", "config.toml").unwrap_err();
        let policy = Config::parse("[[port]]\nnumber = 22\nprotocol = 'tcp'\nquota = 0", "config.toml").unwrap_err();
        for error in [missing, syntax, policy] {
            // `jit-agent check` prints errors in this form.
            let text = error.to_string();
            assert_eq!(format!("{:#}", anyhow::Error::from(error)), text);
        }
    }

    #[test]
    fn records_are_kept_for_whole_days_however_they_are_written() {
        for (text, days) in [("400d", 400), ("2 days", 2), ("48h", 2), ("P1W", 7)] {
            let config = Config::parse(&format!("retention = '{text}'"), "").unwrap();
            assert_eq!(config.retention, Duration::from_secs(days * 86_400), "{text}");
        }
        for text in ["36h", "1 month", "23h", "400", ""] {
            assert!(error(&format!("retention = '{text}'")).contains("write days, \"1d\" to \"36500d\""), "{text}");
        }
    }
}
