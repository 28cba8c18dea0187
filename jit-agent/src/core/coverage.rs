//! Interfaces in the audit log: when each became covered, and when it was no more.

use std::collections::BTreeMap;

use serde_json::json;

use super::{COVERAGE_INTERVAL, Core};

/// What is noted of each interface: its index, and how the program is attached.
pub(super) type Covered = BTreeMap<String, (Option<u32>, &'static str)>;

impl Core {
    /// Notes what has changed since it last looked.
    pub(super) fn note_coverage(&mut self) {
        self.next_coverage = self.clock.boot().after(COVERAGE_INTERVAL);
        // What was unloaded by hand stays so.
        let unloaded = self.stays_unloaded();
        let interfaces = self.datapath.interfaces();
        let now: Covered =
            interfaces.iter().filter_map(|one| Some((one.name.clone(), (one.index, one.attached?)))).collect();
        let before = std::mem::replace(&mut self.covered, now.clone());
        for (name, (index, _)) in before.iter().filter(|(name, how)| now.get(*name) != Some(*how)) {
            let fault = interfaces.iter().find(|one| one.name == *name).and_then(|one| one.fault.clone());
            tracing::error!(interface = name, fault, unloaded, "the interface is no longer covered as it was");
            self.note("detached", &json!({ "interface": name, "index": index, "reason": fault }));
        }
        for (name, (index, how)) in now.iter().filter(|(name, how)| before.get(*name) != Some(*how)) {
            self.note("attached", &json!({ "interface": name, "index": index, "how": how }));
        }
    }
}
