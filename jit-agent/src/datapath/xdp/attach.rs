//! Keeps the program on the interfaces that are to be covered, as these come, change and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jit_policy::Interfaces;

use super::{
    climb::{Attached, Kernel},
    netlink::{self, Interface},
    object::Layer,
    pins::{Pins, remove_pin},
    scope::LocalInterfaces,
    select::{self, Chosen, Selection},
    settings::KernelSettings,
    verify::{Lack, verify},
    ways::{self, Way},
};
use crate::datapath::{Coverage, CoverageChange, DatapathError, InterfaceView, UncoveredView};

/// Why the program is nowhere, and what to do.
const UNLOADED: &str = "the pins were removed, as `jit-agent unload` does, and the program is no longer attached; \
                        `jit-agent enable` loads it again";
/// How often the program is moved to the head again of those that see packets first, before it gives way to somebody
/// who insists.
const MOVES: u32 = 3;
/// After that long at the head, it is moved again when it is overtaken.
const MOVES_FORGOTTEN: Duration = Duration::from_secs(60);

/// The interfaces that are to be covered, and what became of each.
#[derive(Debug)]
pub(super) struct Attachments {
    patterns: Interfaces,
    /// By index.
    states: BTreeMap<u32, State>,
    /// What happened since it was last asked for.
    changes: Vec<CoverageChange>,
    /// Why nothing could be looked at, if so.
    problem: Option<String>,
    has_looked: bool,
}

/// One interface that is to be covered.
#[derive(Debug)]
struct State {
    name: String,
    attached: Option<Attached>,
    /// Why it is not, or not rightly.
    fault: Option<String>,
    /// Since when it should be covered, if it was not when the agent learnt of it.
    wanted: Option<Instant>,
    /// How long that took.
    took: Option<Duration>,
    moves: u32,
    moved: Option<Instant>,
}

impl Attachments {
    /// None are to be covered, until it is said which.
    pub(super) const fn new() -> Self {
        Self {
            patterns: Interfaces::NONE,
            states: BTreeMap::new(),
            changes: Vec::new(),
            problem: None,
            has_looked: false,
        }
    }

    /// From now on these are to be covered.
    pub(super) fn choose(&mut self, patterns: &Interfaces) {
        self.patterns = patterns.clone();
    }

    /// Brings the attachments in line with the interfaces as they are now: the new ones first. `told` is when netlink
    /// spoke of a change; without it, nobody knows for how long an interface may have been there. A predecessor's program
    /// stays on interfaces that are `held_back`.
    pub(super) fn reconcile(
        &mut self,
        kernel: &mut Kernel<'_>,
        local: &mut LocalInterfaces,
        settings: &KernelSettings,
        told: Option<Instant>,
        held_back: &BTreeSet<u32>,
    ) -> Vec<DatapathError> {
        let all = match netlink::interfaces() {
            Ok(all) => all,
            Err(error) => {
                let error = DatapathError::kernel("asking netlink for the interfaces", error);
                self.problem = Some(error.to_string());
                return vec![error];
            }
        };
        self.problem = None;
        if !kernel.pins.exist() {
            return vec![self.let_go()];
        }
        let selection = select::select(&all, &self.patterns);
        let mut errors = Vec::new();
        // Before the program is there: on an interface that forwards, it must not drop what is for others.
        local.set_covered(selection.chosen.iter().map(|chosen| &chosen.interface));
        errors.extend(local.refresh(settings).err());
        let is_guarded = |interface: &Interface| {
            held_back.contains(&interface.index)
                && (interface.program.is_some() || kernel.pins.tcx(interface.index).exists())
        };
        let (guarded, others): (Vec<_>, Vec<_>) =
            selection.chosen.iter().partition(|chosen| is_guarded(&chosen.interface));
        for chosen in others {
            self.bring_in_line(chosen, kernel, told);
            errors.extend(self.error(chosen.interface.index));
        }
        for (name, problem) in selection.missing {
            errors.push(DatapathError::Interface { name, problem });
        }
        errors.extend(self.leave_others(&all, kernel));
        self.has_looked |= guarded.is_empty();
        errors
    }

    /// Everything was unloaded by hand, and stays so.
    fn let_go(&mut self) -> DatapathError {
        for (index, state) in &mut self.states {
            if let Some(attached) = state.attached.take() {
                self.changes.push(change(&state.name, *index, lost(&attached, UNLOADED.to_owned())));
            }
            state.fault = Some(UNLOADED.to_owned());
        }
        DatapathError::Interface { name: self.patterns.to_string(), problem: UNLOADED.to_owned() }
    }

    fn error(&self, index: u32) -> Option<DatapathError> {
        let state = self.states.get(&index)?;
        Some(DatapathError::Interface { name: state.name.clone(), problem: state.fault.clone()? })
    }

