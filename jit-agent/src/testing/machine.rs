//! A machine that an agent can run on: clocks that stand still, tables in memory, and a directory with a real store and
//! a configuration file.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use jiff::Timestamp;
use jit_common::reason::Verdict;
use jit_policy::{BootTime, EntryKey, Layer, Role, Way};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    ManualClock, MemoryDatapath,
    packet::syn,
    people::{PEOPLE, named},
};
use crate::{
    clock::Clock as _,
    config::{Config, accepted, files},
    core::{Boot, ConnectedTo, Core, Origin, Parts, configuration_at, names::LookUps, refusal::StoreFault},
    datapath::{Datapath, InterfaceView},
    events::EventHub,
    store::{Store, StoreError},
    warnings,
};

/// The name of the store's file.
const FILE: &str = "jit-agent.sqlite";
/// The number of entries that fit into the tables.
const CAPACITY: usize = 20_000;

/// Returns the fault of a store on a full disk.
#[must_use]
pub fn full_disk() -> StoreFault {
    StoreFault::NotOpened(StoreError::Full { action: "opening the store", path: FILE.into() }.into())
}

/// The machine. The parts of a core can be changed before the core starts.
pub struct Machine {
    /// The directory of the store, the configuration and the sockets. It is removed when the machine is dropped.
    pub dir: TempDir,
    /// The configuration file.
    pub file: PathBuf,
    /// Both clocks.
    pub clock: ManualClock,
    /// The datapath with its tables.
    pub kernel: MemoryDatapath,
    /// The present boot.
    pub boot: Boot,
    /// The configuration to start with.
    pub config: Config,
    /// The roles of users.
    pub access: Vec<(Role, u32)>,
    /// The channel for the names that are to be looked up. At first nobody listens to it.
    pub look_ups: mpsc::Sender<LookUps>,
    /// The source of the configuration.
    pub origin: Origin,
    /// The hub to which packets are reported. Each core has another hub.
    pub hub: EventHub,
    /// The function that finds who is connected. At first it finds nobody.
    pub connected_to: ConnectedTo,
    /// Why the store can't be opened. `None`: the store can be opened.
    pub store_fault: Option<StoreFault>,
    /// What else is broken at the start.
    pub faults: Vec<String>,
    /// What [`load`](Self::load) found broken.
    pub of_files: Vec<String>,
}

/// The configuration of [`Machine::usual`].
pub const USUAL: &str = "
    interfaces = ['eth0']
    mode = 'enforce'
    [[port]]
    number = 22
    protocol = 'tcp'
    allowed_sources = ['192.0.2.0/24', '2001:db8::/32']
    justification = 'optional'
    [[port]]
    number = 3389
    protocol = 'any'
    allowed_sources = ['198.51.100.0/24', '2001:db8::/32']
    max_duration = '24h'
    [[port]]
    number = 5986
    protocol = 'tcp'
    allowed_sources = ['192.0.2.0/24']
    approval = 'required'
    justification = 'optional'
";

impl Machine {
    /// Makes a machine with [`USUAL`], at 16:00:12 of a day. The next request has the id 9, the next grant the id 17.
    #[must_use]
    pub fn usual() -> Self {
        Self::usual_with(USUAL)
    }

    /// Like [`usual`](Self::usual), but with another configuration.
    #[must_use]
    pub fn usual_with(config: &str) -> Self {
        let machine = Self::new(config, "2026-11-22T16:00:12Z".parse().unwrap());
        machine.cover_eth0();
        machine.number_from(9, 17);
        machine
    }

    /// Attaches the program to the interface eth0.
    pub fn cover_eth0(&self) {
        self.cover(&[InterfaceView {
            name: "eth0".to_owned(),
            index: Some(2),
            attached: Some(Way::Native),
            layer: Some(Layer::Ethernet),
            ..InterfaceView::default()
        }]);
    }

    /// Sets the interfaces, with the program attached from the start.
    pub fn cover(&self, interfaces: &[InterfaceView]) {
        self.kernel.set_interfaces(interfaces);
        // The attachments at the start do not count as changes.
        drop(self.kernel.clone().reconcile(None));
    }

