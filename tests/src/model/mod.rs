//! The meaning of grants, in its simplest form: a packet passes if one of the grants admits it now.

mod probe;
mod twin;

use jit_policy::{BootTime, LiveGrant};

pub use self::{
    probe::{Probe, frame, probes},
    twin::Twin,
};

/// Whether one of the grants admits the packet at this moment.
#[must_use]
pub fn admits(grants: &[LiveGrant], probe: &Probe, now: BootTime) -> bool {
    grants.iter().any(|grant| {
        grant.port.number == probe.number
            && grant.port.protocol.transports().contains(&probe.transport)
            && grant.source.contains(&probe.address)
            && now < grant.end
    })
}
