//! Closings that are in force but could not be written yet.

use std::collections::VecDeque;

use jiff::Timestamp;
use jit_policy::{Actor, BootTime, RequestId};

use super::Records;
use crate::core::{refusal::Unavailable, times::RETRY_INTERVAL};
use crate::store::{EndedGrant, Ending, GrantEnd, RequestEnd, ShortenedGrant, Shortening, StoreError};

/// A closing, as the store records it.
#[derive(Clone, Debug)]
enum Closing {
    /// Grants ended. Each comes with the connections that it admitted.
    Ended(Vec<EndedGrant>, Ending<GrantEnd>),
    /// Requests no longer wait for approval.
    Requests(Vec<RequestId>, Ending<RequestEnd>),
    /// A request could not be carried out, and its grants were undone.
    Failed { request: RequestId, wall: Timestamp, reason: String },
    /// Grants end earlier than planned.
    Shortened(Vec<ShortenedGrant>, Shortening),
}

/// The closings that are not written, and why the last attempt failed.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    closings: VecDeque<Closing>,
    problem: Option<Unavailable>,
    next_retry: BootTime,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.closings.is_empty()
    }

    /// Returns the fault that the status shows.
    pub(super) fn fault(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!(
            "{} closings are in force but not written: {problem}; tried again every few seconds, and not sure to \
             outlast a reboot until then",
            self.closings.len()
        ))
    }

    fn postpone(&mut self, closing: Closing, problem: Unavailable, now: BootTime) {
        self.closings.push_back(closing);
        self.problem = Some(problem);
        self.next_retry = now.after(RETRY_INTERVAL);
    }
}

/// Writes of closings that are in force. A closing that can't be written now is written later.
impl Records {
    /// Records that grants ended. `by` is who ended them. `None`: the agent. Returns whether this is written.
    pub(in super::super) fn end_grants(
        &mut self,
        grants: Vec<EndedGrant>,
        state: GrantEnd,
        by: Option<Actor>,
        reason: &str,
    ) -> bool {
        self.record(Closing::Ended(grants, self.ending(state, by, reason)))
    }

    /// Records that the time of grants was over.
    pub(in super::super) fn expire_grants(&mut self, grants: Vec<EndedGrant>) {
        self.record_in_turn(Closing::Ended(grants, self.ending(GrantEnd::Expired, None, "")));
    }

    /// Records that a request no longer waits for approval. Returns whether this is written.
    pub(in super::super) fn close_request(
        &mut self,
        id: RequestId,
        state: RequestEnd,
        by: Actor,
        reason: &str,
    ) -> bool {
        self.record(Closing::Requests(vec![id], self.ending(state, Some(by), reason)))
    }

    /// Records that nobody decided about requests in time.
    pub(in super::super) fn time_out_requests(&mut self, ids: Vec<RequestId>, reason: &str) {
        self.record_in_turn(Closing::Requests(ids, self.ending(RequestEnd::TimedOut, None, reason)));
    }

    /// Records that a request could not be carried out and that its grants were undone.
    pub(in super::super) fn fail_request(&mut self, request: RequestId, reason: &str) {
        self.record(Closing::Failed { request, wall: self.times.wall(), reason: reason.to_owned() });
    }

    /// Records that grants end earlier than planned. `by` is who caused the change. `None`: the agent.
    pub(in super::super) fn shorten_grants(&mut self, grants: Vec<ShortenedGrant>, by: Option<Actor>, reason: &str) {
        if !grants.is_empty() {
            let shortening = Shortening { wall: self.times.wall(), by, reason: reason.to_owned() };
            self.record(Closing::Shortened(grants, shortening));
        }
    }

    /// Writes the closings of the backlog, up to the first that still fails.
    pub(in super::super) fn write_backlog(&mut self) {
        while let Some(closing) = self.backlog.closings.pop_front() {
            if let Err(problem) = self.write_closing(&closing) {
                // The closing goes to the end of the backlog. A closing that can never be written must not block the
                // others.
                self.backlog.postpone(closing, problem, self.times.now());
                return;
            }
        }
        self.backlog.problem = None;
    }

    /// The moment at which the backlog is to be written again. `None`: the backlog is empty.
    pub(in super::super) fn next_retry(&self) -> Option<BootTime> {
        (!self.backlog.is_empty()).then_some(self.backlog.next_retry)
    }

    fn ending<S>(&self, state: S, by: Option<Actor>, reason: &str) -> Ending<S> {
        Ending { state, wall: self.times.wall(), by, reason: reason.to_owned() }
    }

    /// Writes a closing. Returns whether the closing is written. If not, the write is retried later.
    fn record(&mut self, closing: Closing) -> bool {
        match self.write_closing(&closing) {
            Ok(()) => true,
            Err(problem) => {
                tracing::error!(%problem, "a closing is in force but could not be written");
                self.backlog.postpone(closing, problem, self.times.now());
                false
            }
        }
    }

    /// Like [`record`](Self::record), but doesn't try now if an earlier closing is waiting, because a store that
    /// doesn't answer may take seconds for each attempt.
    fn record_in_turn(&mut self, closing: Closing) {
        match self.backlog.problem.clone() {
            Some(problem) => self.backlog.postpone(closing, problem, self.times.now()),
            None => drop(self.record(closing)),
        }
    }

    fn write_closing(&mut self, closing: &Closing) -> Result<(), Unavailable> {
        let clocks = self.times.both();
        self.write(|store| match closing {
            Closing::Ended(ids, ending) => store.end_grants(ids, ending),
            Closing::Requests(ids, ending) => store.close_requests(ids, ending),
            Closing::Failed { request, wall, reason } => match store.fail_request(*request, *wall, reason) {
                // The store has no such request, so a restart can't open it again.
                Err(StoreError::NoRequest(_)) => Ok(()),
                other => other,
            },
            Closing::Shortened(grants, shortening) => store.shorten(grants, shortening, &clocks),
        })
    }
}
