//! Equipment of tests, of this package and of others.

pub mod agent;
pub mod audit;
pub mod machine;
pub mod packet;
pub mod people;
pub mod scripted;
