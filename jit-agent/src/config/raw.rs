//! The configuration as it is written in a file: keys, spellings and defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jit_common::abi::Mode;
use jit_policy::{Fragments, Interfaces, People, PortId, PortPolicy, Protocol, Role, Scope, Span, sources_in_file};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{DEFAULT_BPFFS, DEFAULT_SOCKET, DEFAULT_STATE};

/// The length of a day in seconds.
const DAY: u64 = 24 * 60 * 60;
/// The default time for which records are kept.
pub(super) const DEFAULT_RETENTION: Duration = Duration::from_secs(400 * DAY);
const SHORTEST_RETENTION: Duration = Duration::from_secs(DAY);
const LONGEST_RETENTION: Duration = Duration::from_secs(36_500 * DAY);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) interfaces: Interfaces,
    #[serde(default)]
    pub(super) scope: Scope,
    #[serde(default)]
    pub(super) fragments: Fragments,
    #[serde(default, deserialize_with = "sources_in_file")]
    pub(super) break_glass: Vec<ipnet::IpNet>,
    #[serde(default = "default_socket")]
    pub(super) socket: PathBuf,
    #[serde(default = "default_state")]
    pub(super) state_dir: PathBuf,
    #[serde(default = "default_bpffs")]
    pub(super) bpffs_dir: PathBuf,
    #[serde(default, deserialize_with = "listen_address")]
    pub(super) metrics_listen: Option<SocketAddr>,
    #[serde(default = "default_retention", deserialize_with = "retention")]
    pub(super) retention: Duration,
    pub(super) port: Option<Vec<PortPolicy>>,
    #[serde(default)]
    pub(super) roles: RawRoles,
    #[serde(default)]
    pub(super) people: People,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoles {
    #[serde(default, deserialize_with = "names")]
    viewer: Vec<String>,
    #[serde(default, deserialize_with = "names")]
    requester: Vec<String>,
    #[serde(default, deserialize_with = "names")]
    approver: Vec<String>,
    #[serde(default, deserialize_with = "names")]
    admin: Vec<String>,
    #[serde(default, deserialize_with = "names")]
    delegate: Vec<String>,
}

impl From<RawRoles> for Vec<(Role, Vec<String>)> {
    fn from(raw: RawRoles) -> Self {
        let RawRoles { viewer, requester, approver, admin, delegate } = raw;
        vec![
            (Role::Viewer, viewer),
            (Role::Requester, requester),
            (Role::Approver, approver),
            (Role::Admin, admin),
            (Role::Delegate, delegate),
        ]
    }
}

/// The default policies, for a configuration that has no `port` key: the management ports.
pub(super) fn default_policies() -> Vec<PortPolicy> {
    let ports = [(22, Protocol::Tcp), (3389, Protocol::Any), (5985, Protocol::Tcp), (5986, Protocol::Tcp)];
    ports.map(|(number, protocol)| PortPolicy::new(PortId { number, protocol })).to_vec()
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

fn default_state() -> PathBuf {
    DEFAULT_STATE.into()
}

fn default_bpffs() -> PathBuf {
    DEFAULT_BPFFS.into()
}

const fn default_retention() -> Duration {
    DEFAULT_RETENTION
}

fn retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let in_days = |span: Span| span.0.subsec_nanos() == 0 && span.0.as_secs().is_multiple_of(DAY);
    let parsed = text.parse().ok().filter(|span| in_days(*span)).map(|Span(retention)| retention);
    parsed.filter(|retention| (SHORTEST_RETENTION..=LONGEST_RETENTION).contains(retention)).ok_or_else(|| {
        D::Error::custom(format!("`{text}` is not a time to keep records for; write days, \"1d\" to \"36500d\""))
    })
}

fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is not an address with a port; write one like \"127.0.0.1:9590\""))
    })?;
    if !address.ip().is_loopback() {
        return Err(D::Error::custom(format!(
            "`{text}` is not on loopback: the figures tell who may enter, and anyone who reaches the address may read \
             them; write one like \"127.0.0.1:9590\", with a proxy in front of it that knows its clients"
        )));
    }
    Ok(Some(address))
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    match names.iter().find(|name| name.trim_start_matches('@').is_empty()) {
        Some(name) => Err(D::Error::custom(format!("`{name}` names nobody; write a user, or a group as \"@group\""))),
        None => Ok(names),
    }
}
