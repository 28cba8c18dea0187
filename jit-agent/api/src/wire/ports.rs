//! Changes of port policies, and the reload of the configuration.

use std::net::IpAddr;

use ipnet::IpNet;
use jit_common::abi::Transport;
use jit_policy::{PortId, Protocol, Reload as Asked, Violation};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Grant, Port, Trial, body::Faults};
use crate::schema;

/// Most ports that a reload may name.
const MOST_NAMES: usize = 1024;

/// The length of the longest name that Linux gives an interface.
const LONGEST_INTERFACE: usize = 15;

/// What may follow a path of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Confirmation {
    /// Whether the change may open ports, and end or shorten grants.
    #[serde(default)]
    pub confirm: bool,
}

/// The parts of such a path, for the document: what can't be used is told apart by hand.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PortPath {
    /// Number of the port.
    #[param(value_type = schema::PortNumber)]
    pub number: String,
    /// Its protocol.
    #[param(inline, value_type = schema::PathProtocol)]
    pub protocol: String,
}

/// The port of a path, like `22/tcp`.
///
/// # Errors
/// A part of the path does not name a port.
pub fn port_of_path(number: &str, protocol: &str) -> Result<PortId, Vec<Violation>> {
    let mut faults = Faults::default();
    let port = format!("{number}/{protocol}");
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = number.parse().ok().filter(|number| digits && *number > 0);
    if parsed.is_none() {
        faults.add(&port, "number", number, "1 to 65535");
    }
    let named = Protocol::ALL.into_iter().find(|known| known.name() == protocol);
    if named.is_none() {
        faults.add(&port, "protocol", protocol, "tcp, udp or any");
    }
    match (parsed, named) {
        (Some(number), Some(protocol)) => Ok(PortId { number, protocol }),
        _ => faults.into_result(PortId { number: 0, protocol: Protocol::Any }),
    }
}

/// Body of `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reload {
    /// What the reload may open: ports like `22/tcp`, `mode=observe`, `interface=eth1`, `break_glass=192.0.2.7`,
    /// `scope=local`, `fragments=pass`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<schema::Opening>, max_items = 1024)]
    pub allow_open: Vec<String>,
    /// Whether grants may end or be shortened by it.
    #[serde(default)]
    pub confirm: bool,
    /// What the agent itself set and is to be as in the files again: `mode`, or ports like `22/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<schema::OwnSetting>, max_items = 1024)]
    pub reset: Vec<String>,
}

impl Reload {
    /// Translates the body for the core.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(self) -> Result<Asked, Vec<Violation>> {
        let Self { allow_open, confirm, reset } = self;
        let mut faults = Faults::default();
        if allow_open.len() > MOST_NAMES {
            let given = format!("{} ports", allow_open.len());
            faults.add("", "allowOpen", given, format!("at most {MOST_NAMES} ports"));
        } else {
            // A misspelt name would silently allow nothing.
            for name in allow_open.iter().filter(|name| !is_opening(name)) {
                let allowed = "a port like 22 or 22/tcp, mode=observe, scope=local, fragments=pass, interface= with the \
                               name of an interface, or break_glass= with a prefix";
                faults.add("", "allowOpen", name, allowed);
            }
        }
        if reset.len() > MOST_NAMES {
            faults.add("", "reset", format!("{} names", reset.len()), format!("at most {MOST_NAMES} names"));
        } else {
            for name in reset.iter().filter(|name| *name != "mode" && !is_port(name)) {
                faults.add("", "reset", name, "mode, or a port like 22 or 22/tcp");
            }
        }
        faults.into_result(Asked { allow_open, confirm, reset, session: None })
    }
}

/// Whether a reload can open something of this name.
fn is_opening(name: &str) -> bool {
    if let Some(interface) = name.strip_prefix("interface=") {
        let is_printable = |c: char| c > ' ' && c != '\x7f' && c != '/';
        return (1..=LONGEST_INTERFACE).contains(&interface.chars().count()) && interface.chars().all(is_printable);
    }
    if let Some(prefix) = name.strip_prefix("break_glass=") {
        return prefix.parse::<IpNet>().is_ok() || prefix.parse::<IpAddr>().is_ok();
    }
    ["mode=observe", "scope=local", "fragments=pass"].contains(&name) || is_port(name)
}

/// Whether this names a port, like `22` or `22/tcp`.
fn is_port(name: &str) -> bool {
    let (number, protocol) = name.split_once('/').map_or((name, None), |(number, protocol)| (number, Some(protocol)));
    // `parse` would also read a sign and leading zeros.
    let is_number = number.starts_with(|c: char| c.is_ascii_digit() && c != '0') && number.parse::<u16>().is_ok();
    let is_protocol = |protocol: &str| protocol == Transport::Sctp.name() || protocol.parse::<Protocol>().is_ok();
    is_number && protocol.is_none_or(is_protocol)
}

/// What a change does beyond new requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effects {
    /// What is no longer protected: ports like `22/tcp`, or `mode=observe` for all.
    #[serde(default)]
    pub opened: Vec<String>,
    /// Grants that end.
    #[serde(default)]
    pub ended: Vec<Grant>,
    /// Grants that end earlier than they would have, with their new ends.
    #[serde(default)]
    pub shortened: Vec<Grant>,
}

impl Effects {
    /// Whether the change has no such effects.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.ended.is_empty() && self.shortened.is_empty()
    }
}

/// Answer to a change of one port policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortChange {
    /// The policy now; null if there is none.
    pub port: Option<Port>,
    /// What the change did.
    #[serde(flatten)]
    pub effects: Effects,
    /// Whether all of it is written; if not, it is in force all the same.
    pub durable: bool,
    /// It cuts off who asked, and is therefore on trial until it is confirmed; null if it is in force for good.
    #[serde(default)]
    pub trial: Option<Trial>,
}

/// Answer to a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The ports whose policies changed, like `22/tcp`.
    pub changed: Vec<String>,
    /// What that did.
    #[serde(flatten)]
    pub effects: Effects,
    /// Whether all of it is written; if not, it is in force all the same.
    pub durable: bool,
    /// It cuts off who asked, and is therefore on trial until it is confirmed; null if it is in force for good.
    #[serde(default)]
    pub trial: Option<Trial>,
}
