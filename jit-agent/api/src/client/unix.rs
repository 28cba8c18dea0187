//! The way to the agent on systems with Unix sockets.

use std::{io, path::Path, time::Duration};

use tokio::{net::UnixStream, time::sleep};

use super::ClientError;

/// The pause before the client connects again while the agent's queue of connections is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Connects to the agent that listens on `socket`.
pub(super) async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let path = socket.to_owned();
        return Err(match error.kind() {
            // A Unix socket does not wait by itself for room in a full queue.
            io::ErrorKind::WouldBlock => {
                sleep(QUEUE_PAUSE).await;
                continue;
            }
            io::ErrorKind::NotFound => ClientError::NoSocket(path),
            io::ErrorKind::ConnectionRefused => ClientError::NobodyListens(path),
            io::ErrorKind::PermissionDenied => ClientError::MayNotConnect(path),
            _ => ClientError::Connect { path, source: error },
        });
    }
}
