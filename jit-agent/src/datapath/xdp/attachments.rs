//! Keeps the program on the interfaces that are to be covered, as these come, change and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jit_policy::{Interfaces, Way};

use super::{
    attach_best::Attached,
    error::{InterfaceFault, NotFirst, QueryError},
    netlink::{self, Interface},
    pins::{Pins, remove_pin},
    scope::LocalInterfaces,
    selection::{self, Selected, Selection},
    settings::KernelSettings,
    ways::{self, Kernel, Target},
};
use crate::datapath::{Coverage, CoverageChange, DatapathError, InterfaceView, UncoveredView, error::with_causes};

/// The largest number of times in a row that the program is moved back in front of another program. After that, the
/// other program stays first.
const MOST_MOVES: u32 = 3;
/// The time since the last move after which earlier moves no longer count.
const MOVES_RESET_AFTER: Duration = Duration::from_secs(60);

/// The interfaces that are to be covered, and the state of each.
#[derive(Debug)]
pub(super) struct Attachments {
    patterns: Interfaces,
    /// The states, by the index of the interface.
    states: BTreeMap<u32, State>,
    /// The changes since [`take_changes`](Self::take_changes) was last called.
    changes: Vec<CoverageChange>,
    /// Whether all interfaces were reconciled once. An interface that is new after that has appeared since.
    has_reconciled: bool,
}

/// One interface that is to be covered.
#[derive(Debug)]
struct State {
    name: String,
    attached: Option<Attached>,
    /// Why the program is not attached, or not as it should be.
    fault: Option<Arc<InterfaceFault>>,
    /// The moment since which the interface should be covered, if it was uncovered when the agent learnt of it.
    uncovered_since: Option<Instant>,
    /// How long the interface was uncovered before it last became covered.
    covered_after: Option<Duration>,
    /// How often the program was moved to the head lately, and when it was moved last.
    moves: u32,
    moved: Option<Instant>,
}

impl State {
    fn new(name: String) -> Self {
        Self { name, attached: None, fault: None, uncovered_since: None, covered_after: None, moves: 0, moved: None }
    }
}

impl Attachments {
    /// Attachments without interfaces to cover, until [`select`](Self::select) names some.
    pub(super) const fn new() -> Self {
        Self { patterns: Interfaces::NONE, states: BTreeMap::new(), changes: Vec::new(), has_reconciled: false }
    }

    /// Sets the interfaces to cover from now on.
    pub(super) fn select(&mut self, patterns: &Interfaces) {
        self.patterns = patterns.clone();
    }

    /// Reconciles the attachments with the interfaces as they are now. `notified` is when netlink notified a change;
    /// without that moment, nobody knows for how long an interface may have been there. A predecessor's program stays
    /// on the interfaces in `handover`.
    pub(super) fn reconcile(
        &mut self,
        kernel: &mut Kernel<'_>,
        local: &mut LocalInterfaces,
        settings: &KernelSettings,
        notified: Option<Instant>,
        handover: &BTreeSet<u32>,
    ) -> Vec<DatapathError> {
        let all = match netlink::interfaces() {
            Ok(all) => all,
            Err(error) => return vec![DatapathError::kernel("asking netlink for the interfaces", error)],
        };
        if !kernel.pins.exist() {
            return vec![self.note_unload()];
        }
        let selection = Selection::of(&all, &self.patterns);
        let mut errors = Vec::new();
        // The scope comes before the program: on an interface that forwards, the program must not drop packets for
        // other hosts.
        local.set_covered(selection.selected.iter().map(|selected| &selected.interface));
        errors.extend(local.refresh(settings).err());
        let is_handed_over = |interface: &Interface| {
            handover.contains(&interface.index)
                && (interface.xdp.is_some() || ways::has_tcx_pin(kernel.pins, interface.index))
        };
        let (handed_over, others): (Vec<_>, Vec<_>) =
            selection.selected.iter().partition(|selected| is_handed_over(&selected.interface));
        for selected in others {
            self.reconcile_interface(selected, kernel, notified);
            errors.extend(self.error(selected.interface.index));
        }
        for (name, unmatched) in &selection.unmatched {
            errors.push(DatapathError::Interface { name: name.clone(), fault: Arc::new(*unmatched) });
        }
        errors.extend(self.detach_unselected(&all, &selection, kernel));
        self.has_reconciled |= handed_over.is_empty();
        errors
    }

    /// Records that somebody unloaded all enforcement by hand, and that it stays unloaded.
    fn note_unload(&mut self) -> DatapathError {
        let unloaded = Arc::new(InterfaceFault::Unloaded);
        for (index, state) in &mut self.states {
            if let Some(attached) = state.attached.take() {
                self.changes.push(change(&state.name, *index, lost(attached.way, unloaded.to_string())));
            }
            state.fault = Some(Arc::clone(&unloaded));
        }
        DatapathError::Interface { name: self.patterns.to_string(), fault: unloaded }
    }

