//! One request to the agent and its answer, over the Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH},
};
use hyper_util::rt::TokioIo;
use jit_policy::Span;
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use crate::{
    events::EventReader,
    problem::Problem,
    wire::{SESSION_HEADER, Session},
};

/// Time for connecting, sending and the whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;
/// Pause before connecting again while the agent's queue of connections is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket.
    #[error("no agent at {path}: there is no such socket; is jit-agent running? see `systemctl status jit-agent`, or name its socket with --socket", path = .0.display())]
    NoSocket(PathBuf),
    /// A socket that nobody serves.
    #[error("no agent at {path}: nobody listens there; is jit-agent running? see `systemctl status jit-agent`", path = .0.display())]
    NobodyListens(PathBuf),
    /// The file system forbids it.
    #[error("you may not connect to {path}: permission denied; check the modes of the socket (0666) and its directories (0755)", path = .0.display())]
    MayNotConnect(PathBuf),
    /// Another error of connecting.
    #[error("can't connect to {path}: {source}; name the agent's socket with --socket", path = .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing came in time.
    #[error("no answer from the agent at {path} within {after}; it may still do what was asked: see `jitctl grants`", path = .path.display(), after = Span(*.after))]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke, or the other side does not speak HTTP.
    #[error("the connection to {path} broke: {source}; is this the socket of jit-agent? see `systemctl status jit-agent`", path = .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More than the client reads.
    #[error("the agent's answer is larger than {limit} bytes; ask for less, or use another client")]
    TooLarge {
        /// Most bytes that are read.
        limit: usize,
    },
    /// Not what the API promises.
    #[error("the agent's answer (HTTP {status}) is not understood: {reason}; are jitctl and jit-agent of one version?")]
    NotUnderstood {
        /// HTTP status of the answer.
        status: u16,
        /// Why.
        reason: String,
    },
    /// A stream ended.
    #[error("the agent at {path} stopped; see `systemctl status jit-agent`", path = .0.display())]
    Stopped(PathBuf),
    /// No event loop.
    #[error("can't start: {0}; the process may have too few file descriptors")]
    Runtime(io::Error),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON.
    pub body: Option<Vec<u8>>,
    /// The version that must still be the present one, as an answer named it.
    pub if_match: Option<String>,
    /// The session of whoever asks, which a change must not cut off for good.
    pub session: Option<Session>,
}

impl Call {
    /// A request without a body or a condition.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, if_match: None, session: None }
    }
}

/// What the agent answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The JSON it promises for this request.
    Done(Bytes),
    /// A problem.
    Problem(Box<Problem>),
}

/// Why a stream of events ended.
#[derive(Debug)]
pub enum FollowError {
    /// The agent refuses it.
    Problem(Box<Problem>),
    /// There is none, or not any more.
    Unanswered(ClientError),
}

impl From<ClientError> for FollowError {
    fn from(error: ClientError) -> Self {
        Self::Unanswered(error)
    }
}

