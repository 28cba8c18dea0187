//! Enforcement by the XDP program.

mod attach;
mod events;
mod live;
#[cfg(feature = "log")]
mod log;
mod mapped;
mod netlink;
mod object;
mod pins;
mod ports;
mod run;
mod scope;
mod settings;
mod slots;
mod tables;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use aya::maps::{HashMap, MapData, PerCpuArray};
use ipnet::IpNet;
use jit_common::abi::{Activity, Counters, PORTS, counter_index, map};

use self::{
    attach::Attachments,
    object::Object,
    pins::Pins,
    ports::Ports,
    scope::LocalInterfaces,
    settings::KernelSettings,
    tables::{Tables, mapped},
};
pub use self::{
    events::EventSource,
    pins::{pinned_enforces, unload},
    run::Runner,
};
use super::{Datapath, DatapathError, Packet, PortCounts, Protection, Trace, every_counter};
use crate::{clock::BootTime, core::view::InterfaceView, policy::EntryKey};

/// The loaded program with its maps.
pub struct XdpDatapath {
    object: Object,
    settings: KernelSettings,
    ports: Ports,
    counters: PerCpuArray<MapData, Counters>,
    /// The elements of `counters` in use, with the ports that each is for now.
    counted: BTreeMap<u8, Vec<u16>>,
    tables: Tables,
    local: LocalInterfaces,
    events: Option<EventSource>,
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
        let counters = PerCpuArray::try_from(take(map::COUNTERS)?).map_err(|error| open(map::COUNTERS, error))?;
        let local =
            HashMap::try_from(take(map::LOCAL_INTERFACES)?).map_err(|error| open(map::LOCAL_INTERFACES, error))?;
        let mut datapath = Self {
            settings: KernelSettings::new(mapped(&mut take, map::SETTINGS, 1)?),
            ports: Ports::new(mapped(&mut take, map::PORTS, PORTS)?),
            counters,
            counted: BTreeMap::new(),
            local: LocalInterfaces::new(local),
            events: Some(EventSource::new(take(map::EVENTS)?)?),
            tables: Tables::adopt(take)?,
            object,
            pins,
            attachments: Attachments::default(),
            adopted,
        };
        datapath.find_counted()?;
        Ok(datapath)
    }

    /// Looks which elements of the counters' map a predecessor left counts in.
    fn find_counted(&mut self) -> Result<(), DatapathError> {
        self.counted.insert(0, Vec::new());
        for element in (1..=u8::MAX).filter(|_| self.adopted) {
            if !is_fresh(&self.read_counters(element)?) {
                self.counted.insert(element, Vec::new());
            }
        }
        Ok(())
    }

    /// The packets that the program reports; `None` if they were asked for before.
    pub fn events(&mut self) -> Option<EventSource> {
        self.events.take()
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
        let mut errors = self.attachments.cover(interfaces, program, &self.pins, &mut self.local, &self.settings);
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

    /// How many instructions the verifier walked through; `None` where the kernel does not tell.
    #[must_use]
    pub fn verified_instructions(&self) -> Option<u32> {
        self.object.loaded().ok()?.info().ok()?.verified_instruction_count()
    }

    fn read_counters(&self, element: u8) -> Result<Vec<Counters>, DatapathError> {
        let values = self
            .counters
            .get(&u32::from(element), 0)
            .map_err(|error| DatapathError::kernel("reading map COUNTERS", error))?;
        Ok(values.iter().copied().collect())
    }

    fn write_hints(&self, number: u16) {
        self.ports.set_hints(number, self.tables.hints(number));
    }

    fn set_break_glass(&mut self, sources: &[IpNet]) -> Result<(), DatapathError> {
        let wanted: HashSet<IpNet> = sources.iter().copied().collect();
        let present: HashSet<IpNet> = self.tables.break_glass().map(|(source, _)| source).collect();
        for source in wanted.difference(&present) {
            self.tables.let_in(*source)?;
        }
        self.settings.note_opening();
        // A source that can't be taken out must not hold up the others.
        let results: Vec<_> = present.difference(&wanted).map(|source| self.tables.shut_out(source)).collect();
        results.into_iter().collect()
    }
}

fn is_fresh(cpus: &[Counters]) -> bool {
    cpus.iter().all(|counters| counters.packets.iter().all(|count| *count == 0))
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
        self.ports.protect(&protection.ports, |element| !self.counted.contains_key(&element));
        // Ports that are no longer protected leave their counts behind, which belong to the totals.
        self.counted.values_mut().for_each(Vec::clear);
        for (element, ports) in self.ports.counted() {
            self.counted.insert(element, ports);
        }
        self.settings.apply(protection);
        self.set_break_glass(&protection.break_glass)?;
        self.local.set_scope(protection.scope);
        self.local.refresh(&self.settings)
    }

    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError> {
        if self.tables.set(entry, deadline)? {
            self.write_hints(entry.number);
        }
        self.settings.note_opening();
        Ok(())
    }

    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError> {
        if !self.tables.shut(entry, covered_until) {
            return Ok(());
        }
        // While an outer entry covers this one, that entry keeps the hint set.
        self.write_hints(entry.number);
        self.tables.erase(entry)
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

    fn tend(&mut self) -> Result<(), DatapathError> {
        self.settings.allow_events();
        self.local.refresh(&self.settings)
    }

    fn activity(&self, entry: &EntryKey) -> Activity {
        self.tables.activity(entry).unwrap_or_default()
    }

    fn break_glass(&self) -> Vec<(IpNet, Activity)> {
        self.tables.break_glass().collect()
    }

    fn port_counts(&self) -> Result<Vec<PortCounts>, DatapathError> {
        let mut all = Vec::new();
        for (element, ports) in &self.counted {
            let cpus = self.read_counters(*element)?;
            let sum = |value: &dyn Fn(&Counters) -> u64| cpus.iter().map(value).sum::<u64>();
            let packets =
                |index: u32| sum(&|counters| counters.packets.get(index as usize).copied().unwrap_or_default());
            let counters = every_counter().map(|(mode, reason)| (mode, reason, packets(counter_index(mode, reason))));
            all.push(PortCounts {
                ports: ports.clone(),
                counters: counters.collect(),
                events: sum(&|counters| counters.sent),
            });
        }
        Ok(all)
    }

    fn trace(&self, packet: &Packet) -> Result<Trace, DatapathError> {
        live::ask(self, packet)
    }

    fn cover(&mut self, interfaces: &[String]) -> Result<(), Vec<DatapathError>> {
        self.pins.restore().map_err(|error| vec![error])?;
        self.attach(interfaces)
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        self.attachments.view()
    }
}