    fn bring_in_line(&mut self, chosen: &Chosen, kernel: &mut Kernel<'_>, told: Option<Instant>) {
        let interface = &chosen.interface;
        let is_new = !self.states.contains_key(&interface.index);
        let state = self.states.entry(interface.index).or_insert_with(|| State {
            name: interface.name.clone(),
            attached: None,
            fault: None,
            wanted: None,
            took: None,
            moves: 0,
            moved: None,
        });
        if state.name != interface.name {
            let before = std::mem::replace(&mut state.name, interface.name.clone());
            tracing::info!(before, now = interface.name, index = interface.index, "interface was renamed");
            if let Some(attached) = &state.attached {
                let reason = format!("it is now called {}", interface.name);
                self.changes.push(change(&before, interface.index, lost(attached, reason)));
                self.changes.push(change(&interface.name, interface.index, gained(attached, None)));
            }
        }
        let mut is_overtaken = false;
        if let Some(attached) = &state.attached {
            match verify(interface, attached, kernel.handle()) {
                Ok(()) => {
                    state.fault = None;
                    return;
                }
                Err(Lack::Unknown(problem)) => {
                    state.fault = Some(problem);
                    return;
                }
                Err(Lack::Overtaken(problem)) => {
                    if state.moved.is_some_and(|moved| moved.elapsed() > MOVES_FORGOTTEN) {
                        state.moves = 0;
                    }
                    if state.moves >= MOVES {
                        state.fault = Some(format!("{problem}, again and again; restart jit-agent to overtake it"));
                        return;
                    }
                    is_overtaken = true;
                    state.moves += 1;
                    state.moved = Some(Instant::now());
                    self.changes.push(change(&interface.name, interface.index, lost(attached, problem)));
                }
                Err(Lack::Gone(problem)) => {
                    self.changes.push(change(&interface.name, interface.index, lost(attached, problem)));
                }
            }
        }
        // What a predecessor left attached was covered all the time.
        if (self.has_looked || !is_new) && state.wanted.is_none() {
            state.wanted = Some(told.unwrap_or_else(Instant::now));
        }
        let keeps = state.attached.take().filter(|_| is_overtaken);
        let result = match &chosen.layer {
            Ok(layer) if keeps.is_some() => kernel.overtake(interface, *layer),
            Ok(layer) => kernel.attach(interface, *layer),
            Err(problem) => Err(problem.clone()),
        };
        match result {
            Ok(attached) => {
                state.took = state.wanted.take().map(|wanted| wanted.elapsed());
                let detail = gained(&attached, state.took);
                self.changes.push(change(&interface.name, interface.index, detail));
                (state.attached, state.fault) = (Some(attached), None);
            }
            Err(problem) => {
                if state.fault.as_ref() != Some(&problem) {
                    tracing::error!(interface = interface.name, problem, "not covered");
                }
                state.fault = Some(problem);
            }
        }
    }

    /// Takes the program off all interfaces that are not to be covered, and removes what is left of those that are gone.
    fn leave_others(&mut self, all: &[Interface], kernel: &Kernel<'_>) -> Vec<DatapathError> {
        let selection = select::select(all, &self.patterns);
        let is_chosen = |index: u32| selection.chosen.iter().any(|chosen| chosen.interface.index == index);
        let mut errors = Vec::new();
        let pinned = kernel.pins.links().unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        for (index, path) in pinned.into_iter().filter(|(index, _)| !is_chosen(*index)) {
            // Not every kernel says that a list lacks something, and a mistake would open the ports.
            let is_listed = all.iter().any(|interface| interface.index == index);
            if !is_listed && !netlink::is_gone(index).is_ok_and(|is_gone| is_gone) {
                tracing::warn!(index, "interface is not in the list, but not gone: not detaching");
                continue;
            }
            tracing::info!(index, "interface is gone or no longer to be covered: detaching");
            if let Err(problem) = remove_pin(&path) {
                tracing::error!(problem, "still attached");
            }
        }
        for interface in all.iter().filter(|interface| !is_chosen(interface.index)) {
            let was = self.states.get(&interface.index).and_then(|state| state.attached.as_ref());
            if was.is_some_and(|attached| attached.way == Way::Clsact) || !self.has_looked {
                match ways::detach_clsact(interface, kernel.handle()) {
                    Ok(true) => {
                        tracing::info!(name = interface.name, "interface is no longer to be covered: detaching");
                    }
                    Ok(false) => {}
                    Err(problem) => {
                        errors.push(DatapathError::Interface { name: interface.name.clone(), problem });
                    }
                }
            }
        }
        let gone: Vec<u32> = self.states.keys().copied().filter(|index| !is_chosen(*index)).collect();
        for index in gone {
            let Some(state) = self.states.remove(&index) else { continue };
            let reason = match all.iter().any(|interface| interface.index == index) {
                true => "it is no longer to be covered",
                false => "the interface is gone",
            };
            if let Some(attached) = state.attached {
                self.changes.push(change(&state.name, index, lost(&attached, reason.to_owned())));
            }
        }
        errors
    }

