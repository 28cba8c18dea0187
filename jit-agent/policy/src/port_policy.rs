//! The policy of a port: the keys, each with a default, limits, and a description for the API.
//!
//! This list of keys is the only list of them. The file, the API, edits and the audit log follow it.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{
    key::{KeyValue, in_file},
    names::Names,
    plain::Plain,
    port::{Approval, Justification, PolicyError, PortId, Protocol, number_in_file},
    request::Violation,
    schema::Source,
    source::any_source,
    span::Span,
    text::excerpt,
    words::Given,
};

/// Shortest maximum duration a port policy may set.
pub const SHORTEST_MAXIMUM: Duration = Duration::from_secs(5 * 60);
/// Longest maximum duration a port policy may set.
pub const LONGEST_MAXIMUM: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum duration of a port policy that sets no maximum.
const DEFAULT_MAXIMUM: Duration = Duration::from_secs(3 * 60 * 60);

/// Shortest time that a port policy may leave for approval.
const SHORTEST_APPROVAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that a port policy may leave for approval.
const LONGEST_APPROVAL_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The time for approval of a port policy that sets no such time.
const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The number of live grants that a person may have if a port policy sets no quota.
const DEFAULT_QUOTA: u32 = 32;
/// The largest quota: more grants than the kernel's tables hold mean nothing.
const LARGEST_QUOTA: u32 = 1 << 20;

