//! Equipment of tests, of this package and of others.

pub mod agent;
pub mod asking;
pub mod audit;
mod clock;
pub mod machine;
mod memory;
pub mod packet;
pub mod people;
pub mod scripted;

pub use self::{clock::ManualClock, memory::MemoryDatapath};