/// Where the agent is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the agent that listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), timeout: TIMEOUT }
    }

    /// As [`send`](Self::send), without conditions and for the answer alone.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, ClientError> {
        Ok(self.send(&Call { body, ..Call::new(method, path) })?.0)
    }

    /// Sends one request, and waits for its answer for 10 s at most. Returns it with the version of what was asked
    /// about, where the answer names one.
    ///
    /// # Errors
    /// See [`ClientError`]. A problem is an answer, not an error.
    pub fn send(&self, call: &Call) -> Result<(Answer, Option<String>), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            let exchange = self.exchange(call);
            timeout(self.timeout, exchange)
                .await
                .map_err(|_| ClientError::NoAnswer { path: self.socket.clone(), after: self.timeout })?
        })
    }

    /// Reads a stream of server-sent events, and hands each one's name and data over until `take` has enough of them. The
    /// first is `open` without data, once the stream is there.
    ///
    /// # Errors
    /// No answer in time, a problem in place of the stream, or its end.
    pub fn follow(&self, path: &str, take: impl FnMut(&str, &str) -> bool) -> Result<(), FollowError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            // From the very start: whoever interrupts has seen enough, however little that was.
            let mut interrupt = signal(SignalKind::interrupt()).map_err(ClientError::Runtime)?;
            tokio::select! {
                ended = self.stream(path, take) => ended,
                _ = interrupt.recv() => Ok(()),
            }
        })
    }

    /// The same client with another time for the whole answer.
    #[must_use]
    pub fn waiting(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Reads an answer of any length, and hands its bytes over as they come until `take` has enough of them.
    ///
    /// # Errors
    /// Nothing in time, a problem in place of the answer, or an end before it is whole.
    pub fn download(&self, path: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), FollowError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            let late = || ClientError::NoAnswer { path: self.socket.clone(), after: self.timeout };
            let call = Call::new(Method::GET, path);
            let response = self.response(&call);
            let response = timeout(self.timeout, response).await.map_err(|_| late())??;
            if response.status() != StatusCode::OK {
                return match understand(response.status(), self.body(response).await?)? {
                    Answer::Problem(problem) => Err(FollowError::Problem(problem)),
                    Answer::Done(_) => Ok(()),
                };
            }
            let mut body = response.into_body();
            while let Some(frame) = timeout(self.timeout, body.frame()).await.map_err(|_| late())? {
                let frame = frame.map_err(|error| self.broken(error))?;
                if !frame.data_ref().is_none_or(|bytes| take(bytes)) {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn stream(&self, path: &str, take: impl FnMut(&str, &str) -> bool) -> Result<(), FollowError> {
        let response = timeout(self.timeout, self.response(&Call::new(Method::GET, path)))
            .await
            .map_err(|_| ClientError::NoAnswer { path: self.socket.clone(), after: self.timeout })??;
        if response.status() == StatusCode::OK {
            return self.read_events(response.into_body(), take).await.map_err(FollowError::from);
        }
        match understand(response.status(), self.body(response).await?)? {
            Answer::Problem(problem) => Err(FollowError::Problem(problem)),
            Answer::Done(_) => Ok(()),
        }
    }

    async fn read_events(
        &self,
        mut body: Incoming,
        mut take: impl FnMut(&str, &str) -> bool,
    ) -> Result<(), ClientError> {
        if !take("open", "") {
            return Ok(());
        }
        let mut events = EventReader::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error))?;
            for (name, data) in frame.data_ref().map(|bytes| events.read(bytes)).unwrap_or_default() {
                if !take(&name, &data) {
                    return Ok(());
                }
            }
        }
        Err(ClientError::Stopped(self.socket.clone()))
    }

    async fn exchange(&self, call: &Call) -> Result<(Answer, Option<String>), ClientError> {
        let response = self.response(call).await?;
        let version = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok((understand(response.status(), self.body(response).await?)?, version))
    }

    async fn response(&self, call: &Call) -> Result<Response<Incoming>, ClientError> {
        let Call { method, path, body, if_match, session } = call;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // Ends with the runtime; what goes wrong there reaches the request as well.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path.as_str()).header(HOST, "localhost");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(version) = if_match {
            request = request.header(IF_MATCH, version);
        }
        if let Some(Session { source, port }) = session {
            request = request.header(SESSION_HEADER, format!("{source} {port}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.clone().unwrap_or_default())))
            .map_err(|error| self.broken(error))?;
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ClientError::TooLarge { limit: ANSWER_LIMIT }
            } else {
                ClientError::Broken { path: self.socket.clone(), source: error }
            }
        })?;
        Ok(body.to_bytes())
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        loop {
            let error = match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let path = self.socket.clone();
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

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source: error.into() }
    }
}

fn understand(status: StatusCode, body: Bytes) -> Result<Answer, ClientError> {
    if status.is_success() {
        return Ok(Answer::Done(body));
    }
    match serde_json::from_slice(&body) {
        Ok(problem) => Ok(Answer::Problem(Box::new(problem))),
        Err(error) => Err(ClientError::NotUnderstood { status: status.as_u16(), reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    /// What the client makes of a server that says `answer` to everything; `None`: nothing, for a while.
    fn told(answer: Option<String>) -> Result<Answer, ClientError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                None => thread::sleep(Duration::from_secs(5)),
            }
        });
        let client = Client { socket: path, timeout: Duration::from_millis(300) };
        client.call(Method::GET, "/v1/status", None)
    }

    #[test]
    fn an_agent_that_does_not_answer_in_time_is_given_up() {
        let error = told(None).unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer { .. }), "{error:?}");
        assert!(error.to_string().contains("it may still do what was asked"), "{error}");
    }

    #[test]
    fn what_is_not_the_agent_is_told_apart() {
        for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"] {
            let error = told(Some(answer.to_owned())).unwrap_err();
            assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
        }
        let error = told(Some("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops".to_owned())).unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood { status: 502, .. }), "{error:?}");
    }

    #[test]
    fn a_problem_with_a_code_from_the_future_is_still_a_problem() {
        let body = r#"{"type":"about:blank","title":"","status":409,"detail":"no","code":"new_code","new":[{}]}"#;
        let answer = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        match told(Some(answer)) {
            Ok(Answer::Problem(problem)) => assert_eq!(problem.detail, "no"),
            other => panic!("{other:?}"),
        }
    }
}
