//! The messages on the agent's socket: requests and answers, problem details, their OpenAPI schemas, and a client.

#![forbid(unsafe_code)]

pub mod client;
mod events;
pub mod object;
pub mod problem;
pub mod schema;
pub mod terminal;
mod whole;
pub mod wire;

pub use jit_policy::text::excerpt;

/// Most violations in one answer.
pub const MOST_VIOLATIONS: usize = 100;