    fn error(&self, index: u32) -> Option<DatapathError> {
        let state = self.states.get(&index)?;
        Some(DatapathError::Interface { name: state.name.clone(), fault: state.fault.clone()? })
    }

    fn reconcile_interface(&mut self, selected: &Selected, kernel: &mut Kernel<'_>, notified: Option<Instant>) {
        let interface = &selected.interface;
        let is_new = !self.states.contains_key(&interface.index);
        let state = self.states.entry(interface.index).or_insert_with(|| State::new(interface.name.clone()));
        if state.name != interface.name {
            let before = std::mem::replace(&mut state.name, interface.name.clone());
            tracing::info!(before, now = interface.name, index = interface.index, "interface was renamed");
            if let Some(attached) = &state.attached {
                let reason = format!("it is now called {}", interface.name);
                self.changes.push(change(&before, interface.index, lost(attached.way, reason)));
                self.changes.push(change(&interface.name, interface.index, gained(attached, None)));
            }
        }
        let mut overtaken = None;
        if let Some(Attached { way, program, .. }) = &state.attached {
            let problem = match ways::hook(*way).is_first(interface, *program, kernel.pins) {
                Ok(()) => {
                    state.fault = None;
                    return;
                }
                Err(unknown @ NotFirst::Unknown(_)) => {
                    state.fault = Some(Arc::new(unknown.into()));
                    return;
                }
                Err(NotFirst::Overtaken(rival)) => {
                    if state.moved.is_some_and(|moved| moved.elapsed() > MOVES_RESET_AFTER) {
                        state.moves = 0;
                    }
                    if state.moves >= MOST_MOVES {
                        state.fault = Some(Arc::new(InterfaceFault::OvertakenAgain(rival)));
                        return;
                    }
                    overtaken = Some(*way);
                    state.moves += 1;
                    state.moved = Some(Instant::now());
                    NotFirst::Overtaken(rival)
                }
                Err(detached) => detached,
            };
            self.changes.push(change(&interface.name, interface.index, lost(*way, with_causes(&problem))));
        }
        // An interface on which a predecessor left its program was covered all the time.
        if (self.has_reconciled || !is_new) && state.uncovered_since.is_none() {
            state.uncovered_since = Some(notified.unwrap_or_else(Instant::now));
        }
        state.attached = None;
        match attach(selected, overtaken, kernel) {
            Ok(attached) => {
                state.covered_after = state.uncovered_since.take().map(|since| since.elapsed());
                let detail = gained(&attached, state.covered_after);
                self.changes.push(change(&interface.name, interface.index, detail));
                (state.attached, state.fault) = (Some(attached), None);
            }
            Err(fault) => {
                let problem = with_causes(&fault);
                if state.fault.as_ref().is_none_or(|known| with_causes(known) != problem) {
                    tracing::error!(interface = interface.name, problem, "not covered");
                }
                state.fault = Some(Arc::new(fault));
            }
        }
    }

    /// Takes the program off all interfaces that are not to be covered, and removes what is left of those that are gone.
    fn detach_unselected(
        &mut self,
        all: &[Interface],
        selection: &Selection,
        kernel: &Kernel<'_>,
    ) -> Vec<DatapathError> {
        let mut errors = Vec::new();
        let pinned = ways::links(kernel.pins).unwrap_or_else(|error| {
            errors.push(error.into());
            Vec::new()
        });
        for (index, path) in pinned.into_iter().filter(|(index, _)| !selection.contains(*index)) {
            // Not every kernel says that a list is incomplete, and an interface left out by mistake would have its
            // ports opened.
            let is_listed = all.iter().any(|interface| interface.index == index);
            if !is_listed && !netlink::is_deleted(index).is_ok_and(|is_deleted| is_deleted) {
                tracing::warn!(index, "interface is not in the list, but not gone: not detaching");
                continue;
            }
            tracing::info!(index, "interface is gone or no longer to be covered: detaching");
            if let Err(error) = remove_pin(&path) {
                tracing::error!(problem = with_causes(&error), "still attached");
            }
        }
        for interface in all.iter().filter(|interface| !selection.contains(interface.index)) {
            let was = self.states.get(&interface.index).and_then(|state| state.attached.as_ref());
            if !was.is_some_and(|attached| ways::is_unpinned(attached.way)) && self.has_reconciled {
                continue;
            }
            match ways::detach_unpinned(interface, kernel.pins) {
                Ok(detached) if detached.is_empty() => {}
                Ok(_) => tracing::info!(name = interface.name, "interface is no longer to be covered: detaching"),
                Err(error) => {
                    errors.push(DatapathError::Interface { name: interface.name.clone(), fault: Arc::new(error) });
                }
            }
        }
        let unselected: Vec<u32> = self.states.keys().copied().filter(|index| !selection.contains(*index)).collect();
        for index in unselected {
            let Some(State { name, attached: Some(Attached { way, .. }), .. }) = self.states.remove(&index) else {
                continue;
            };
            let reason = match all.iter().any(|interface| interface.index == index) {
                true => "it is no longer to be covered",
                false => "the interface is gone",
            };
            self.changes.push(change(&name, index, lost(way, reason.to_owned())));
        }
        errors
    }

