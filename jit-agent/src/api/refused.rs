//! Words for what hyper refuses by itself.
//!
//! A head that is no HTTP, or too long, never gets to the routes: hyper answers it with a bare status and closes. This
//! wrapper around the connection gives such an answer the body that every other error has.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::problem::{Code, Problem};

/// A connection on which bare refusals become problems.
#[derive(Debug)]
pub(super) struct Refused<T> {
    io: T,
    /// What is still to be written in place of a bare refusal.
    problem: Vec<u8>,
}

impl<T> Refused<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, problem: Vec::new() }
    }
}

/// The problem for an answer of hyper's own: the routes never answer with these statuses and an empty body.
fn problem_for(answer: &[u8]) -> Option<Problem> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let (code, detail) = match status {
        b"400" => (Code::MalformedHttp, "this is not an HTTP/1.1 request; use an HTTP client, for instance `jitctl`"),
        b"414" => (Code::UriTooLong, "the request's path is too long; no path of this API is"),
        b"431" => {
            (Code::HeadTooLarge, "the request's head has more than 64 KiB or 100 fields; send fewer or shorter ones")
        }
        _ => return None,
    };
    let empty = b"\r\ncontent-length: 0\r\n";
    answer.windows(empty.len()).any(|part| part == empty).then(|| Problem::new(code, detail))
}

impl<T: Write + Unpin> Write for Refused<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.problem.is_empty() {
            match problem_for(bytes) {
                None => return Pin::new(&mut self.io).poll_write(context, bytes),
                Some(problem) => self.problem = problem.into_http(),
            }
        }
        while !self.problem.is_empty() {
            let Self { io, problem } = &mut *self;
            let written = ready!(Pin::new(io).poll_write(context, problem))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            problem.drain(..written);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<T: Read + Unpin> Read for Refused<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}
