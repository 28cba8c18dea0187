//! Just-in-time access for Linux hosts: the library behind the daemon `jit-agent`.
//!
//! Dependencies point downwards: `daemon` wires everything, `http` serves the API, `core` owns the state and drives
//! `store` and `datapath`, `events` leads from the datapath to the watching clients, `config` reads the files.

#![deny(unsafe_code)]

pub mod accounts;
pub mod clock;
pub mod config;
pub mod core;
#[cfg(test)]
mod crash;
pub mod daemon;
pub mod datapath;
pub mod events;
pub mod http;
pub mod journal;
pub mod store;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "equipment of tests")]
pub mod testing;
pub mod warnings;
