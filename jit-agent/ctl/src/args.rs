//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};
use jit_common::abi::Transport;
use jit_policy::{PortId, Span};

use super::{
    parse,
    ports::{Ports, ReloadArguments},
};

/// Opens management ports of this host for a source and a limited time, and shows what is open.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy, 4 not permitted, 5 agent unreachable, 6 pending approval,
/// 7 degraded (from `status`).
#[derive(Clone, Debug, Parser)]
#[command(name = "jitctl", version, propagate_version = true)]
pub(super) struct Arguments {
    /// Socket of the agent
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/jit-agent/jit-agent.sock")]
    pub(super) socket: PathBuf,
    /// Print the agent's JSON instead of a table
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Show mode, interfaces, grants intended and enforced, packets and faults
    Status,
    /// Show which ports are protected and what may be requested for them, or change that
    Ports(Ports),
    /// Have the agent read its configuration again
    Reload(ReloadArguments),
    /// Open ports for sources, for a limited time
    ///
    /// When the time is over or the grant is revoked, established connections stop as well.
    Request(Request),
    /// Show requests, newest first
    Requests(Requests),
    /// Approve a request that waits
    ///
    /// Shows what it asks for, and asks whether to approve it. Its time counts from now. You can't approve what you
    /// asked for yourself.
    Approve(Approve),
    /// Refuse a request that waits
    Deny(Deny),
    /// Take back a request that waits
    Cancel(OneRequest),
    /// Show live grants, first to end first
    Grants,
    /// Say what would become of a packet now, and which grant or missing thing decides
    Why(Why),
    /// Show packets as they are dropped, and connections as they are let in, until interrupted
    ///
    /// A sample of them where there are many; how many more were dropped is shown too.
    Watch,
    /// Let a grant last longer: for so long from now
    ///
    /// A grant that lasts longer anyway stays as it is. Where the port requires approval, the extension does too.
    Extend(Extend),
    /// Show the audit log, newest last, or check it
    Audit(Audit),
    /// End grants at once; established connections stop as well
    Revoke(Revoke),
    /// Take over port policies from elsewhere
    #[command(subcommand)]
    Import(Import),
}

/// Arguments of `request`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("until_when").required(true).args(["duration", "until"]))]
pub(super) struct Request {
    /// Port to open, like 22 or 3389/udp; tcp, udp, any, or the policy's protocol if none is given
    #[arg(long = "port", value_name = "NUMBER[/PROTO]", required = true, num_args = 1.., value_parser = parse::port)]
    pub(super) ports: Vec<RequestedPort>,
    /// Source to let in: an address, a prefix, or `me` for the address your SSH session comes from
    #[arg(long = "from", value_name = "PREFIX|me", required = true, num_args = 1..)]
    pub(super) sources: Vec<String>,
    /// How long, like 90s, 30m, 3h, 1h30m or PT1H30M
    #[arg(long = "for", value_name = "DURATION", value_parser = Span::above_zero)]
    pub(super) duration: Option<Duration>,
    /// Until when: local time like 17:30 or "2030-01-31 17:30", or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Why, for the records
    #[arg(short = 'm', long, value_name = "JUSTIFICATION", default_value = "", hide_default_value = true)]
    pub(super) message: String,
    /// In whose name; for delegates
    #[arg(long, value_name = "NAME")]
    pub(super) requestor: Option<String>,
    /// Where the port requires approval, wait until someone decides
    #[arg(long)]
    pub(super) wait: bool,
}

/// Arguments of `requests`.
#[derive(Clone, Debug, Args)]
pub(super) struct Requests {
    /// Only those that wait for approval
    #[arg(long)]
    pub(super) pending: bool,
}

/// Arguments of `approve`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Approve {
    /// Number of the request, as `jitctl requests` shows it
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) id: i64,
    /// Don't ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// Arguments of `cancel`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OneRequest {
    /// Number of the request, as `jitctl requests` shows it
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) id: i64,
}

/// Arguments of `deny`.
#[derive(Clone, Debug, Args)]
pub(super) struct Deny {
    /// Number of the request, as `jitctl requests` shows it
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) id: i64,
    /// Why, for the requestor and the records
    #[arg(short = 'm', long, value_name = "REASON")]
    pub(super) message: String,
}

/// Arguments of `extend`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Extend {
    /// Number of the grant, as `jitctl grants` shows it
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) id: i64,
    /// How long from now, like 90s, 30m, 3h, 1h30m or PT1H30M
    #[arg(long = "for", value_name = "DURATION", value_parser = Span::above_zero)]
    pub(super) duration: Duration,
}

/// A port as written: the protocol may be left to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedPort {
    /// The policy's protocol.
    Number(u16),
    /// This protocol.
    Exact(PortId),
}

/// Arguments of `audit`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Audit {
    /// What else to do
    #[command(subcommand)]
    pub(super) command: Option<AuditCommand>,
    /// From when on: how long ago, like 2h or 7d, or local time like 17:30, 2026-01-31 or "2026-01-31 17:30", or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before when, written in the same ways
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Only this person's access, and what this person did
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Only this port number
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Only this kind of event, like granted, denied or revoked
    #[arg(long, value_name = "NAME")]
    pub(super) event: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "jsonl")]
    pub(super) csv: bool,
    /// Print each row as a line of JSON
    #[arg(long)]
    pub(super) jsonl: bool,
}

/// What to do with the audit log besides showing it.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no row was changed, removed or cut off
    Verify {
        /// Check as well that the log holds this head, which was noted elsewhere
        #[arg(long, value_name = "[SEQ:]HASH")]
        head: Option<String>,
    },
}

/// Arguments of `why`.
#[derive(Clone, Debug, Args)]
pub(super) struct Why {
    /// Where the packet comes from: an address, or `me` for the address your SSH session comes from
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// Its destination port, like 22 or 3389/udp; tcp if no protocol is given, or sctp
    #[arg(value_name = "PORT[/PROTO]", value_parser = parse::packet_port)]
    pub(super) port: (u16, Transport),
    /// Its destination address; one of this host's if none is given
    #[arg(long, value_name = "ADDRESS")]
    pub(super) to: Option<IpAddr>,
    /// The interface on which it arrives; any covered one if none is given
    #[arg(long, value_name = "NAME")]
    pub(super) interface: Option<String>,
}

/// Arguments of `revoke`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "user", "all"]))]
pub(super) struct Revoke {
    /// Numbers of the grants, as `jitctl grants` shows them
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) ids: Vec<i64>,
    /// All live grants of this user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// All live grants
    #[arg(long)]
    pub(super) all: bool,
    /// Why, for the records
    #[arg(short = 'm', long, value_name = "REASON", default_value = "", hide_default_value = true)]
    pub(super) message: String,
}

/// Where port policies come from.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Import {
    /// Take over the ports of an Azure just-in-time policy, as `az security jit-policy list` or the REST API prints it
    ///
    /// Shows what it would set; --apply sets it. Ports that the file does not name stay as they are.
    Azure(ImportAzure),
}

/// Arguments of `import azure`.
#[derive(Clone, Debug, Args)]
pub(super) struct ImportAzure {
    /// File with the policies as JSON; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The virtual machine to take where the file holds several: its resource id, or the last part of it
    #[arg(long, value_name = "ID")]
    pub(super) vm: Option<String>,
    /// Set the port policies, in place of only showing them
    #[arg(long)]
    pub(super) apply: bool,
    /// Set them without asking, also where that ends or shortens grants or opens ports
    #[arg(long, requires = "apply")]
    pub(super) yes: bool,
}
