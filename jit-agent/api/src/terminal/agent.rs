//! The agent as a command sees it: each answer becomes an outcome.

use hyper::{Method, body::Bytes};
use serde::{Serialize, de::DeserializeOwned};

use super::{Exit, Outcome, table, text};
use crate::{
    client::{Answer, Client, ClientError},
    problem::Problem,
    wire::List,
};

/// The agent, and the form in which its answers are shown.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Where the agent is.
    pub client: Client,
    /// Whether to print the agent's JSON.
    pub json: bool,
}

impl Agent {
    /// Shows what the agent has at a path.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn get<T: DeserializeOwned>(&self, path: &str, show: impl FnOnce(&T) -> Outcome) -> Result<Outcome, Outcome> {
        self.ask(Method::GET, path, None, show)
    }

    /// Sends a body to the agent and shows the answer.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        show: impl FnOnce(&T) -> Outcome,
    ) -> Result<Outcome, Outcome> {
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.ask(Method::POST, path, Some(body), show)
    }

    /// Shows a list that comes in parts: as many parts as are needed for so many elements.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        most: usize,
        show: impl FnOnce(&T) -> Outcome,
    ) -> Result<Outcome, Outcome> {
        let mut whole: Option<List<serde_json::Value>> = None;
        let mut next = Some(path.to_owned());
        while let Some(path) = next.filter(|_| whole.as_ref().is_none_or(|whole| whole.value.len() < most)) {
            let part: List<serde_json::Value> = self.fetch(&path)?;
            next = part.next_link.clone();
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    whole.value.extend(part.value);
                    whole.next_link = part.next_link;
                }
            }
        }
        // Strings and numbers always serialise.
        let json = serde_json::to_vec(&whole).unwrap_or_default().into();
        self.decode(&json, show)
    }

    /// Returns what the agent has at a path.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, Outcome> {
        self.read(&self.call(Method::GET, path, None)?)
    }

    /// Shows what the agent answers.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        show: impl FnOnce(&T) -> Outcome,
    ) -> Result<Outcome, Outcome> {
        self.decode(&self.call(method, path, body)?, show)
    }

    /// Returns the agent's answer, if the answer is not a problem.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes, Outcome> {
        match self.client.call(method, path, body) {
            Ok(Answer::Done(json)) => Ok(json),
            Ok(Answer::Problem(problem)) => Err(self.problem(&problem)),
            Err(error) => Err(unanswered(&error)),
        }
    }

    /// Shows an answer: as `show` has it, or as the agent's own JSON if the user asks for JSON.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn decode<T: DeserializeOwned>(
        &self,
        json: &Bytes,
        show: impl FnOnce(&T) -> Outcome,
    ) -> Result<Outcome, Outcome> {
        let outcome = show(&self.read(json)?);
        if !self.json {
            return Ok(outcome);
        }
        // The agent's own JSON keeps fields that this program doesn't know.
        let value: serde_json::Value = self.read(json)?;
        Ok(Outcome { stdout: format!("{value:#}\n"), ..outcome })
    }

    /// Reads an answer as a value.
    ///
    /// # Errors
    /// The agent does not answer, answers with a problem, or is not understood. The error is the command's outcome.
    pub fn read<T: DeserializeOwned>(&self, json: &Bytes) -> Result<T, Outcome> {
        serde_json::from_slice(json)
            .map_err(|error| unanswered(&ClientError::NotUnderstood { status: 200, reason: error.to_string() }))
    }

    /// The outcome of a command that the agent answered with a problem.
    #[must_use]
    pub fn problem(&self, problem: &Problem) -> Outcome {
        let stderr = if self.json {
            serde_json::to_string_pretty(problem).unwrap_or_default() + "\n"
        } else {
            table::problem(problem)
        };
        Outcome::failed(Exit::from(problem), stderr)
    }
}

/// The outcome of a command that got no answer.
#[must_use]
pub fn unanswered(error: &ClientError) -> Outcome {
    Outcome::failed(Exit::from(error), format!("error: {}\n", text::sanitised(&error.to_string())))
}
