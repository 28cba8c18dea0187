//! A connection that stays open. Written by hand, since a client's runtime would be part of the measurement.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_tests::PATIENCE;

/// Longest wait for one answer: 10,000 sources may take a while.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// The pause before connecting again, while closed connections still count.
const PAUSE: Duration = Duration::from_millis(5);

/// An open connection to the agent.
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

/// An answer of the agent.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The bytes after the head.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the answer if its status is `status`.
    ///
    /// # Errors
    /// The answer has another status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        let shown = || String::from_utf8_lossy(&self.body).chars().take(500).collect::<String>();
        ensure!(self.status == status, "the answer has status {} in place of {status}: {}", self.status, shown());
        Ok(self)
    }
}

impl Connection {
    /// Connects, and checks that the agent serves the connection.
    ///
    /// # Errors
    /// The agent does not serve the connection in time.
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let start = Instant::now();
        loop {
            let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
            stream.set_read_timeout(Some(LONGEST_ANSWER))?;
            let mut connection = Self { stream, received: Vec::new() };
            // If there are too many connections, the agent says so and closes this one.
            if connection.call("GET", "/v1/ports", "").is_ok_and(|answer| answer.status == 200) {
                return Ok(connection);
            }
            ensure!(start.elapsed() < PATIENCE, "the agent serves no connection within {PATIENCE:?}");
            thread::sleep(PAUSE);
        }
    }

    /// Sends one request and returns its answer.
    ///
    /// # Errors
    /// The connection breaks.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.send(&request(method, path, body))?;
        self.answer()
    }

    /// Sends the bytes of a [`request`].
    ///
    /// # Errors
    /// The connection breaks.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).context("sending a request")
    }

    /// Waits for the answer to the previous request.
    ///
    /// # Errors
    /// The connection breaks, or the bytes that arrive are no HTTP answer of a known length.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let head = loop {
            match self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.receive()?,
            }
        };
        let text = String::from_utf8_lossy(self.received.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else { anyhow::bail!("no HTTP answer: {text}") };
        while self.received.len() < head + length {
            self.receive()?;
        }
        let rest = self.received.split_off(head + length);
        let mut body = std::mem::replace(&mut self.received, rest);
        body.drain(..head);
        Ok(Answer { status, body })
    }

    fn receive(&mut self) -> Result<()> {
        let mut bytes = [0; 64 * 1024];
        let count = self.stream.read(&mut bytes).context("reading an answer")?;
        ensure!(count > 0, "the agent has closed the connection");
        self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(())
    }

    /// Reads one answer of any length without keeping it, and returns its status and number of bytes, head included.
    ///
    /// # Errors
    /// The connection breaks.
    pub(crate) fn download(socket: &Path, path: &str) -> Result<(u16, u64)> {
        let mut stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(LONGEST_ANSWER))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).context("reading an answer")?;
        let status = std::str::from_utf8(&start).ok().and_then(|text| text.get(9..)?.parse().ok());
        let rest = std::io::copy(&mut stream, &mut std::io::sink()).context("reading an answer")?;
        Ok((status.context("no HTTP answer")?, rest + start.len() as u64))
    }
}

/// The bytes of a request. Requests with a body for [`Connection::send`] are made before the timed part.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn answers_are_told_apart_however_their_bytes_come() {
        let (stream, mut agent) = UnixStream::pair().unwrap();
        let mut connection = Connection { stream, received: Vec::new() };
        agent.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 404 ").unwrap();
        let first = connection.answer().unwrap();
        assert_eq!((first.status, &*first.body), (201, &b"first"[..]));
        agent.write_all(b"Not Found\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        let second = connection.answer().unwrap();
        assert_eq!((second.status, &*second.body), (404, &b"{}"[..]));
        assert!(second.expect(200).is_err());
        drop(agent);
        assert!(connection.answer().is_err());
    }
}
