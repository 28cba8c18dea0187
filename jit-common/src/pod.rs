//! The shared structs as map keys and values of aya.

#![expect(unsafe_code, reason = "aya::Pod is an unsafe marker trait")]

use crate::abi::{Activity, Counters, HostKey4, HostKey6, PortEntry, PrefixKey4, PrefixKey6, Settings, Slot};

// SAFETY: one integer, every value of it valid.
unsafe impl aya::Pod for PortEntry {}
// SAFETY: integers only, without padding (sizes asserted in `abi`), every bit pattern valid.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for HostKey4 {}
// SAFETY: as above.
unsafe impl aya::Pod for HostKey6 {}
// SAFETY: as above.
unsafe impl aya::Pod for PrefixKey4 {}
// SAFETY: as above.
unsafe impl aya::Pod for PrefixKey6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Slot {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}
// SAFETY: as above.
unsafe impl aya::Pod for Activity {}
