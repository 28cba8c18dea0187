//! The compiled BPF object: its maps and the one program that suits the kernel.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapType},
    programs::{Program, ProgramError, Xdp},
};
use jit_common::abi::{
    Activity, COUNTERS, Counters, ENTRIES, HostKey4, HostKey6, PORTS, PortEntry, PrefixKey4, PrefixKey6, SLOTS,
    Settings, Slot, map,
};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};

use crate::datapath::DatapathError;

/// The object that the build script made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/jit-ebpf"));

/// For packets in one or several buffers, from kernel 5.18.
const FRAGS: &str = "jit_xdp_frags";
/// For packets in one buffer.
const LINEAR: &str = "jit_xdp";

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// What a map must look like to be one of this version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) kind: MapType,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// The shape of each pinned map.
pub(super) fn shape(name: &str) -> Shape {
    let (kind, key_size, value_size, max_entries, flags) = match name {
        map::SETTINGS => (MapType::Array, 4, size_of::<Settings>(), 1, BPF_F_MMAPABLE),
        map::PORTS => (MapType::Array, 4, size_of::<PortEntry>(), PORTS, BPF_F_MMAPABLE),
        map::SLOTS => (MapType::Array, 4, size_of::<Slot>(), SLOTS, BPF_F_MMAPABLE),
        map::ACTIVITY => (MapType::Array, 4, size_of::<Activity>(), SLOTS, BPF_F_MMAPABLE),
        map::HOSTS4 => (MapType::Hash, size_of::<HostKey4>(), 4, ENTRIES, 0),
        map::HOSTS6 => (MapType::Hash, size_of::<HostKey6>(), 4, ENTRIES, 0),
        map::PREFIXES4 => (MapType::LpmTrie, 4 + size_of::<PrefixKey4>(), 4, ENTRIES, BPF_F_NO_PREALLOC),
        map::PREFIXES6 => (MapType::LpmTrie, 4 + size_of::<PrefixKey6>(), 4, ENTRIES, BPF_F_NO_PREALLOC),
        _ => (MapType::PerCpuArray, 4, size_of::<Counters>(), COUNTERS, 0),
    };
    Shape { kind, key_size: key_size as u32, value_size: value_size as u32, max_entries: max_entries as u32, flags }
}

/// The loaded object.
pub(super) struct Object {
    object: Ebpf,
    program: &'static str,
}

impl Object {
    /// Creates the maps, or takes those pinned in `adopt`, and loads the program.
    pub(super) fn load(adopt: Option<&Path>) -> Result<Self, DatapathError> {
        // Kernels before 5.11 charge maps to this limit, and refuse even root beyond it.
        if let Err(error) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
            tracing::debug!(%error, "the limit of locked memory stays as it is");
        }
        let mut loader = EbpfLoader::new();
        // The verifier says why it refuses a program, but does not write down all it does with one it accepts: that
        // takes it ten times as long.
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for name in map::PINNED {
            if let Some(directory) = adopt {
                loader.map_pin_path(name, directory.join(name));
            }
        }
        let mut object =
            loader.load(OBJECT).map_err(|error| DatapathError::kernel("creating the program's maps", error))?;
        let program = match xdp(&mut object, FRAGS).and_then(Xdp::load) {
            Ok(()) => FRAGS,
            // That is how kernels answer that don't know of such packets. Any other answer is about this program.
            Err(error) if is_unknown(&error) && xdp(&mut object, LINEAR).and_then(Xdp::load).is_ok() => {
                tracing::info!(
                    "this kernel refuses XDP for packets in several buffers, so interfaces with jumbo frames may \
                     refuse the program"
                );
                tracing::debug!(%error, "the kernel's answer");
                LINEAR
            }
            Err(error) => return Err(DatapathError::kernel("loading the XDP program", error)),
        };
        #[cfg(feature = "log")]
        super::log::follow(&mut object);
        Ok(Self { object, program })
    }

    /// Name of the loaded program.
    pub(super) const fn program_name(&self) -> &'static str {
        self.program
    }

    /// Hands a map over.
    pub(super) fn take_map(&mut self, name: &'static str) -> Result<Map, DatapathError> {
        self.object
            .take_map(name)
            .ok_or_else(|| DatapathError::kernel(format!("opening map {name}"), "the object has no such map"))
    }

    /// Each map to be pinned, with its name.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.object.maps().filter(|(name, _)| map::PINNED.contains(name))
    }

    /// The loaded program.
    pub(super) fn program(&mut self) -> Result<&mut Xdp, DatapathError> {
        xdp(&mut self.object, self.program).map_err(|error| DatapathError::kernel("finding the XDP program", error))
    }

    /// The loaded program, to run or to ask.
    pub(super) fn loaded(&self) -> Result<&Xdp, DatapathError> {
        match self.object.program(self.program) {
            Some(Program::Xdp(program)) => Ok(program),
            _ => Err(DatapathError::kernel("finding the XDP program", "the object has no such program")),
        }
    }
}

fn is_unknown(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if Errno::from_io_error(io_error) == Some(Errno::INVAL))
}

fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, ProgramError> {
    object.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}
