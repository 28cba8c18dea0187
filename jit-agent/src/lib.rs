//! Just-in-time access for Linux hosts: the library behind the daemon `jit-agent` and the client `jitctl`.
//!
//! Dependencies point downwards: `daemon` wires everything, `api` and `cli` speak HTTP, `core` owns the state and
//! drives `store` and `datapath`, `events` leads from the datapath to those who watch, and `policy` is pure.

#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
#[cfg(test)]
mod crash;
pub mod daemon;
pub mod datapath;
pub mod events;
mod hex;
pub mod journal;
pub mod policy;
pub mod store;
mod text;
pub mod warnings;
