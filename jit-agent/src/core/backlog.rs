//! Closings that are in force but could not be written yet.

use jiff::Timestamp;
use jit_policy::{Actor, RequestId};

use super::{Core, RETRY_INTERVAL};
use crate::store::{EndedGrant, Ending, GrantEnd, RequestEnd, ShortenedGrant, Shortening, StoreError};

/// A closing, as the store records it.
#[derive(Clone, Debug)]
pub(super) enum Closing {
    /// Grants ended. Each comes with the connections that it admitted.
    Ended(Vec<EndedGrant>, Ending<GrantEnd>),
    /// Requests no longer wait for approval.
    Requests(Vec<RequestId>, Ending<RequestEnd>),
    /// A request could not be carried out, and its grants were undone.
    Failed { request: RequestId, wall: Timestamp, reason: String },
    /// Grants end earlier than planned.
    Shortened(Vec<ShortenedGrant>, Shortening),
}

impl Core {
    /// Writes a closing that is in force. Returns whether the closing is written. If not, the write is retried later.
    pub(super) fn record(&mut self, closing: Closing) -> bool {
        match self.write(&closing) {
            Ok(()) => true,
            Err(problem) => {
                tracing::error!(problem, "a closing is in force but could not be written");
                self.postpone(closing, problem);
                false
            }
        }
    }

    /// Like [`record`](Self::record), but doesn't try now if an earlier closing is waiting, because a store that
    /// doesn't answer may take seconds for each attempt.
    pub(super) fn record_in_turn(&mut self, closing: Closing) {
        match self.backlog_problem.clone() {
            Some(problem) => self.postpone(closing, problem),
            None => {
                self.record(closing);
            }
        }
    }

    /// Writes the closings of the backlog, up to the first that still fails.
    pub(super) fn write_backlog(&mut self) {
        while let Some(closing) = self.backlog.pop_front() {
            if let Err(problem) = self.write(&closing) {
                // The closing goes to the end of the backlog. A closing that can never be written must not block the
                // others.
                self.postpone(closing, problem);
                return;
            }
        }
        self.backlog_problem = None;
    }

    /// Returns how grants or requests end now. `by` is who ends them. `None`: the agent.
    pub(super) fn ending<S>(&self, state: S, by: Option<Actor>, reason: &str) -> Ending<S> {
        Ending { state, wall: self.clock.wall(), by, reason: reason.to_owned() }
    }

    /// Writes that grants end earlier than planned, which is already in force. `by` is who caused the change. `None`:
    /// the agent.
    pub(super) fn record_shortened(&mut self, grants: Vec<ShortenedGrant>, by: Option<Actor>, reason: &str) {
        if grants.is_empty() {
            return;
        }
        let shortening = Shortening { wall: self.clock.wall(), by, reason: reason.to_owned() };
        self.record(Closing::Shortened(grants, shortening));
    }

    fn postpone(&mut self, closing: Closing, problem: String) {
        self.backlog.push_back(closing);
        self.backlog_problem = Some(problem);
        self.next_retry = self.clock.boot().after(RETRY_INTERVAL);
    }

    fn write(&mut self, closing: &Closing) -> Result<(), String> {
        let clocks = self.clocks();
        let store = self.store.as_mut().map_err(|problem| problem.clone())?;
        let written = match closing {
            Closing::Ended(ids, ending) => store.end_grants(ids, ending),
            Closing::Requests(ids, ending) => store.close_requests(ids, ending),
            Closing::Failed { request, wall, reason } => match store.fail_request(*request, *wall, reason) {
                // The store has no such request, so a restart can't open it again.
                Err(StoreError::NoRequest(_)) => Ok(()),
                other => other,
            },
            Closing::Shortened(grants, shortening) => store.shorten(grants, shortening, &clocks),
        };
        written.map_err(|error| error.to_string())
    }
}
