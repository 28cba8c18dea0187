//! What travels on the agent's socket: requests and answers, problem details, their OpenAPI schemas, and a client.

#![forbid(unsafe_code)]

pub mod client;
mod events;
pub mod object;
pub mod problem;
pub mod schema;
pub mod terminal;
mod whole;
pub mod wire;

/// A text as given, cut where it would be too long for a message.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
