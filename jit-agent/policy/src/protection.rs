//! The protected ports, and how strictly they are protected.

use ipnet::IpNet;
use jit_common::abi::{EnforceUntil, Settings, Transport};

use crate::words::words;

/// The protected ports, and how strictly they are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The protected ports.
    pub ports: Vec<ProtectedPort>,
    /// Until when drops are carried out.
    pub enforce_until: EnforceUntil,
    /// Whether all fragments but atomic ones are refused.
    pub drop_fragments: bool,
    /// Which packets count.
    pub scope: Scope,
    /// Break-glass sources, which are always let in.
    pub break_glass: Vec<IpNet>,
}

/// A port of one transport that is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtectedPort {
    /// The port number, 1 to 65535.
    pub number: u16,
    /// The transport.
    pub transport: Transport,
}

impl ProtectedPort {
    /// The port of this number and transport.
    #[must_use]
    pub const fn new(number: u16, transport: Transport) -> Self {
        Self { number, transport }
    }
}

impl Default for Protection {
    /// A protection without any port.
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            enforce_until: EnforceUntil::OBSERVE,
            drop_fragments: false,
            scope: Scope::All,
            break_glass: Vec::new(),
        }
    }
}

impl Protection {
    /// The parts of the protection that are flags in the program's settings.
    #[must_use]
    pub fn flags(&self) -> u32 {
        let flags =
            [(Settings::DROP_FRAGMENTS, self.drop_fragments), (Settings::BREAK_GLASS, !self.break_glass.is_empty())];
        flags.iter().filter(|(_, is_set)| *is_set).fold(0, |flags, (flag, _)| flags | flag)
    }
}

words! {
    /// Which packets to protected ports count.
    #[derive(Default)]
    pub enum Scope {
        /// All that arrive.
        #[default]
        All = "all",
        /// All but those that the kernel would forward.
        Local = "local",
    }
}

words! {
    /// What becomes of fragments, except atomic ones.
    #[derive(Default)]
    pub enum Fragments {
        /// Being a fragment is no reason to be dropped.
        #[default]
        Pass = "pass",
        /// All of them are dropped.
        Drop = "drop",
    }
}
