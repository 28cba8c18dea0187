//! What is in force but could not be written yet.

use jiff::Timestamp;
use jit_policy::{Actor, RequestId};

use super::{Core, RETRY_INTERVAL};
use crate::store::{EndedGrant, Ending, GrantState, RequestState, ShortenedGrant, Shortening, StoreError};

/// Something that was closed, for the store.
#[derive(Clone, Debug)]
pub(super) enum Closing {
    /// Grants ended, with the connections that they let in.
    Ended(Vec<EndedGrant>, Ending),
    /// Requests wait for approval no more.
    Requests { ids: Vec<RequestId>, status: RequestState, ending: Ending },
    /// A request could not be carried out, and its grants were taken back.
    Failed { request: RequestId, wall: Timestamp, reason: String },
    /// Grants end earlier than they would have.
    Shortened(Vec<ShortenedGrant>, Shortening),
}

impl Core {
    /// Writes a closing that is in force. What can't be written now is tried again later. Says whether it is written.
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

    /// As [`record`](Self::record), but doesn't try now if an earlier closing is waiting: a store that doesn't answer
    /// may take seconds for each attempt.
    pub(super) fn record_in_turn(&mut self, closing: Closing) {
        match self.backlog_problem.clone() {
            Some(problem) => self.postpone(closing, problem),
            None => {
                self.record(closing);
            }
        }
    }

    /// Writes what could not be written before, up to the first that still can't.
    pub(super) fn write_backlog(&mut self) {
        while let Some(closing) = self.backlog.pop_front() {
            if let Err(problem) = self.write(&closing) {
                // To the end, so that one that can never be written doesn't keep the others waiting.
                self.postpone(closing, problem);
                return;
            }
        }
        self.backlog_problem = None;
    }

    /// How grants or requests end now. `by`: who ends them; `None`: the agent.
    pub(super) fn ending(&self, state: GrantState, by: Option<Actor>, reason: &str) -> Ending {
        Ending { state, wall: self.clock.wall(), by, reason: reason.to_owned() }
    }

    /// Writes that grants end earlier than they would have, which is in force already. `by`: who caused it; `None`: the
    /// agent.
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
            Closing::Requests { ids, status, ending } => store.close_requests(ids, *status, ending),
            Closing::Failed { request, wall, reason } => match store.fail_request(*request, *wall, reason) {
                // Nothing is left that could be opened again.
                Err(StoreError::NoRequest(_)) => Ok(()),
                other => other,
            },
            Closing::Shortened(grants, shortening) => store.shorten(grants, shortening, &clocks),
        };
        written.map_err(|error| error.to_string())
    }
}
