//! HTTP over the agent's Unix socket, for tests that look at the API itself.

use std::path::Path;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

use crate::PATIENCE;

/// An HTTP answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type; empty when none was given.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body read as JSON.
    ///
    /// # Errors
    /// The body isn't JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("the answer (status {}) is no JSON, but '{}'", self.status, self.body))
    }
}

/// Sends one request on a connection of its own, from this process: the peer is root.
pub(crate) fn call(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> Result<Response> {
    let method = Method::from_bytes(method.as_bytes()).with_context(|| format!("'{method}' is no HTTP method"))?;
    let mut request = Request::builder().method(method.clone()).uri(path).header(HOST, "localhost");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).context("cannot make the request")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { timeout(PATIENCE, exchange(socket, request)).await })
        .with_context(|| format!("no answer to {method} {path} within {PATIENCE:?}"))?
        .with_context(|| format!("{method} {path} on {} failed", socket.display()))
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> Result<Response> {
    let stream = UnixStream::connect(socket).await.context("cannot connect: does the agent run?")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).context("the body is no UTF-8")?;
    driver.abort();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Response { status: head.status.as_u16(), content_type: content_type.to_owned(), body })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    #[test]
    fn a_call_sends_the_request_and_reads_the_answer() {
        let path = std::env::temp_dir().join(format!("jit-tests-api-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let head = "HTTP/1.1 422 Unprocessable\r\nContent-Type: application/problem+json\r\nContent-Length: 12";
            write!(stream, "{head}\r\n\r\n{{\"code\":\"x\"}}").unwrap();
            String::from_utf8(request).unwrap()
        });
        let answer = call(&path, "POST", "/v1/requests", &[("idempotency-key", "k")], Some("{\"a\":1}".to_owned()));
        fs::remove_file(&path).unwrap();
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (422, "application/problem+json"));
        assert_eq!(answer.json().unwrap()["code"], "x");
        let request = server.join().unwrap().to_lowercase();
        assert!(request.starts_with("post /v1/requests http/1.1\r\n"), "{request}");
        for header in ["host: localhost", "content-type: application/json", "idempotency-key: k"] {
            assert!(request.contains(header), "{header} in {request}");
        }
    }

    #[test]
    fn a_missing_socket_is_named() {
        let error = call(Path::new("/nonexistent/socket"), "GET", "/v1/status", &[], None).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("GET /v1/status on /nonexistent/socket failed: cannot connect"), "{text}");
    }
}
