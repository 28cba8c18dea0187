//! The memory that the agent uses.

use std::fs;

use anyhow::{Context, Result};

/// Mebibytes that are resident now.
pub(super) fn resident(pid: u32) -> Result<f64> {
    field(pid, "VmRSS:")
}

/// Mebibytes that were resident at most since [`forget_peak`].
pub(crate) fn peak(pid: u32) -> Result<f64> {
    field(pid, "VmHWM:")
}

/// Resets the peak that the kernel records.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // 5 resets the peak, see proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak of the agent's memory")
}

fn field(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    let kibibytes: f64 = kibibytes.with_context(|| format!("{path} has no {name}"))?;
    Ok(kibibytes / 1024.0)
}
