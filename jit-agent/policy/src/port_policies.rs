//! All port policies of a host.

use jit_common::abi::Transport;

use super::{
    port::{PolicyError, PortId, Protocol},
    port_policy::PortPolicy,
};

/// All port policies in order of port. No two policies are for the same packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortPolicies(Vec<PortPolicy>);

impl PortPolicies {
    /// Checks and orders port policies.
    ///
    /// # Errors
    /// Two policies have the same number and overlapping protocols, a maximum is out of range, or a list of sources is
    /// empty.
    pub fn new(mut policies: Vec<PortPolicy>) -> Result<Self, PolicyError> {
        policies.sort_by_key(|policy| policy.id);
        for policy in &policies {
            if policy.id.number == 0 {
                return Err(PolicyError::Number("0".to_owned()));
            }
            policy.check()?;
        }
        for (index, policy) in policies.iter().enumerate() {
            let overlapping = policies.iter().skip(index + 1).find(|other| other.id.overlaps(policy.id));
            if let Some(other) = overlapping {
                return Err(PolicyError::Overlap(policy.id, other.id));
            }
        }
        Ok(Self(policies))
    }

    /// Orders port policies that can't be refused any more: what is left of a broken file, or of two lists. A policy
    /// that is not valid admits no source. Of policies that overlap, one for all protocols is left, and it admits no
    /// source.
    #[must_use]
    pub fn salvaged(policies: Vec<PortPolicy>) -> Self {
        let mut salvaged: Vec<PortPolicy> = Vec::new();
        for policy in policies.into_iter().filter(|policy| policy.id.number > 0) {
            let valid = if policy.check().is_ok() { policy } else { PortPolicy::locked(policy.id) };
            let number = valid.id.number;
            if salvaged.iter().any(|other| other.id.overlaps(valid.id)) {
                salvaged.retain(|other| other.id.number != number);
                salvaged.push(PortPolicy::locked(PortId { number, protocol: Protocol::Any }));
            } else {
                salvaged.push(valid);
            }
        }
        salvaged.sort_by_key(|policy| policy.id);
        Self(salvaged)
    }

    /// The policies in order of port.
    pub fn iter(&self) -> impl Iterator<Item = &PortPolicy> {
        self.0.iter()
    }

    /// The policy under which a port of a grant falls.
    #[must_use]
    pub fn for_port(&self, port: PortId) -> Option<&PortPolicy> {
        self.0.iter().find(|policy| policy.covers(port))
    }

    /// The policies for a port number: one, or one for TCP and one for UDP.
    pub fn for_number(&self, number: u16) -> impl Iterator<Item = &PortPolicy> {
        self.0.iter().filter(move |policy| policy.id.number == number)
    }

    /// The policy that protects a port number for a transport.
    #[must_use]
    pub fn for_transport(&self, number: u16, transport: Transport) -> Option<&PortPolicy> {
        self.for_number(number).find(|policy| policy.id.protocol.transports().contains(&transport))
    }
}
