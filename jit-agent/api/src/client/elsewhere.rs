//! Systems without Unix sockets, from which there is no way to the agent.

use std::path::Path;

use tokio::net::TcpStream;

use super::ClientError;

/// Reports that this system has no way to the agent. The type of the stream exists on every system, but no stream is
/// made.
pub(super) async fn connect(socket: &Path) -> Result<TcpStream, ClientError> {
    Err(ClientError::NoUnixSockets(socket.to_owned()))
}
