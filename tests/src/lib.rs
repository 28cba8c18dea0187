//! Harness for tests that run the real binaries in throwaway network namespaces.
//!
//! A test makes a [`Sandbox`] (private mounts), two or more [`Namespace`]s (anonymous network namespaces), a
//! [`Link`] between them, an [`Agent`] in the server's namespace, and probes it from the client's:
//!
//! ```no_run
//! use jit_tests::{Agent, Config, PATIENCE, Reach, SILENCE, TcpServer, Topology, tcp_connects};
//!
//! fn locked_port_is_silent() -> anyhow::Result<()> {
//!     let net = Topology::new()?;
//!     let _server = TcpServer::echo(&net.server, "[::]:22")?;
//!     let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing(&net.server_device))?;
//!     assert_eq!(tcp_connects(&net.client, "192.0.2.10", "192.0.2.1:22", SILENCE)?, Reach::Silent);
//!     agent.jitctl(&["request", "--port", "22", "--from", "192.0.2.10", "--for", "10m", "-m", "test"])?.success()?;
//!     assert_eq!(tcp_connects(&net.client, "192.0.2.10", "192.0.2.1:22", PATIENCE)?, Reach::Open);
//!     Ok(())
//! }
//! ```
//!
//! Nothing has a name outside the test: namespaces are anonymous, mounts are private to the test's thread, and the
//! kernel kills every child when that thread ends. So a crashed or interrupted run leaves nothing behind, and tests may
//! run in parallel. A sandbox, a namespace and an agent belong to the thread that created them, and can't be sent to
//! another thread.

mod agent;
mod api;
mod capture;
mod config;
mod evidence;
mod link;
pub mod model;
mod namespace;
mod probe;
mod process;
mod requests;
pub mod rights;
mod sandbox;
mod servers;
mod session;
mod ssh;
mod sys;
mod tun;
mod users;
pub mod verdicts;
pub mod watch;

use std::time::Duration;

pub use agent::Agent;
pub use api::Response;
pub use capture::Stream;
pub use config::{Config, Port};
pub use link::{Link, Topology};
pub use namespace::Namespace;
pub use probe::{FrameSender, Reach, http_get, tcp_connects, udp_echoes};
pub use process::{Outcome, Process, Program};
pub use requests::{Grant, request_body};
pub use sandbox::Sandbox;
pub use servers::{TcpServer, UdpServer};
pub use session::{Cut, Tally, TcpSession, Traffic, UdpSession};
pub use ssh::SshServer;
pub use tun::{Tun, datagram};

/// The longest wait for something that should happen; reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The wait after which a probe without an answer counts as dropped. The wait is long against a round trip over a veth
/// (microseconds), and short against the first retransmission (one second).
pub const SILENCE: Duration = Duration::from_millis(300);
