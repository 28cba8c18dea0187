//! What people, programs and older versions see of the binaries, against texts in `tests/golden`: everything that must stay
//! as it is while the code behind it changes.
//!
//! With `JIT_UPDATE_GOLDEN=1` the texts are written anew, to be looked through before they are committed. `full.toml` and
//! what is in `past` but `told.txt` is never written anew: later versions have to take it as it is.

mod configuration;
mod document;
mod enable;
mod exits;
mod file;
mod help;
mod import;
mod metrics;
mod normal;
mod past;
mod problems;
mod run;
mod schema;
mod seen;
mod story;
mod transcript;
