//! The compiled BPF object: its maps, and those of its programs that the kernel supports and an interface needs.

use std::path::Path;

#[cfg(any(test, feature = "testing"))]
use aya::programs::Program;
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapType},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use jit_common::abi::{
    Activity, COUNTERS, Counters, ENTRIES, HostKey4, HostKey6, PORTS, PortEntry, PrefixKey4, PrefixKey6, SLOTS,
    Settings, Slot, map,
};
use jit_policy::Layer;
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};

use crate::datapath::error::KernelError;

/// The object that the build script made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/jit-ebpf"));

/// The name of the XDP program: for packets in one or several buffers (from kernel 5.18), or for packets in one buffer.
const fn xdp_name(layer: Layer, frags: bool) -> Option<&'static str> {
    match (layer, frags) {
        (Layer::Ethernet, true) => Some("jit_xdp_frags"),
        (Layer::Ethernet, false) => Some("jit_xdp"),
        // On such interfaces XDP gets a packet from where a link header began, if there was one, and the program can't
        // tell.
        (Layer::Network, _) => None,
    }
}

/// The name of the classifier.
pub(super) const fn tc_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Ethernet => "jit_tc",
        Layer::Network => "jit_tc_l3",
    }
}

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The properties of a pinned map that this version can use.
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
    frags: bool,
}

impl Object {
    /// Creates the maps, or takes the maps pinned in `adopt`, and loads the XDP program for Ethernet. Whoever takes a
    /// map holds it as long as other programs may be loaded, because a program names a map by the map's descriptor.
    pub(super) fn load(adopt: Option<&Path>) -> Result<Self, KernelError> {
        // Kernels before 5.11 charge maps to this limit, and refuse even root beyond it.
        if let Err(error) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
            tracing::debug!(%error, "the limit of locked memory stays as it is");
        }
        let mut loader = EbpfLoader::new();
        // With this level the verifier says why it refuses a program, but does not log its work on a program that it
        // accepts: that log makes the verifier ten times slower.
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for name in map::PINNED {
            if let Some(directory) = adopt {
                loader.map_pin_path(name, directory.join(name));
            }
        }
        let mut object = loader.load(OBJECT).map_err(|error| KernelError::new("creating the program's maps", error))?;
        let mut load =
            |frags| xdp(&mut object, xdp_name(Layer::Ethernet, frags).unwrap_or_default()).and_then(Xdp::load);
        let frags = match load(true) {
            Ok(()) => true,
            // A kernel that does not know packets in several buffers answers like this. Any other answer is about this
            // program.
            Err(error) if is_unknown(&error) && load(false).is_ok() => {
                tracing::info!(
                    "this kernel refuses XDP for packets in several buffers, so interfaces with jumbo frames may \
                     refuse the program"
                );
                tracing::debug!(%error, "the kernel's answer");
                false
            }
            Err(error) => return Err(KernelError::new("loading the XDP program", error)),
        };
        #[cfg(feature = "log")]
        super::log::follow(&mut object);
        Ok(Self { object, frags })
    }

    /// The name of the XDP program for interfaces of this layer.
    pub(super) fn xdp_name(&self, layer: Layer) -> &'static str {
        xdp_name(layer, self.frags).unwrap_or("none")
    }

    /// Hands a map over.
    pub(super) fn take_map(&mut self, name: &'static str) -> Result<Map, KernelError> {
        self.object
            .take_map(name)
            .ok_or_else(|| KernelError::new(format!("opening map {name}"), "the object has no such map"))
    }

    /// Each map to be pinned, with its name.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.object.maps().filter(|(name, _)| map::PINNED.contains(name))
    }

    /// The XDP program for interfaces of this layer, loaded at first use.
    pub(super) fn xdp(&mut self, layer: Layer) -> Result<&mut Xdp, KernelError> {
        let Some(name) = xdp_name(layer, self.frags) else {
            return Err(KernelError::new("finding an XDP program", "packets have no Ethernet header"));
        };
        let program = xdp(&mut self.object, name).map_err(|error| loading(name, error))?;
        if program.fd().is_err() {
            program.load().map_err(|error| loading(name, error))?;
        }
        Ok(program)
    }

    /// The classifier for interfaces of this layer, loaded at first use.
    pub(super) fn tc(&mut self, layer: Layer) -> Result<&mut SchedClassifier, KernelError> {
        let name = tc_name(layer);
        let program = classifier(&mut self.object, name).map_err(|error| loading(name, error))?;
        if program.fd().is_err() {
            program.load().map_err(|error| loading(name, error))?;
        }
        Ok(program)
    }

    /// An XDP program that was loaded before, for test runs and queries.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn loaded_xdp(&self, layer: Layer) -> Result<&Xdp, KernelError> {
        match xdp_name(layer, self.frags).and_then(|name| self.object.program(name)) {
            Some(Program::Xdp(program)) => Ok(program),
            _ => Err(KernelError::new("finding the XDP program", "the object has no such program")),
        }
    }

    /// A classifier that was loaded before, for test runs and queries.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn loaded_tc(&self, layer: Layer) -> Result<&SchedClassifier, KernelError> {
        match self.object.program(tc_name(layer)) {
            Some(Program::SchedClassifier(program)) => Ok(program),
            _ => Err(KernelError::new("finding the classifier", "the object has no such program")),
        }
    }
}

fn loading(name: &str, error: ProgramError) -> KernelError {
    KernelError::new(format!("loading the program {name}"), error)
}

fn is_unknown(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if Errno::from_io_error(io_error) == Some(Errno::INVAL))
}

fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, ProgramError> {
    object.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}

fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    object.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}
