//! Changes of port policies, and the configuration read again.

use std::time::Duration;

use jit_policy::{
    Approval, Justification, LARGEST_QUOTA, LONGEST_APPROVAL_TIMEOUT, LONGEST_MAXIMUM, PortId, PortPolicy, Protocol,
    Reload as Asked, SHORTEST_APPROVAL_TIMEOUT, SHORTEST_MAXIMUM, Span, Violation,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Grant, Port, Trial,
    body::{Faults, parse_sources},
};
use crate::schema;

/// Most sources of one policy.
const MOST_SOURCES: usize = 16_384;
/// Most ports that a reload may name.
const MOST_NAMES: usize = 1024;

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

/// Body of `PUT /v1/ports/{number}/{protocol}`. What is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutPort {
    /// Prefixes within which a request's sources lie; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Source>>, min_items = 1)]
    pub allowed_source_address_prefixes: Option<Vec<String>>,
    /// Longest duration of a request, ISO 8601, `PT5M` to `PT24H`; absent: `PT3H`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Duration>)]
    pub max_request_access_duration: Option<String>,
    /// `auto` or `required`; absent: `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Approval>)]
    pub approval: Option<String>,
    /// How long a request waits for approval, ISO 8601, `PT1M` to `P7D`; absent: `PT1H`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Duration>)]
    pub approval_timeout: Option<String>,
    /// `required` or `optional`; absent: `required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Need>)]
    pub justification: Option<String>,
    /// How many live grants one person may have; absent: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub quota: Option<i64>,
}

impl PutPort {
    /// The policy that the body gives a port.
    ///
    /// # Errors
    /// Every value that can't be used, all at once.
    pub fn check(self, id: PortId) -> Result<PortPolicy, Vec<Violation>> {
        let Self {
            allowed_source_address_prefixes: sources,
            max_request_access_duration: maximum,
            approval,
            approval_timeout: timeout,
            justification,
            quota,
        } = self;
        let (mut faults, mut policy, port) = (Faults::default(), PortPolicy::new(id), id.to_string());
        if let Some(sources) = sources {
            if sources.is_empty() || sources.len() > MOST_SOURCES {
                let allowed = format!("1 to {MOST_SOURCES} sources, or none of this field to allow any");
                faults.add(&port, "allowedSourceAddressPrefixes", format!("{} sources", sources.len()), allowed);
            } else {
                policy.allowed_sources = parse_sources(&port, &sources, &mut faults);
            }
        }
        let mut duration = |field, given: Option<String>, target: &mut Duration, range: (Duration, Duration), words| {
            let Some(given) = given else { return };
            match Span::of_iso(&given).map(|span| span.0).filter(|duration| (range.0..=range.1).contains(duration)) {
                Some(duration) => *target = duration,
                None => faults.add(&port, field, given, words),
            }
        };
        let range = (SHORTEST_MAXIMUM, LONGEST_MAXIMUM);
        duration("maxRequestAccessDuration", maximum, &mut policy.max_duration, range, "PT5M to PT24H");
        let range = (SHORTEST_APPROVAL_TIMEOUT, LONGEST_APPROVAL_TIMEOUT);
        duration("approvalTimeout", timeout, &mut policy.approval_timeout, range, "PT1M to P7D");
        if let Some(given) = approval {
            match [Approval::Auto, Approval::Required].into_iter().find(|one| one.name() == given) {
                Some(approval) => policy.approval = approval,
                None => faults.add(&port, "approval", given, "auto or required"),
            }
        }
        if let Some(given) = justification {
            match [Justification::Required, Justification::Optional].into_iter().find(|one| one.name() == given) {
                Some(justification) => policy.justification = justification,
                None => faults.add(&port, "justification", given, "required or optional"),
            }
        }
        if let Some(given) = quota {
            match u32::try_from(given).ok().filter(|quota| (1..=LARGEST_QUOTA).contains(quota)) {
                Some(quota) => policy.quota = quota,
                None => faults.add(&port, "quota", given.to_string(), format!("1 to {LARGEST_QUOTA}")),
            }
        }
        faults.into_result(policy)
    }
}

/// The port of a path, like `22/tcp`.
///
/// # Errors
/// What of it is no port.
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
    /// What may be left unprotected by it: ports like `22/tcp`, or `mode=observe`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1024)]
    pub allow_open: Vec<String>,
    /// Whether grants may end or be shortened by it.
    #[serde(default)]
    pub confirm: bool,
}

impl Reload {
    /// Translates the body for the core.
    ///
    /// # Errors
    /// Every value that can't be used, all at once.
    pub fn check(self) -> Result<Asked, Vec<Violation>> {
        let Self { allow_open, confirm } = self;
        let mut faults = Faults::default();
        if allow_open.len() > MOST_NAMES {
            let given = format!("{} ports", allow_open.len());
            faults.add("", "allowOpen", given, format!("at most {MOST_NAMES} ports"));
        }
        faults.into_result(Asked { allow_open, confirm, session: None })
    }
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
    /// Whether a change does nothing of the kind.
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