    /// The changes since the last call of this method.
    pub(super) fn take_changes(&mut self) -> Vec<CoverageChange> {
        std::mem::take(&mut self.changes)
    }

    /// The interfaces that are covered now, and that these patterns would leave uncovered.
    pub(super) fn left_out(&self, patterns: &Interfaces) -> Vec<String> {
        let Ok(all) = netlink::interfaces() else { return Vec::new() };
        let selection = Selection::of(&all, patterns);
        let covered = self.states.iter().filter(|(_, state)| state.attached.is_some());
        covered.filter(|(index, _)| !selection.contains(**index)).map(|(_, state)| state.name.clone()).collect()
    }

    /// How each interface that is to be covered is attached now, as the kernel reports it.
    pub(super) fn view(&self, pins: &Pins) -> Vec<InterfaceView> {
        let selection = match self.list_and_select() {
            Ok((_, selection)) => selection,
            Err(error) => {
                let fault = with_causes(&error);
                return self
                    .patterns
                    .iter()
                    .map(|pattern| view_of_fault(&pattern.to_string(), fault.clone()))
                    .collect();
            }
        };
        let views = selection.selected.iter().map(|selected| self.view_one(selected, pins));
        let unmatched = selection.unmatched.iter().map(|(name, unmatched)| view_of_fault(name, unmatched.to_string()));
        views.chain(unmatched).collect()
    }

    fn list_and_select(&self) -> Result<(Vec<Interface>, Selection), QueryError> {
        let all = netlink::interfaces().map_err(QueryError::Netlink)?;
        let selection = Selection::of(&all, &self.patterns);
        Ok((all, selection))
    }

    fn view_one(&self, Selected { interface, layer }: &Selected, pins: &Pins) -> InterfaceView {
        let mut view = InterfaceView {
            name: interface.name.clone(),
            index: Some(interface.index),
            layer: layer.ok(),
            ..InterfaceView::default()
        };
        let Some(state) = self.states.get(&interface.index) else {
            view.fault = Some(InterfaceFault::New.to_string());
            return view;
        };
        view.covered_after = state.covered_after;
        view.fault = state.fault.as_ref().map(|fault| with_causes(fault));
        let Some(attached) = &state.attached else { return view };
        view.note = attached.note();
        match ways::hook(attached.way).is_first(interface, attached.program, pins) {
            Ok(()) => view.attached = Some(attached.way),
            Err(_) if !pins.exist() => view.fault = Some(InterfaceFault::Unloaded.to_string()),
            Err(problem) => view.fault = view.fault.or_else(|| Some(with_causes(&problem))),
        }
        view
    }

    /// The interfaces with an address over which packets come in unseen.
    pub(super) fn uncovered(&self, pins: &Pins) -> Vec<UncoveredView> {
        let Ok((all, selection)) = self.list_and_select() else { return Vec::new() };
        let has_program = |index: u32| {
            let attached = self.states.get(&index).and_then(|state| state.attached.as_ref());
            let interface = all.iter().find(|interface| interface.index == index);
            attached.zip(interface).is_some_and(|(attached, interface)| {
                ways::hook(attached.way).is_first(interface, attached.program, pins).is_ok()
            })
        };
        let view = |selection::Uncovered { interface, reason, is_selected }| UncoveredView {
            name: interface.name.clone(),
            index: interface.index,
            addresses: interface.addresses.clone(),
            reason,
            is_chosen: is_selected,
        };
        selection::uncovered(&all, &selection, has_program).into_iter().map(view).collect()
    }
}

/// Attaches the program. Where another program overtook ours, attaches ours in front of that one.
fn attach(
    Selected { interface, layer }: &Selected,
    overtaken: Option<Way>,
    kernel: &mut Kernel<'_>,
) -> Result<Attached, InterfaceFault> {
    let target = Target { interface, layer: (*layer)? };
    Ok(match overtaken {
        Some(way) => kernel.overtake(way, target)?,
        None => kernel.attach_best(target)?,
    })
}

fn view_of_fault(name: &str, fault: String) -> InterfaceView {
    InterfaceView { name: name.to_owned(), fault: Some(fault), ..InterfaceView::default() }
}

fn change(name: &str, index: u32, coverage: Coverage) -> CoverageChange {
    CoverageChange { interface: name.to_owned(), index, coverage }
}

fn gained(attached: &Attached, after: Option<Duration>) -> Coverage {
    Coverage::Gained { how: attached.way, note: attached.note(), after }
}

fn lost(how: Way, reason: String) -> Coverage {
    Coverage::Lost { how, reason }
}
