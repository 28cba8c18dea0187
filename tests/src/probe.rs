//! Observations from a namespace: whether a connection, a datagram or a page gets through.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect,
        netdevice::name_to_index,
        socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use crate::{Namespace, sys};

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A service answered.
    Open,
    /// The host answered that there is no service: its stack saw the packet.
    Refused,
    /// No answer came within the time. A single drop looks the same as a missing route back.
    Silent,
}

/// Tries a TCP connection from the address `from` of `namespace` to `to` (`ADDRESS:PORT`).
///
/// # Errors
/// An address is wrong, `from` isn't the namespace's, or there is no route.
pub fn tcp_connects(namespace: &Namespace, from: &str, to: &str, within: Duration) -> Result<Reach> {
    match namespace.enter(|| tcp_open(from, to, within))?? {
        Ok(_) => Ok(Reach::Open),
        Err(Errno::CONNREFUSED) => Ok(Reach::Refused),
        // With a send timeout, connect(2) ends with EINPROGRESS.
        Err(Errno::INPROGRESS | Errno::TIMEDOUT) => Ok(Reach::Silent),
        Err(error) => Err(error).with_context(|| format!("cannot connect from {from} to {to}")),
    }
}

/// Sends a datagram from `from` to the echo service at `to` (`ADDRESS:PORT`) and waits for its return.
///
/// # Errors
/// An address is wrong, `from` isn't the namespace's, or something else came back.
pub fn udp_echoes(namespace: &Namespace, from: &str, to: &str, within: Duration) -> Result<Reach> {
    const DATAGRAM: &[u8] = b"is anybody there?";
    let from: IpAddr = from.parse().with_context(|| format!("'{from}' is no IP address"))?;
    let socket = namespace.enter(|| UdpSocket::bind((from, 0)))?.with_context(|| format!("cannot bind {from}"))?;
    let mut answer = [0; 64];
    let mut exchange = || -> io::Result<usize> {
        socket.set_read_timeout(Some(within))?;
        socket.connect(to)?;
        socket.send(DATAGRAM)?;
        socket.recv(&mut answer)
    };
    match exchange() {
        Ok(length) if &answer[..length] == DATAGRAM => Ok(Reach::Open),
        Ok(length) => bail!("{to} answered with {length} bytes that are no echo"),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Reach::Refused),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(Reach::Silent),
            _ => Err(error).with_context(|| format!("cannot exchange datagrams between {from} and {to}")),
        },
    }
}

/// Fetches `/` over HTTP from `to` (`ADDRESS:PORT`) and returns the body; `None` when nothing answers in time.
///
/// # Errors
/// An address is wrong, there is no route, or the answer isn't HTTP with status 200.
pub fn http_get(namespace: &Namespace, from: &str, to: &str, within: Duration) -> Result<Option<String>> {
    let mut stream = match namespace.enter(|| tcp_open(from, to, within))?? {
        Ok(stream) => stream,
        Err(Errno::INPROGRESS | Errno::TIMEDOUT | Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot connect from {from} to {to}")),
    };
    stream.set_read_timeout(Some(within))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{to} accepted a connection but sent no page"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(Some(body.to_owned())),
        _ => bail!("{to} answered '{answer}' to a GET request"),
    }
}

/// Tries a TCP connection. The outer error is a wrong address, the inner error is the connection's.
pub(crate) fn tcp_open(from: &str, to: &str, within: Duration) -> Result<Result<TcpStream, Errno>> {
    let source: IpAddr = from.parse().with_context(|| format!("'{from}' is no IP address"))?;
    let target: SocketAddr = to.parse().with_context(|| format!("'{to}' is no ADDRESS:PORT"))?;
    let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(source, 0)).with_context(|| format!("cannot bind {source}: is it the client's?"))?;
    set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    Ok(connect(&socket, &target).map(|()| TcpStream::from(socket)))
}

/// Sends raw frames on a network device.
pub struct FrameSender {
    socket: File,
}

impl FrameSender {
    /// Opens the network device `device` of `namespace`.
    ///
    /// # Errors
    /// There is no such device.
    pub fn new(namespace: &Namespace, device: &str) -> Result<Self> {
        let open = || -> io::Result<File> {
            let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            sys::packet_socket(name_to_index(&any, device)?)
        };
        let socket = namespace.enter(open)?.with_context(|| format!("cannot open the device '{device}' for frames"))?;
        Ok(Self { socket })
    }

    /// Sends one frame, link header included.
    ///
    /// # Errors
    /// The device is down, or the frame is longer than the device's MTU allows.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.socket.write_all(frame).with_context(|| format!("cannot send a frame of {} bytes", frame.len()))
    }
}
