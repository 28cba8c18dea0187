//! Keys of the look-up maps, from addresses in host order.

use crate::abi::{HostKey4, HostKey6, PrefixKey4, PrefixKey6, Transport};

impl HostKey4 {
    /// The key of a source address at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: u32, port: u16, transport: Transport) -> Self {
        Self { address: address.to_be_bytes(), port: port.to_be_bytes(), protocol: transport as u8, zero: 0 }
    }
}

impl HostKey6 {
    /// The key of a source address, in halves, at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(high: u64, low: u64, port: u16, transport: Transport) -> Self {
        Self { address: join(high, low), port: port.to_be_bytes(), protocol: transport as u8, zero: 0 }
    }
}

impl PrefixKey4 {
    /// The key of a source address at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: u32, port: u16, transport: Transport) -> Self {
        Self { port: port.to_be_bytes(), protocol: transport as u8, zero: 0, address: address.to_be_bytes() }
    }

    /// The key of a source address among the break-glass sources, which are admitted to all ports.
    #[inline(always)]
    #[must_use]
    pub const fn break_glass(address: u32) -> Self {
        Self { port: [0; 2], protocol: 0, zero: 0, address: address.to_be_bytes() }
    }
}

impl PrefixKey6 {
    /// The key of a source address, in halves, at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(high: u64, low: u64, port: u16, transport: Transport) -> Self {
        Self { port: port.to_be_bytes(), protocol: transport as u8, zero: 0, address: join(high, low) }
    }

    /// The key of a source address, in halves, among the break-glass sources, which are admitted to all ports.
    #[inline(always)]
    #[must_use]
    pub const fn break_glass(high: u64, low: u64) -> Self {
        Self { port: [0; 2], protocol: 0, zero: 0, address: join(high, low) }
    }
}

#[inline(always)]
const fn join(high: u64, low: u64) -> [u8; 16] {
    ((high as u128) << 64 | low as u128).to_be_bytes()
}
