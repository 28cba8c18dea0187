//! What the XDP program and the agent must agree on, and the logic that both run.
//!
//! The same [`parse`](parse::parse) and [`decide`](decide::decide) sources compile for BPF and for the host, so that
//! tests and the agent's answers about a packet come from the code that judges it.

#![no_std]
#![deny(unsafe_code)]

pub mod abi;
pub mod activity;
pub mod decide;
pub mod frame;
mod keys;
pub mod parse;
#[cfg(feature = "user")]
mod pod;
pub mod reason;
pub mod route;
pub mod search_end;
