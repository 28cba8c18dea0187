//! What keeps a client from its answer.

use std::{io, path::PathBuf, time::Duration};

use jit_policy::Span;

use crate::problem::Problem;

/// Why the client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("no agent at {path}: there is no such socket; is jit-agent running? see `systemctl status jit-agent`, or name its socket with --socket", path = .0.display())]
    NoSocket(PathBuf),
    /// Nobody serves the socket.
    #[error("no agent at {path}: nobody listens there; is jit-agent running? see `systemctl status jit-agent`", path = .0.display())]
    NobodyListens(PathBuf),
    /// The file system forbids the connection.
    #[error("you may not connect to {path}: permission denied; check the modes of the socket (0666) and its directories (0755)", path = .0.display())]
    MayNotConnect(PathBuf),
    /// Connecting failed with another error.
    #[error("can't connect to {path}: {source}; name the agent's socket with --socket", path = .path.display())]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("no answer from the agent at {path} within {after}; it may still do what was asked: see `jitctl grants`", path = .path.display(), after = Span(*.after))]
    NoAnswer {
        /// The path of the socket.
        path: PathBuf,
        /// How long the client waited for an answer.
        after: Duration,
    },
    /// The connection broke, or the other side does not speak HTTP.
    #[error("the connection to {path} broke: {source}; is this the socket of jit-agent? see `systemctl status jit-agent`", path = .path.display())]
    Broken {
        /// The path of the socket.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is larger than the client reads.
    #[error("the agent's answer is larger than {limit} bytes; ask for less, or use another client")]
    TooLarge {
        /// The most bytes that the client reads.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("the agent's answer (HTTP {status}) is not understood: {reason}; are jitctl and jit-agent of one version?")]
    NotUnderstood {
        /// HTTP status of the answer.
        status: u16,
        /// Why the answer is not understood.
        reason: String,
    },
    /// This system has no way to the agent.
    #[error(
        "can't connect to {path}: the agent listens on a Unix socket of its host, which programs on this system can't \
         reach; run jitctl on that host, such as by `ssh HOST jitctl ...`", path = .0.display()
    )]
    NoUnixSockets(PathBuf),
    /// The stream ended.
    #[error("the agent at {path} stopped; see `systemctl status jit-agent`", path = .0.display())]
    Stopped(PathBuf),
    /// The client has no event loop.
    #[error("can't start: {0}; the process may have too few file descriptors")]
    Runtime(io::Error),
}

/// Why a stream of events ended.
#[derive(Debug)]
pub enum FollowError {
    /// The agent refuses the stream.
    Problem(Box<Problem>),
    /// There is no stream, or the stream has ended.
    Unanswered(ClientError),
}

impl From<ClientError> for FollowError {
    fn from(error: ClientError) -> Self {
        Self::Unanswered(error)
    }
}
