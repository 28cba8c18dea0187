//! The environment of a measurement: place, time and build.

use std::{fs, process::Command, thread};

use anyhow::{Context, Result};
use jit_agent::clock::{Clock, SystemClock};
use serde_json::{Value, json};

/// The facts on which the figures depend.
pub(crate) struct Environment {
    date: String,
    kernel: String,
    processor: String,
    cores: usize,
    build: String,
}

impl Environment {
    /// Reads the environment from the kernel and from git.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub(crate) fn read() -> Result<Self> {
        let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}: is /proc mounted?"));
        let processors = read("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = SystemClock.wall().to_string();
        let date = date.split_once('.').map_or(date.as_str(), |(whole_seconds, _)| whole_seconds);
        Ok(Self {
            date: format!("{} UTC", date.trim_end_matches('Z').replace('T', " ")),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")?.trim()),
            processor: model.map_or("unknown model", |(_, name)| name.trim()).to_owned(),
            cores: thread::available_parallelism().context("cannot tell the number of processors")?.get(),
            build: build(),
        })
    }

    /// The heading of a table.
    pub(crate) fn to_lines(&self) -> String {
        let Self { date, kernel, processor, cores, build } = self;
        let cores = format!("{cores} {}", if *cores == 1 { "core" } else { "cores" });
        format!("{build}, {date}\n{kernel}, {processor}, {cores}")
    }

    /// The environment as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { date, kernel, processor, cores, build } = self;
        json!({ "date": date, "kernel": kernel, "processor": processor, "cores": cores, "build": build })
    }
}

/// Version, revision and profile. The revision is missing without git or a repository.
fn build() -> String {
    let mut build = format!("jit-agent {}", env!("CARGO_PKG_VERSION"));
    // Root reads another user's repository here, which git refuses by default.
    let git = ["-c", "safe.directory=*", "-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"];
    if let Ok(output) = Command::new("git").args(git).output()
        && output.status.success()
    {
        build = format!("{build} ({})", String::from_utf8_lossy(&output.stdout).trim());
    }
    if cfg!(debug_assertions) {
        build.push_str(", DEBUG BUILD: use `cargo xtask bench`");
    }
    build
}
