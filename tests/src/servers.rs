//! Small services on threads of their own, in a namespace: the peers of the probes.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use rustix::net;

use crate::Namespace;

/// A TCP service. Dropping the value ends the service and its connections.
pub struct TcpServer {
    listener: Arc<TcpListener>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl TcpServer {
    /// Starts a service that returns every line. `at` is `ADDRESS:PORT`; `[::]` accepts IPv4 too.
    ///
    /// # Errors
    /// `at` can't be bound.
    pub fn echo(namespace: &Namespace, at: &str) -> Result<Self> {
        Self::serve(namespace, at, |mut stream| {
            let Ok(reader) = stream.try_clone() else { return };
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if writeln!(stream, "{line}").is_err() {
                    return;
                }
            }
        })
    }

    /// Starts a service that answers every HTTP request with `page`.
    ///
    /// # Errors
    /// `at` can't be bound.
    pub fn web(namespace: &Namespace, at: &str, page: &str) -> Result<Self> {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
        Self::serve(namespace, at, move |mut stream| {
            let Ok(reader) = stream.try_clone() else { return };
            let mut head = BufReader::new(reader).lines().map_while(Result::ok);
            if head.any(|line| line.is_empty()) {
                let _ = stream.write_all(answer.as_bytes());
            }
            // The clone that is kept for `drop` would keep the connection open.
            let _ = stream.shutdown(Shutdown::Both);
        })
    }

    /// Starts a service that runs `handler` for each connection, on a thread of its own.
    ///
    /// # Errors
    /// `at` can't be bound.
    pub fn serve(
        namespace: &Namespace,
        at: &str,
        handler: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind(at))?;
        let listener = Arc::new(listener.with_context(|| format!("cannot listen on {at} in '{}'", namespace.name()))?);
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (accepting, kept) = (Arc::clone(&listener), Arc::clone(&connections));
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if let Ok(clone) = stream.try_clone() {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(clone);
                }
                let handler = handler.clone();
                thread::spawn(move || handler(stream));
            }
        });
        Ok(Self { listener, connections })
    }

    /// The address of the service; useful with port 0.
    ///
    /// # Errors
    /// The kernel doesn't report the address.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("cannot read the listener's address")
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // Shutting a listening socket down wakes accept(2), which then fails.
        let _ = net::shutdown(&self.listener, net::Shutdown::Both);
        for stream in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A UDP service that returns every datagram. Dropping the value ends the service.
pub struct UdpServer {
    socket: Arc<UdpSocket>,
}

impl UdpServer {
    /// Starts the service at `at` (`ADDRESS:PORT`), which must name one address: from a wildcard, the kernel chooses
    /// the source of an answer, which may differ from the address to which the question was sent.
    ///
    /// # Errors
    /// `at` can't be bound.
    pub fn echo(namespace: &Namespace, at: &str) -> Result<Self> {
        let socket = namespace.enter(|| UdpSocket::bind(at))?;
        let socket = Arc::new(socket.with_context(|| format!("cannot bind {at} in '{}'", namespace.name()))?);
        let receiving = Arc::clone(&socket);
        thread::spawn(move || {
            let mut datagram = [0; 65_535];
            // A socket that was shut down reports a datagram of length 0 from nobody.
            while let Ok((length @ 1.., from)) = receiving.recv_from(&mut datagram) {
                let _ = receiving.send_to(&datagram[..length], from);
            }
        });
        Ok(Self { socket })
    }

    /// The address of the service; useful with port 0.
    ///
    /// # Errors
    /// The kernel doesn't report the address.
    pub fn address(&self) -> Result<SocketAddr> {
        self.socket.local_addr().context("cannot read the socket's address")
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        // The kernel reports ENOTCONN, but wakes recvfrom(2) all the same.
        let _ = net::shutdown(&self.socket, net::Shutdown::Both);
    }
}
