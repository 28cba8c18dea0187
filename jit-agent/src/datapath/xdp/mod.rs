//! Enforcement by the XDP program.

mod attach;
#[cfg(feature = "log")]
mod log;
mod netlink;
mod object;
mod pins;
mod slots;
mod tables;

use std::{path::Path, time::Duration};

use aya::{
    maps::{Array, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use jit_common::{
    abi::{Mode, PORTS, PortEntry, Settings, counter_index, map},
    reason::Reason,
};

pub use self::pins::unload;
use self::{attach::Attachments, object::Object, pins::Pins, tables::Tables};
use super::{Counter, Datapath, DatapathError, Protection};
use crate::{clock::BootTime, core::view::InterfaceView, policy::EntryKey};

/// The loaded program with its maps.
pub struct XdpDatapath {
    object: Object,
    settings: Array<MapData, Settings>,
    ports: Array<MapData, PortEntry>,
    counters: PerCpuArray<MapData, u64>,
    tables: Tables,
    /// What stands in `ports`, so that a hint is changed without reading it back.
    port_entries: Vec<PortEntry>,
    pins: Pins,
    attachments: Attachments,
    adopted: bool,
}

impl XdpDatapath {
    /// Loads the program, with the maps that a predecessor pinned in `directory` if they are sound, else with new
    /// ones. Nothing is attached or changed for packets yet.
    ///
    /// # Errors
    /// `directory` is not on a BPF file system, or the kernel refuses the maps or the program.
    pub fn load(directory: &Path) -> Result<Self, DatapathError> {
        let pins = Pins::prepare(directory)?;
        let adopted = pins.check_maps();
        let mut object = Object::load(adopted.then(|| pins.maps()).as_deref())?;
        if !adopted {
            pins.stage(object.maps())?;
        }
        let mut take = |name| object.take_map(name);
        let open = |name: &str, error| DatapathError::kernel(format!("opening map {name}"), error);
        let settings = Array::try_from(take(map::SETTINGS)?).map_err(|error| open(map::SETTINGS, error))?;
        let ports = Array::try_from(take(map::PORTS)?).map_err(|error| open(map::PORTS, error))?;
        let counters = PerCpuArray::try_from(take(map::COUNTERS)?).map_err(|error| open(map::COUNTERS, error))?;
        let tables = Tables::adopt(take)?;
        let mut port_entries = vec![PortEntry::default(); PORTS];
        if adopted {
            for (number, entry) in port_entries.iter_mut().enumerate() {
                *entry = ports.get(&(number as u32), 0).map_err(|error| open(map::PORTS, error))?;
            }
        }
        let attachments = Attachments::default();
        Ok(Self { object, settings, ports, counters, tables, port_entries, pins, attachments, adopted })
    }

    /// Whether the maps are those of a predecessor in this boot, with the grants that were live then.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// Covers exactly these interfaces: replaces the program where a predecessor attached one, attaches it elsewhere,
    /// and pins the links so that they outlive this process.
    ///
    /// # Errors
    /// One error for each interface that can't be covered; the others are covered all the same.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<(), Vec<DatapathError>> {
        let program = self.object.program().map_err(|error| vec![error])?;
        let mut errors = self.attachments.cover(interfaces, program, &self.pins);
        if !interfaces.is_empty() && self.covers_nothing() && !self.adopted {
            errors.extend(self.pins.discard().err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether [`attach`](Self::attach) got the program onto none of the interfaces.
    #[must_use]
    pub fn covers_nothing(&self) -> bool {
        self.attachments.cover_nothing()
    }

    /// Runs the program on a frame without sending it anywhere, for tests and benchmarks: what the program returned,
    /// and the mean time of `repeat` runs. Counters count such runs too.
    ///
    /// # Errors
    /// The kernel refuses the frame (those below 14 bytes) or the run.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<(u32, Duration), DatapathError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let program = self.object.loaded()?;
        let result = program.test_run(options).map_err(|error| DatapathError::kernel("running the program", error))?;
        Ok((result.return_value, result.duration))
    }

    /// How many instructions the verifier walked through; `None` where the kernel does not tell.
    #[must_use]
    pub fn verified_instructions(&self) -> Option<u32> {
        self.object.loaded().ok()?.info().ok()?.verified_instruction_count()
    }

    fn write_port(&mut self, number: u16, entry: PortEntry) -> Result<(), DatapathError> {
        let Some(known) = self.port_entries.get_mut(usize::from(number)) else { return Ok(()) };
        if *known != entry {
            self.ports
                .set(u32::from(number), entry, 0)
                .map_err(|error| DatapathError::kernel(format!("writing port {number} to map PORTS"), error))?;
            *known = entry;
        }
        Ok(())
    }

    fn write_hints(&mut self, number: u16) -> Result<(), DatapathError> {
        let (hosts, prefixes) = self.tables.hints(number);
        let entry = self.port_entries.get(usize::from(number)).copied().unwrap_or_default();
        self.write_port(number, entry.with_hints(hosts, prefixes))
    }
}

/// Says whether this host can enforce on these interfaces: what is well, and what is not. Changes nothing.
#[must_use]
pub fn probe(interfaces: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut well, mut problems) = (Vec::new(), Vec::new());
    match Object::load(None) {
        Ok(object) => well.push(format!("the kernel accepts the program {}", object.program_name())),
        Err(error) => problems.push(error.to_string()),
    }
    let found = netlink::interfaces().unwrap_or_else(|error| {
        problems.push(format!("netlink does not answer: {error}"));
        Vec::new()
    });
    for name in interfaces {
        match found.iter().find(|interface| interface.name == *name) {
            None => problems.push(format!("interface {name}: {}", attach::NO_SUCH_INTERFACE)),
            Some(interface) => match interface.program {
                None => well.push(format!("interface {name} (index {}) has no XDP program yet", interface.index)),
                Some((id, mode)) => {
                    well.push(format!("interface {name} (index {}) has XDP program {id}, {mode}", interface.index));
                }
            },
        }
    }
    (well, problems)
}

impl Datapath for XdpDatapath {
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError> {
        let settings = Settings::new(protection.mode, protection.drop_fragments);
        self.settings.set(0, settings, 0).map_err(|error| DatapathError::kernel("writing map SETTINGS", error))?;
        let mut wanted = vec![PortEntry::default(); PORTS];
        for (number, transport) in &protection.ports {
            if let Some(entry) = wanted.get_mut(usize::from(*number)) {
                *entry = entry.protecting(*transport);
            }
        }
        for (number, entry) in (0..=u16::MAX).zip(wanted) {
            let (hosts, prefixes) = self.tables.hints(number);
            self.write_port(number, entry.with_hints(hosts, prefixes))?;
        }
        Ok(())
    }

    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError> {
        if self.tables.set(entry, deadline)? {
            self.write_hints(entry.number)?;
        }
        Ok(())
    }

    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError> {
        if !self.tables.shut(entry, covered_until) {
            return Ok(());
        }
        // While an outer entry covers this one, that entry keeps the hint set.
        let hints = self.write_hints(entry.number);
        self.tables.erase(entry)?;
        hints
    }

    fn keep(&mut self) -> Result<(), DatapathError> {
        if !self.adopted {
            self.pins.commit()?;
            self.adopted = true;
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        self.tables.entries()
    }

    fn counters(&self) -> Result<Vec<Counter>, DatapathError> {
        let mut all = Vec::new();
        for mode in [Mode::Observe, Mode::Enforce] {
            for reason in Reason::ALL {
                let values = self
                    .counters
                    .get(&counter_index(mode, *reason), 0)
                    .map_err(|error| DatapathError::kernel("reading map COUNTERS", error))?;
                all.push((mode, *reason, values.iter().sum()));
            }
        }
        Ok(all)
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        self.attachments.view()
    }
}
