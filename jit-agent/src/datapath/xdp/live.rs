//! The kernel's maps as decisions read them, for those who ask what would become of a packet.

use std::cell::RefCell;

use aya::maps::{MapError, lpm_trie::Key};
use jit_common::{
    abi::{HostKey4, HostKey6, PREFIX_KEY_HEAD_BITS, PortEntry, PrefixKey4, PrefixKey6, Settings, Slot},
    decide,
    parse::{Flow, Source},
};
use jit_policy::Packet;

use super::{XdpDatapath, netlink, tables::Tables};
use crate::{
    clock::{Clock as _, SystemClock},
    datapath::{DatapathError, Trace, trace::trace},
};

/// What would become of a packet by the maps as they stand.
pub(super) fn ask(datapath: &XdpDatapath, packet: &Packet) -> Result<Trace, DatapathError> {
    let forwards = match (&packet.interface, packet.destination) {
        (Some(name), Some(destination)) if datapath.local.contains(name) => {
            netlink::forwards(name, packet.source, destination)
                .map_err(|error| DatapathError::kernel("asking netlink for a route", error))?
        }
        _ => false,
    };
    let live = Live { datapath, forwards, problem: RefCell::default() };
    let found = trace(packet, &live);
    match live.problem.into_inner() {
        Some(error) => Err(DatapathError::kernel("reading the grant maps", error)),
        None => Ok(found),
    }
}

struct Live<'datapath> {
    datapath: &'datapath XdpDatapath,
    forwards: bool,
    problem: RefCell<Option<MapError>>,
}

impl Live<'_> {
    fn slot(&self, found: Result<u32, MapError>) -> Option<(u32, Slot)> {
        match found {
            Ok(number) => Some((number, self.tables().slot(number)?)),
            Err(MapError::KeyNotFound) => None,
            Err(error) => {
                self.problem.replace(Some(error));
                None
            }
        }
    }

    const fn tables(&self) -> &Tables {
        &self.datapath.tables
    }

    fn longest4(&self, key: PrefixKey4) -> Option<(u32, Slot)> {
        self.slot(self.tables().prefixes4.get(&Key::new(PREFIX_KEY_HEAD_BITS + u32::BITS, key), 0))
    }

    fn longest6(&self, key: PrefixKey6) -> Option<(u32, Slot)> {
        self.slot(self.tables().prefixes6.get(&Key::new(PREFIX_KEY_HEAD_BITS + u128::BITS, key), 0))
    }
}

impl decide::Tables for Live<'_> {
    fn settings(&self) -> Settings {
        self.datapath.settings.get()
    }

    fn port(&self, port: u16) -> PortEntry {
        self.datapath.ports.get(port)
    }

    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.slot(match flow.source {
            Source::V4(address) => self.tables().hosts4.get(&HostKey4::new(address, flow.port, flow.transport), 0),
            Source::V6(high, low) => self.tables().hosts6.get(&HostKey6::new(high, low, flow.port, flow.transport), 0),
        })
    }

    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        match flow.source {
            Source::V4(address) => self.longest4(PrefixKey4::new(address, flow.port, flow.transport)),
            Source::V6(high, low) => self.longest6(PrefixKey6::new(high, low, flow.port, flow.transport)),
        }
    }

    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        match source {
            Source::V4(address) => self.longest4(PrefixKey4::break_glass(address)),
            Source::V6(high, low) => self.longest6(PrefixKey6::break_glass(high, low)),
        }
    }

    fn forwards(&self) -> bool {
        self.forwards
    }

    fn now(&self) -> u64 {
        SystemClock.boot().0
    }
}
