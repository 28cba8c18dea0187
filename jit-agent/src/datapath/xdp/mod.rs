//! Enforcement by the XDP program.

mod attach_best;
mod attachments;
mod error;
mod events;
mod genetlink;
mod live;
#[cfg(feature = "log")]
mod log;
mod mapped;
mod netlink;
mod object;
mod pins;
mod ports;
mod probe;
mod query;
#[cfg(any(test, feature = "testing"))]
mod run;
mod scope;
mod selection;
mod settings;
mod slots;
mod socket;
mod tables;
mod unload;
mod watch;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    time::Instant,
};

use aya::maps::{HashMap, MapData, PerCpuArray};
use ipnet::IpNet;
use jit_common::abi::{Activity, Counters, PORTS, counter_index, map};
use jit_policy::{BootTime, EntryKey, Interfaces, Layer, Packet, Protection};

#[cfg(any(test, feature = "testing"))]
pub use self::run::{Entry, Runner};
use self::{
    attachments::Attachments,
    events::Events,
    object::Object,
    pins::{Pins, pinned_enforce_until},
    ports::Ports,
    scope::LocalInterfaces,
    settings::KernelSettings,
    tables::{Tables, mapped},
    ways::Kernel,
};
pub use self::{
    events::EventSource,
    pins::pinned_enforces,
    probe::probe,
    unload::{Incomplete, unload},
    watch::LinkWatch,
};
use super::{CoverageChange, Datapath, DatapathError, InterfaceView, PortCounts, Trace, UncoveredView, every_counter};

/// The loaded program with its maps.
pub struct XdpDatapath {
    object: Object,
    settings: KernelSettings,
    ports: Ports,
    counters: PerCpuArray<MapData, Counters>,
    /// The elements of `counters` in use, each with the ports that it counts now.
    counted: BTreeMap<u8, Vec<u16>>,
    tables: Tables,
    local: LocalInterfaces,
    events: Events,
    pins: Pins,
    attachments: Attachments,
    /// The programs to load when the agent has nothing else to do: a new interface shall not wait for the verifier.
    to_load: Vec<Layer>,
    adopted: bool,
    /// The interfaces with the program of a predecessor whose maps can't be adopted. That program goes on with its own
    /// maps until the new maps hold what the store says, so that nobody who has a grant is shut out meanwhile.
    handover: BTreeSet<u32>,
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
        let mut take = |name| Ok(object.take_map(name)?);
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
            events: Events::new(take(map::EVENTS)?)?,
            tables: Tables::adopt(take)?,
            object,
            pins,
            attachments: Attachments::new(),
            to_load: vec![Layer::Ethernet, Layer::Network],
            adopted,
            handover: BTreeSet::new(),
        };
        datapath.find_counted()?;
        Ok(datapath)
    }

    /// Finds the elements of the counters' map in which a predecessor left counts.
    fn find_counted(&mut self) -> Result<(), DatapathError> {
        self.counted.insert(0, Vec::new());
        for element in (1..=u8::MAX).filter(|_| self.adopted) {
            if !is_fresh(&self.read_counters(element)?) {
                self.counted.insert(element, Vec::new());
            }
        }
        Ok(())
    }

    /// The source of the packets that the program reports; `None` if an earlier call returned the source.
    pub fn events(&mut self) -> Option<EventSource> {
        self.events.source()
    }

    /// Whether the maps were adopted from a predecessor in this boot, with the grants that were live then.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// Covers these interfaces from now on, and no others: replaces the program where a predecessor attached one,
    /// attaches it elsewhere, and pins the links so that they outlive this process. A predecessor's program whose maps
    /// can't be adopted stays until [`keep`](Datapath::keep), or until the interfaces are looked at again, if it
    /// enforces for at least as long as this one.
    ///
    /// # Errors
    /// One error for each interface that can't be covered; the others are covered all the same.
    pub fn attach(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>> {
        self.attachments.select(interfaces);
        if !self.adopted {
            let links = ways::links(&self.pins).map_err(|error| vec![error.into()])?;
            // What opens before this program would is replaced at once, although that shuts out who has a grant.
            let until = self.settings.get().enforce_until;
            let stays = pinned_enforce_until(self.pins.directory()).is_some_and(|pinned| pinned >= until);
            self.handover = links.into_iter().map(|(index, _)| index).filter(|_| stays).collect();
        }
        let errors = self.reconcile_attachments(None);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn reconcile_attachments(&mut self, notified: Option<Instant>) -> Vec<DatapathError> {
        let mut kernel = Kernel { object: &mut self.object, pins: &self.pins };
        self.attachments.reconcile(&mut kernel, &mut self.local, &self.settings, notified, &self.handover)
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
            self.tables.admit(*source)?;
        }
        self.settings.note_opening();
        // A source that can't be excluded must not hold up the others.
        let results: Vec<_> = present.difference(&wanted).map(|source| self.tables.exclude(source)).collect();
        results.into_iter().collect()
    }
}

fn is_fresh(cpus: &[Counters]) -> bool {
    cpus.iter().all(|counters| counters.packets.iter().all(|count| *count == 0))
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
        if !self.tables.close(entry, covered_until) {
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
            if !std::mem::take(&mut self.handover).is_empty() {
                // The views tell which interfaces can't be covered.
                self.reconcile_attachments(None);
            }
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

    fn cover(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>> {
        self.pins.restore().map_err(|error| vec![error.into()])?;
        self.attach(interfaces)
    }

    fn reconcile(&mut self, notified: Option<Instant>) -> Vec<CoverageChange> {
        // Without a store the new maps are never filled, but what the configuration says must be in force.
        self.handover.clear();
        self.reconcile_attachments(notified);
        let changes = self.attachments.take_changes();
        if notified.is_none()
            && changes.is_empty()
            && let Some(layer) = self.to_load.pop()
            && let Err(error) = self.object.tc(layer)
        {
            tracing::warn!(error = %DatapathError::from(error), "interfaces without native XDP get generic XDP, which is slower");
        }
        changes
    }

    fn left_out(&self, interfaces: &Interfaces) -> Vec<String> {
        self.attachments.left_out(interfaces)
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        self.attachments.view(&self.pins)
    }

    fn uncovered(&self) -> Vec<UncoveredView> {
        self.attachments.uncovered(&self.pins)
    }
}
