//! Equipment of tests, of this package and of others.

pub mod scripted;