    /// Makes a machine 1000 s after boot, at this moment of the wall clock, with a configuration file of this text.
    #[must_use]
    pub fn new(config: &str, now: Timestamp) -> Self {
        let clock = ManualClock::new(BootTime(1000 * 1_000_000_000), now);
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, format!("# of this host\nstate_dir = '{}'\n{config}", dir.path().display())).unwrap();
        let loaded = files::load(&file).unwrap();
        Self {
            kernel: MemoryDatapath::new(Arc::new(clock.clone()), CAPACITY),
            boot: Boot { machine_id: "machine".to_owned(), boot_id: "boot-1".to_owned() },
            origin: Origin::loaded(&file, &loaded),
            config: loaded.config,
            access: PEOPLE.to_vec(),
            look_ups: mpsc::channel().0,
            hub: EventHub::new(Arc::new(clock.clone())),
            connected_to: |_| Ok(Vec::new()),
            store_fault: None,
            faults: Vec::new(),
            of_files: Vec::new(),
            dir,
            file,
            clock,
        }
    }

    /// Renews clock, tables and boot as a reboot at this moment does: tables and BOOTTIME start anew.
    pub fn renew(&mut self, now: Timestamp) {
        self.clock = ManualClock::new(BootTime(10 * 1_000_000_000), now);
        self.kernel = MemoryDatapath::new(Arc::new(self.clock.clone()), CAPACITY);
        self.boot.boot_id.push('+');
    }

    /// Reads the configuration with which the daemon would start, and keeps it as a fallback as the daemon does.
    pub fn load(&mut self) {
        let start = configuration_at(&self.file, &self.boot.boot_id, self.clock.boot());
        (self.config, self.origin, self.of_files) = (start.config, start.origin, start.faults);
        if let Some(accepted) = start.accepted {
            accepted::remember(self.dir.path(), &accepted).unwrap();
        }
    }

    /// Starts a core, which adopts the store's grants. A store has only one owner at a time.
    #[must_use]
    pub fn start(&mut self, adopted: bool) -> Core {
        let kernel = self.kernel.clone();
        self.start_on(Box::new(kernel), adopted)
    }

    /// Like [`start`](Self::start), but with another datapath.
    #[must_use]
    pub fn start_on(&mut self, mut datapath: Box<dyn Datapath>, adopted: bool) -> Core {
        let tried = self.origin.trial.as_ref().map(|trial| trial.protection(&self.config));
        datapath.configure(&tried.unwrap_or_else(|| self.config.protection())).unwrap();
        self.hub = EventHub::new(Arc::new(self.clock.clone()));
        let store = match &self.store_fault {
            Some(fault) => Err(fault.clone()),
            None => Store::open(self.dir.path()).map_err(|error| StoreFault::NotOpened(error.into())),
        };
        let (mut named, numbers) = named(&self.access);
        named.people = self.config.people.clone();
        // Some tests parse a configuration that names no directory. They must not write into that of the host.
        let mut config = self.config.clone();
        config.places.state = self.dir.path().to_owned();
        let mut core = Core::new(Parts {
            config,
            named,
            numbers,
            look_ups: self.look_ups.clone(),
            clock: Arc::new(self.clock.clone()),
            boot: self.boot.clone(),
            datapath,
            events: self.hub.clone(),
            store,
            faults: self.faults.iter().chain(&self.of_files).cloned().collect(),
            origin: self.origin.clone(),
            connected_to: self.connected_to,
            warnings: warnings::of_config,
        });
        core.recover(adopted);
        core
    }

    /// Returns the text of the configuration file.
    #[must_use]
    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    /// Returns the text of the file in which the agent keeps what it sets itself. Without that file, the text is empty.
    #[must_use]
    pub fn own_text(&self) -> String {
        fs::read_to_string(self.dir.path().join("policy.toml")).unwrap_or_default()
    }

    /// Changes the configuration file by hand.
    pub fn rewrite(&self, from: &str, to: &str) {
        let text = self.text();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&self.file, text.replace(from, to)).unwrap();
    }

    /// Returns the entries of the tables.
    #[must_use]
    pub fn entries(&self) -> Vec<(EntryKey, BootTime)> {
        self.kernel.entries().unwrap()
    }

    /// Whether a TCP packet passes. The packet is counted.
    pub fn admits(&self, port: u16, source: &str) -> bool {
        self.kernel.judge(&syn(source.parse().unwrap(), port)).verdict() == Verdict::Pass
    }

    /// Opens another connection to the store's database.
    #[must_use]
    pub fn sql(&self) -> Connection {
        Connection::open(self.dir.path().join(FILE)).unwrap()
    }

    /// Makes the store fail at this action, for example `UPDATE ON grants WHEN NEW.state = 'live'`.
    pub fn forbid(&self, action: &str) {
        let name = format!("forbid_{}", action.chars().filter(char::is_ascii_alphanumeric).collect::<String>());
        let trigger = format!("CREATE TRIGGER {name} BEFORE {action} BEGIN SELECT RAISE(ABORT, 'made to fail'); END");
        self.sql().execute_batch(&trigger).unwrap();
    }

    /// Removes all failures that [`forbid`](Self::forbid) set.
    pub fn allow_all(&self) {
        let sql = self.sql();
        for name in texts(&sql, "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'forbid_*'") {
            sql.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
    }

    /// Sets the ids of the next request and of the next grant.
    pub fn number_from(&self, request: i64, grant: i64) {
        if !self.dir.path().join(FILE).exists() {
            drop(self.store());
        }
        let sql = self.sql();
        for (table, next) in [("requests", request), ("grants", grant)] {
            sql.execute("DELETE FROM sqlite_sequence WHERE name = ?", [table]).unwrap();
            sql.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, next - 1)).unwrap();
        }
    }

    /// Opens the store, while no core has the store open.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::open(self.dir.path()).unwrap()
    }

    /// Returns the head of the audit log, as `seq:hash`.
    #[must_use]
    pub fn audit_head(&self) -> String {
        let select = "SELECT seq || ':' || lower(hex(hash)) FROM audit ORDER BY seq DESC LIMIT 1";
        self.sql().query_row(select, [], |row| row.get(0)).unwrap()
    }

    /// Returns the states of all grants in the store, ordered by id.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT state FROM grants ORDER BY id")
    }

    /// Returns the states of all requests in the store, ordered by id.
    #[must_use]
    pub fn statuses(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT status FROM requests ORDER BY id")
    }

    /// Returns why the grants in the store ended, ordered by id.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT coalesce(ended_reason, '') FROM grants ORDER BY id")
    }

    /// Returns the names of the events in the audit log, in order.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT event FROM audit ORDER BY seq")
    }

    /// Returns how often an event is in the audit log.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|found| *found == event).count()
    }

    /// Returns the detail of the last event of a kind.
    #[must_use]
    pub fn last(&self, event: &str) -> serde_json::Value {
        let select = "SELECT detail FROM audit WHERE event = ? ORDER BY seq DESC LIMIT 1";
        let detail: String = self.sql().query_row(select, [event], |row| row.get(0)).unwrap();
        serde_json::from_str(&detail).unwrap()
    }
}

pub(crate) fn texts(sql: &Connection, select: &str) -> Vec<String> {
    let mut statement = sql.prepare(select).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