/// Makes the types of a port policy from the list of keys.
macro_rules! port_policy {
    ($(
        $(#[$($about:tt)*])*
        $key:ident: $value:ty = $default:expr, $limits:expr;
        api $name:tt: $given:ty;
        body { $(#[$($in_body:tt)*])* }
        answer { $(#[$($in_answer:tt)*])* }
    )+) => {
        /// What may be requested for one protected port.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct PortPolicy {
            /// The port.
            pub id: PortId,
            $(
                $(#[$($about)*])*
                pub $key: $value,
            )+
        }

        /// Keys of a port policy as the API has them, in bodies and in answers. In a body, a key that is left out has its
        /// default.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename = "PutPort", deny_unknown_fields)]
        #[schema(
            as = PutPort,
            description = "Body of `PUT /v1/ports/{number}/{protocol}`. What is left out has its default."
        )]
        pub struct PortPatch {$(
            $(#[$($in_body)*])*
            #[serde(rename = $name, default, skip_serializing_if = "Option::is_none")]
            pub $key: Option<$given>,
        )+}

        /// The schema that the keys have in answers. Nothing is of this type.
        #[derive(Debug, ToSchema)]
        pub struct PortPolicySchema {$(
            $(#[$($in_answer)*])*
            #[schema(rename = $name)]
            pub $key: $given,
        )+}

        impl PortPolicy {
            /// The policy of a port about which nothing is said: any source for 3 h, with a justification.
            #[must_use]
            pub fn new(id: PortId) -> Self {
                Self { id, $($key: $default,)+ }
            }

            /// The policy of a port of which nothing is known but that it must be shut: no source may be let in.
            #[must_use]
            pub fn locked(id: PortId) -> Self {
                Self { allowed_sources: Vec::new(), ..Self::new(id) }
            }

            /// The keys beside number and protocol, by their names in the file, as plain values.
            #[must_use]
            pub fn keys(&self) -> Vec<(&'static str, Plain)> {
                vec![$((stringify!($key), self.$key.plain()),)+]
            }

            /// Checks each key by itself.
            pub(crate) fn check(&self) -> Result<(), PolicyError> {
                $(self.$key.check(self.id, stringify!($key), &$limits)?;)+
                Ok(())
            }
        }

        impl<'de> Deserialize<'de> for PortPolicy {
            /// Reads a policy as the file has it.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(rename = "RawPort", deny_unknown_fields)]
                struct InFile {
                    #[serde(deserialize_with = "number_in_file")]
                    number: u16,
                    #[serde(deserialize_with = "Protocol::in_file")]
                    protocol: Protocol,
                    $(
                        #[serde(default, deserialize_with = "in_file")]
                        $key: Option<$value>,
                    )+
                }
                let InFile { number, protocol, $($key,)+ } = InFile::deserialize(deserializer)?;
                let id = PortId { number, protocol };
                Ok(Self { id, $($key: $key.unwrap_or_else(|| $default),)+ })
            }
        }

        impl PortPatch {
            /// The policy that a port gets.
            ///
            /// # Errors
            /// Every value that can't be used, all at once.
            pub fn check(self, id: PortId) -> Result<PortPolicy, Vec<Violation>> {
                let mut violations = Vec::new();
                let mut refuse = |field: &'static str, given: &str, allowed: String| {
                    violations.push(Violation { port: id.to_string(), field, given: excerpt(given), allowed });
                };
                let policy = PortPolicy {
                    id,
                    $(
                        $key: self
                            .$key
                            .and_then(|given| {
                                KeyValue::of_given(given, &$limits, &mut |given, allowed| refuse($name, given, allowed))
                            })
                            .unwrap_or_else(|| $default),
                    )+
                };
                if violations.is_empty() { Ok(policy) } else { Err(violations) }
            }

            /// What is named here, and the rest from `present`.
            #[must_use]
            pub fn over(self, present: Self) -> Self {
                Self { $($key: self.$key.or(present.$key),)+ }
            }
        }

        impl From<&PortPolicy> for PortPatch {
            fn from(policy: &PortPolicy) -> Self {
                Self { $($key: Some(policy.$key.given()),)+ }
            }
        }
    };
}

port_policy! {
    /// Sources that may be requested; a request's source lies within one of them.
    allowed_sources: Vec<IpNet> = any_source(), ();
    api "allowedSourceAddressPrefixes": Vec<String>;
    body {
        /// Prefixes within which a request's sources lie; absent: any.
        #[schema(value_type = Option<Vec<Source>>, min_items = 1)]
    }
    answer {
        /// Prefixes within which a request's sources lie.
        #[schema(value_type = Vec<Source>)]
    }

    /// Longest duration that may be requested.
    max_duration: Duration = DEFAULT_MAXIMUM, SHORTEST_MAXIMUM..=LONGEST_MAXIMUM;
    api "maxRequestAccessDuration": Given<Span>;
    body {
        /// Longest duration of a request, ISO 8601, `PT5M` to `PT24H`; absent: `PT3H`.
        #[schema(value_type = Option<Span>)]
    }
    answer {
        /// Longest duration of a request, ISO 8601.
        #[schema(value_type = Span)]
    }

    /// Whether a request needs a second person.
    approval: Approval = Approval::default(), ();
    api "approval": Given<Approval>;
    body {
        /// `auto` or `required`; absent: `auto`.
        #[schema(value_type = Option<Approval>)]
    }
    answer {
        /// `auto` or `required`: whether a request needs a second person.
        #[schema(value_type = String, required = false)]
    }

    /// How long a request waits for that person.
    approval_timeout: Duration = DEFAULT_APPROVAL_TIMEOUT, SHORTEST_APPROVAL_TIMEOUT..=LONGEST_APPROVAL_TIMEOUT;
    api "approvalTimeout": Given<Span>;
    body {
        /// How long a request waits for approval, ISO 8601, `PT1M` to `P7D`; absent: `PT1H`.
        #[schema(value_type = Option<Span>)]
    }
    answer {
        /// How long a request waits for that person, ISO 8601.
        #[schema(value_type = String, required = false)]
    }

    /// Whether a request must say why.
    justification: Justification = Justification::default(), ();
    api "justification": Given<Justification>;
    body {
        /// `required` or `optional`; absent: `required`.
        #[schema(value_type = Option<Justification>)]
    }
    answer {
        /// `required` or `optional`.
        #[schema(value_type = Justification)]
    }

    /// How many live grants for this port one person may have.
    quota: u32 = DEFAULT_QUOTA, 1..=LARGEST_QUOTA;
    api "quota": i64;
    body {
        /// How many live grants one person may have; absent: 32.
        #[schema(minimum = 1, maximum = 1_048_576)]
    }
    answer {
        /// How many live grants one person may have.
        #[schema(value_type = u32, required = false)]
    }

    /// Which requesters may request this port; empty: all.
    requesters: Names = Names::default(), ();
    api "requesters": Vec<String>;
    body {
        /// Which users and `@groups` among the requesters and delegates may request this port; absent or empty: all.
        #[schema(max_items = 256)]
    }
    answer {
        /// Which users and `@groups` among the requesters and delegates may request this port; empty: all.
        #[schema(required = false)]
    }

    /// Which approvers may approve requests for this port; empty: all.
    approvers: Names = Names::default(), ();
    api "approvers": Vec<String>;
    body {
        /// Which users and `@groups` among the approvers may approve requests for this port; absent or empty: all.
        #[schema(max_items = 256)]
    }
    answer {
        /// Which users and `@groups` among the approvers may approve requests for this port; empty: all.
        #[schema(required = false)]
    }
}

impl PortPolicy {
    /// Whether a grant's port falls under this policy.
    #[must_use]
    pub fn covers(&self, port: PortId) -> bool {
        self.id.number == port.number && self.id.protocol.includes(port.protocol)
    }

    /// Whether anybody on earth may be let in, which is worth a warning.
    #[must_use]
    pub fn allows_any_source(&self) -> bool {
        self.allowed_sources.iter().any(|source| source.prefix_len() == 0)
    }

    /// Whether `source` may be requested.
    #[must_use]
    pub fn allows_source(&self, source: &IpNet) -> bool {
        self.allowed_sources.iter().any(|allowed| allowed.contains(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: PortId = PortId { number: 443, protocol: Protocol::Tcp };

    fn policy() -> PortPolicy {
        PortPolicy {
            allowed_sources: vec!["192.0.2.0/24".parse().unwrap()],
            max_duration: Duration::from_secs(5400),
            approval: Approval::Required,
            approval_timeout: LONGEST_APPROVAL_TIMEOUT,
            justification: Justification::Optional,
            quota: 7,
            ..PortPolicy::new(WEB)
        }
    }

    #[test]
    fn a_policy_comes_back_from_the_api_as_it_was() {
        let text = serde_json::to_string(&PortPatch::from(&policy())).unwrap();
        let read: PortPatch = serde_json::from_str(&text).unwrap();
        assert_eq!(read.check(WEB), Ok(policy()));
        assert_eq!(PortPatch::default().check(WEB), Ok(PortPolicy::new(WEB)));
    }

    #[test]
    fn a_patch_leaves_what_it_does_not_name() {
        let patch = PortPatch { quota: Some(2), ..PortPatch::default() };
        assert_eq!(patch.over(PortPatch::from(&policy())).check(WEB), Ok(PortPolicy { quota: 2, ..policy() }));
    }

    #[test]
    fn what_can_not_be_used_is_told_as_it_came_with_what_can() {
        let body = r#"{"allowedSourceAddressPrefixes": [], "maxRequestAccessDuration": "PT240S", "approval": "by-two",
            "approvalTimeout": "P8D", "justification": "", "quota": -1}"#;
        let violations = serde_json::from_str::<PortPatch>(body).unwrap().check(WEB).unwrap_err();
        let told: Vec<_> = violations.iter().map(|one| (one.field, one.given.as_str(), one.allowed.as_str())).collect();
        assert_eq!(
            told,
            [
                ("allowedSourceAddressPrefixes", "0 sources", "1 to 16384 sources, or none of this field to allow any"),
                ("maxRequestAccessDuration", "PT240S", "PT5M to PT24H"),
                ("approval", "by-two", "auto or required"),
                ("approvalTimeout", "P8D", "PT1M to P7D"),
                ("justification", "", "required or optional"),
                ("quota", "-1", "1 to 1048576"),
            ]
        );
    }
}
