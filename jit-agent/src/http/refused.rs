//! Problem bodies for requests that hyper refuses by itself.
//!
//! A request head that is not HTTP, or too long, never reaches the routes: hyper answers with a bare status and closes
//! the connection. This wrapper around the connection gives that answer the same body as every other error.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use jit_api::problem::{Code, Problem};
use tokio::time::{Sleep, sleep};

/// The time for which a client may take no bytes of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that turns bare refusals into problems, and ends if the client stops reading.
#[derive(Debug)]
pub(super) struct Refused<T> {
    io: T,
    /// The rest of the problem that is written in place of a bare refusal.
    problem: Vec<u8>,
    /// The timer that runs while the client takes no bytes. When the timer ends, the connection fails.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Refused<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, problem: Vec::new(), stalled: None }
    }
}

impl<T> Refused<T> {
    /// Fails a write if the client has taken no bytes for [`STALL_TIMEOUT`]. A client that does not read holds a
    /// connection, and perhaps a permit for the audit log.
    fn fail_if_stalled(
        &mut self,
        context: &mut Context<'_>,
        tried: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if tried.is_ready() {
            self.stalled = None;
            return tried;
        }
        let end = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The problem for an answer that hyper made by itself. The routes never answer with these statuses and an empty body.
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
                None => {
                    let written = Pin::new(&mut self.io).poll_write(context, bytes);
                    return self.fail_if_stalled(context, written);
                }
                Some(problem) => self.problem = problem.into_http(),
            }
        }
        while !self.problem.is_empty() {
            let Self { io, problem, stalled: _ } = &mut *self;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::{
        io::AsyncReadExt as _,
        time::{Instant, advance},
    };

    use super::*;

    async fn write(connection: &mut Refused<TokioIo<tokio::io::DuplexStream>>) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *connection).poll_write(context, b"0123456789")).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_a_minute_is_given_up_and_one_that_is_slow_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut connection = Refused::new(TokioIo::new(ours));
        for _ in 0..3 {
            assert_eq!(write(&mut connection).await.unwrap(), 10);
            let mut taken = [0; 10];
            let (written, read) = tokio::join!(write(&mut connection), async {
                advance(STALL_TIMEOUT / 2).await;
                theirs.read_exact(&mut taken).await
            });
            assert_eq!((written.unwrap(), read.unwrap()), (10, 10));
            theirs.read_exact(&mut taken).await.unwrap();
        }
        write(&mut connection).await.unwrap();
        let start = Instant::now();
        assert_eq!(write(&mut connection).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= STALL_TIMEOUT && start.elapsed() < STALL_TIMEOUT * 2);
    }
}
