//! The command line of `jit-agent`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use jit_policy::Span;

use crate::config::DEFAULT_PATH;

/// Keeps management ports shut at the network card, and opens them for named sources for a limited time.
///
/// A fresh installation observes: it counts what it would drop, and drops nothing until `jit-agent enable`.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 not permitted, 5 agent unreachable.
#[derive(Clone, Debug, Parser)]
#[command(name = "jit-agent", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Lock the configured ports and serve requests until stopped
    ///
    /// The ports stay shut when it ends.
    Run(Location),
    /// Check the configuration, and whether this host can enforce it; change nothing
    Check(Location),
    /// Take the configuration files as they are, whatever they open; for hosts whose agent does not run
    ///
    /// A start of the agent opens nothing that was not accepted before. `jitctl reload` accepts while the agent runs.
    /// This command is for root at the console, in a chroot or in an image: it marks these very files, and the next
    /// start takes them and removes the mark.
    Accept(Location),
    /// Shut the ports on trial: unless `jit-agent confirm` comes in time, they open again by themselves
    ///
    /// Shows which ports will be shut and who is connected to them now, and insists on a way back: a break-glass
    /// source, a delegate that is connected, or --console. Opens the port of your SSH session for your own address for
    /// a time. Until confirmed, nothing is kept for the next start, so that a reboot ends the trial too.
    Enable(Enable),
    /// Make the trial that runs permanent; the configuration files stay as they are
    Confirm(Location),
    /// End the trial that runs; or, if none does, let all packets pass from now on, and only observe
    ///
    /// Without a trial, `mode = "observe"` is kept, and wins over the configuration files.
    Disable(Disable),
    /// Open all ports: remove the program from every interface, and its tables
    ///
    /// Needs no valid configuration, no store and no running daemon, and holds until `jit-agent enable`, over restarts
    /// of the daemon and of the host.
    ///
    /// When you are locked out, log in at the console as root. In this order:
    ///
    ///   1. jit-agent unload
    ///
    ///   2. If that fails, or the binary is missing: systemctl disable --now jit-agent; rm -rf /sys/fs/bpf/jit-agent.
    ///      Removing these files removes the program from the interfaces and opens the ports. On kernels before 6.6 an
    ///      interface may have it as a filter instead: tc filter del dev NAME ingress pref 1.
    ///
    ///   3. If the host must be rebooted: nothing is loaded before the daemon starts. Add
    ///      systemd.mask=jit-agent.service to the kernel's command line, and it does not.
    ///
    /// Sources in `break_glass` get in without any of this, with or without a daemon.
    #[command(verbatim_doc_comment)]
    Unload(Location),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub(super) struct Location {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(super) config: PathBuf,
}

/// Arguments of `enable`.
#[derive(Clone, Debug, Args)]
pub(super) struct Enable {
    #[command(flatten)]
    pub(super) location: Location,
    /// How long to wait for `jit-agent confirm`: 10s to 1h, like 90s, 10m or PT10M
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = Span::above_zero)]
    pub(super) trial: Duration,
    /// For how long to open the port of your SSH session for your address; if not given, as long as the port's policy
    /// allows, at most 1h
    #[arg(long, value_name = "DURATION", value_parser = Span::above_zero)]
    pub(super) grant: Option<Duration>,
    /// Someone can reach this host's console, and that is way back enough
    #[arg(long)]
    pub(super) console: bool,
    /// Do it without asking
    #[arg(long)]
    pub(super) yes: bool,
}

/// Arguments of `disable`.
#[derive(Clone, Debug, Args)]
pub(super) struct Disable {
    #[command(flatten)]
    pub(super) location: Location,
    /// Do it without asking
    #[arg(long)]
    pub(super) yes: bool,
}

/// The command line of `jit-agent`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_the_help_of_unload_says_what_to_do_from_the_console() {
        command().debug_assert();
        let mut command = command();
        let unload = command.find_subcommand_mut("unload").unwrap();
        let help = unload.render_long_help().to_string();
        for part in ["console", "rm -rf /sys/fs/bpf/jit-agent", "tc filter del", "systemd.mask=jit-agent.service"] {
            assert!(help.contains(part), "{part:?} is not in {help}");
        }
    }
}
