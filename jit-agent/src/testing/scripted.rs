//! A server that gives scripted answers and records the requests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread::{self, JoinHandle},
};

use serde_json::Value;
use tempfile::TempDir;

/// A scripted answer: status, version (the entity tag), body.
pub type Scripted = (u16, Option<&'static str>, Value);

/// A recorded request: request line, header If-Match, body.
pub type Asked = (String, Option<String>, Value);

/// The server, with a directory for the server's socket and for files of the test.
#[derive(Debug)]
pub struct Server {
    /// The directory, which is removed when the server is dropped.
    pub directory: TempDir,
    thread: JoinHandle<Vec<Asked>>,
}

impl Server {
    /// Starts a server that gives the answers in order, each to a connection of its own.
    #[must_use]
    pub fn start(answers: Vec<Scripted>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let thread = thread::spawn(move || answers.into_iter().map(|answer| serve(&listener, &answer)).collect());
        Self { directory, thread }
    }

    /// The path of the server's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Returns the recorded requests, after the server has given all answers.
    #[must_use]
    pub fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap()
    }
}

fn serve(listener: &UnixListener, (status, etag, body): &Scripted) -> Asked {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let mut sent = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut sent).unwrap();
    let etag = etag.map(|etag| format!("etag: {etag}\r\n")).unwrap_or_default();
    let body = body.to_string();
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} \r\n{etag}content-length: {length}\r\n\r\n{body}");
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    let line = head[0].trim_end_matches(" HTTP/1.1").to_owned();
    (line, header("if-match:"), serde_json::from_slice(&sent).unwrap_or(Value::Null))
}