    /// What happened since this was last asked for.
    pub(super) fn take_changes(&mut self) -> Vec<CoverageChange> {
        std::mem::take(&mut self.changes)
    }

    /// The interfaces that are covered now, and would no longer be with these patterns.
    pub(super) fn left_out(&self, patterns: &Interfaces) -> Vec<String> {
        let Ok(all) = netlink::interfaces() else { return Vec::new() };
        let chosen = select::select(&all, patterns).chosen;
        let covered = self.states.iter().filter(|(_, state)| state.attached.is_some());
        let is_left_out = |index: u32| !chosen.iter().any(|chosen| chosen.interface.index == index);
        covered.filter(|(index, _)| is_left_out(**index)).map(|(_, state)| state.name.clone()).collect()
    }

    /// How each interface that is to be covered is attached now, by the kernel's word.
    pub(super) fn view(&self, pins: &Pins) -> Vec<InterfaceView> {
        let selection = match self.look() {
            Ok((_, selection)) => selection,
            Err(problem) => {
                let patterns = self.patterns.iter().map(|pattern| unknown(&pattern.to_string(), problem.clone()));
                return patterns.collect();
            }
        };
        let views = selection.chosen.iter().map(|chosen| self.view_one(chosen, pins));
        let missing = selection.missing.iter().map(|(name, problem)| unknown(name, problem.clone()));
        views.chain(missing).collect()
    }

    fn look(&self) -> Result<(Vec<Interface>, Selection), String> {
        let all = netlink::interfaces().map_err(|error| format!("netlink does not answer: {error}"))?;
        let selection = select::select(&all, &self.patterns);
        Ok((all, selection))
    }

    fn view_one(&self, Chosen { interface, layer }: &Chosen, pins: &Pins) -> InterfaceView {
        let mut view = InterfaceView {
            name: interface.name.clone(),
            index: Some(interface.index),
            layer: layer.as_ref().ok().map(|layer| match layer {
                Layer::Ethernet => "ethernet",
                Layer::Network => "network",
            }),
            ..InterfaceView::default()
        };
        let Some(state) = self.states.get(&interface.index) else {
            view.fault = Some("it appeared just now and is about to be covered".to_owned());
            return view;
        };
        view.covered_after = state.took;
        view.fault = state.fault.clone();
        let Some(attached) = &state.attached else { return view };
        view.note = attached.note.clone();
        match verify(interface, attached, pins.filter_handle()) {
            Ok(()) => view.attached = Some(attached.way.name()),
            Err(_) if !pins.exist() => view.fault = Some(UNLOADED.to_owned()),
            Err(Lack::Unknown(problem) | Lack::Overtaken(problem) | Lack::Gone(problem)) => {
                view.fault = Some(state.fault.clone().unwrap_or(problem));
            }
        }
        view
    }

    /// The interfaces with an address over which packets come in unseen.
    pub(super) fn uncovered(&self, pins: &Pins) -> Vec<UncoveredView> {
        let Ok((all, selection)) = self.look() else { return Vec::new() };
        let has_program = |index: u32| {
            let attached = self.states.get(&index).and_then(|state| state.attached.as_ref());
            let interface = all.iter().find(|interface| interface.index == index);
            attached
                .zip(interface)
                .is_some_and(|(attached, interface)| verify(interface, attached, pins.filter_handle()).is_ok())
        };
        let view = |select::Uncovered { interface, reason, is_chosen }| UncoveredView {
            name: interface.name.clone(),
            index: interface.index,
            addresses: interface.addresses.clone(),
            reason,
            is_chosen,
        };
        select::uncovered(&all, &selection, has_program).into_iter().map(view).collect()
    }
}

fn unknown(name: &str, fault: String) -> InterfaceView {
    InterfaceView { name: name.to_owned(), fault: Some(fault), ..InterfaceView::default() }
}

fn change(name: &str, index: u32, coverage: Coverage) -> CoverageChange {
    CoverageChange { interface: name.to_owned(), index, coverage }
}

fn gained(attached: &Attached, after: Option<Duration>) -> Coverage {
    Coverage::Gained { how: attached.way.name(), note: attached.note.clone(), after }
}

fn lost(attached: &Attached, reason: String) -> Coverage {
    Coverage::Lost { how: attached.way.name(), reason }
}
