//! One request to the agent and its answer.

#[cfg(not(unix))]
mod elsewhere;
mod error;
#[cfg(unix)]
mod unix;

use std::{
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
use tokio::{
    io::{AsyncRead, AsyncWrite},
    signal::ctrl_c,
    time::timeout,
};

#[cfg(not(unix))]
use self::elsewhere::connect;
pub use self::error::{ClientError, FollowError};
#[cfg(unix)]
use self::unix::connect;
use crate::{
    events::EventReader,
    problem::Problem,
    wire::{SESSION_HEADER, Session},
};

/// The time limit for connecting, sending and the whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that the client reads, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// One request to the agent.
#[derive(Clone, Debug)]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The body as JSON.
    pub body: Option<Vec<u8>>,
    /// The version that must still be the present version, as an answer named it.
    pub if_match: Option<String>,
    /// The session of the person who asks, which a change must not cut off for good.
    pub session: Option<Session>,
}

impl Call {
    /// A request without a body or a condition.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, if_match: None, session: None }
    }
}

/// The agent's answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The JSON that the API promises for this request.
    Done(Bytes),
    /// A problem.
    Problem(Box<Problem>),
}

/// The place of the agent, and how long to wait for an answer.
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

    /// Sends a request without conditions, like [`send`](Self::send), and returns the answer alone.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, ClientError> {
        Ok(self.send(&Call { body, ..Call::new(method, path) })?.0)
    }

    /// Sends one request, and waits for the answer for 10 s at most. Returns the answer with the version of what the
    /// request was about, if the answer names a version.
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

    /// Reads a stream of server-sent events, and hands the name and data of each event to `take` until `take` has
    /// enough. The first event is `open` without data, once the stream is there.
    ///
    /// # Errors
    /// No answer comes in time, a problem comes in place of the stream, or the stream ends.
    pub fn follow(&self, path: &str, take: impl FnMut(&str, &str) -> bool) -> Result<(), FollowError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            tokio::select! {
                // This order awaits the interrupt from the very start: whoever interrupts has seen enough, however
                // little that was.
                biased;
                interrupted = ctrl_c() => Ok(interrupted.map_err(ClientError::Runtime)?),
                ended = self.stream(path, take) => ended,
            }
        })
    }

    /// The same client with another time for the whole answer.
    #[must_use]
    pub fn waiting(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Reads an answer of any length, and hands the bytes to `take` as they come, until `take` has enough.
    ///
    /// # Errors
    /// No answer comes in time, a problem comes in place of the answer, or the answer ends early.
    pub fn download(&self, path: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), FollowError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            let late = || ClientError::NoAnswer { path: self.socket.clone(), after: self.timeout };
            let call = Call::new(Method::GET, path);
            let response = self.response(&call);
            let response = timeout(self.timeout, response).await.map_err(|_| late())??;
            if response.status() != StatusCode::OK {
                return match decode(response.status(), self.body(response).await?)? {
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
        match decode(response.status(), self.body(response).await?)? {
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
        Ok((decode(response.status(), self.body(response).await?)?, version))
    }

    async fn response(&self, call: &Call) -> Result<Response<Incoming>, ClientError> {
        let stream = connect(&self.socket).await?;
        respond(stream, call).await.map_err(|error| self.broken(error))
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

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source: error.into() }
    }
}

/// Sends one request over a stream of bytes, whatever carries the stream, and returns the answer's beginning.
async fn respond(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    call: &Call,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let Call { method, path, body, if_match, session } = call;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the runtime; an error of the connection reaches the request as well.
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
    let request = request.body(Full::new(Bytes::from(body.clone().unwrap_or_default())))?;
    Ok(sender.send_request(request).await?)
}

fn decode(status: StatusCode, body: Bytes) -> Result<Answer, ClientError> {
    if status.is_success() {
        return Ok(Answer::Done(body));
    }
    match serde_json::from_slice(&body) {
        Ok(problem) => Ok(Answer::Problem(Box::new(problem))),
        Err(error) => Err(ClientError::NotUnderstood { status: status.as_u16(), reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests;
