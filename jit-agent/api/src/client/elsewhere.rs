//! Systems without Unix sockets, from which there is no way to the agent.

use std::path::Path;

use tokio::net::TcpStream;

use super::ClientError;

/// Says so. The stream is of a type that every system has, and never there.
pub(super) async fn connect(socket: &Path) -> Result<TcpStream, ClientError> {
    Err(ClientError::NoUnixSockets(socket.to_owned()))
}
