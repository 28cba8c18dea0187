//! A netlink socket that waits for its answers.

use std::{io, os::fd::OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        send, socket_with,
    },
};

/// How often the agent asks again for a list.
const ATTEMPTS: u32 = 50;
/// A size above the largest datagram that the kernel sends.
const BUFFER: usize = 65_536;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetlinkError {
    #[error(transparent)]
    Socket(#[from] Errno),
    /// The kernel answered with an error.
    #[error("{0}")]
    Refused(Errno),
    #[error("what it lists changed during each of {ATTEMPTS} attempts")]
    Changing,
    #[error("source and destination are of two families")]
    Families,
    #[error("the answer can't be read")]
    Unreadable,
}

/// A netlink socket.
pub(super) struct NetlinkSocket {
    socket: OwnedFd,
    /// The number of the last question. The answers to a question carry the question's number.
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens a socket of a protocol that listens to groups of messages. Without a protocol, the socket is of
    /// NETLINK_ROUTE.
    pub(super) fn open(protocol: Option<Protocol>, groups: u32) -> Result<Self, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks a question that one message answers.
    pub(super) fn ask<T>(&mut self, question: T) -> Result<T, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        match self.exchange(question, 0)?.pop().map(|message| message.payload) {
            Some(NetlinkPayload::InnerMessage(answer)) => Ok(answer),
            Some(NetlinkPayload::Error(error)) => Err(refused(&error)),
            _ => Err(NetlinkError::Unreadable),
        }
    }

    /// Asks for a list, until nothing has changed while the kernel made the list. If an interface were missing in the
    /// list, the agent would take the program off that interface.
    pub(super) fn dump<T>(&mut self, question: &T) -> Result<Vec<T>, NetlinkError>
    where
        T: Clone + NetlinkSerializable + NetlinkDeserializable,
    {
        for _ in 0..ATTEMPTS {
            if let Some(list) = complete(self.exchange(question.clone(), NLM_F_DUMP)?)? {
                return Ok(list);
            }
        }
        Err(NetlinkError::Changing)
    }

    /// Sends a question. Returns all messages that answer it, up to the one that ends the answer.
    fn exchange<T>(&mut self, question: T, flags: u16) -> Result<Vec<NetlinkMessage<T>>, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(question));
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; BUFFER]);
        loop {
            let (_, length) = retry_on_intr(|| recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC))?;
            let mut rest = buffer.get(..length).ok_or(NetlinkError::Unreadable)?;
            while !rest.is_empty() {
                let message;
                (message, rest) = split(rest)?;
                if message.sequence_number() == self.sequence && collect(message, &mut answer)? {
                    return Ok(answer);
                }
            }
        }
    }

    /// Takes a datagram from the socket without reading it. Returns whether there was a datagram. Lost datagrams don't
    /// matter.
    pub(super) fn skip(&self, flags: RecvFlags) -> io::Result<bool> {
        match recv(&self.socket, &mut [0; 16], flags | RecvFlags::TRUNC) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Splits the first message off a datagram.
fn split(bytes: &[u8]) -> Result<(NetlinkBuffer<&[u8]>, &[u8]), NetlinkError> {
    let message = NetlinkBuffer::new_checked(bytes).map_err(|_| NetlinkError::Unreadable)?;
    let length = message.length() as usize;
    let (own, _) = bytes.split_at_checked(length).ok_or(NetlinkError::Unreadable)?;
    Ok((NetlinkBuffer::new(own), bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Adds a message to an answer. Returns whether the message ends the answer.
fn collect<T>(message: NetlinkBuffer<&[u8]>, answer: &mut Vec<NetlinkMessage<T>>) -> Result<bool, NetlinkError>
where
    T: NetlinkSerializable + NetlinkDeserializable,
{
    let is_only = message.flags() & NLM_F_MULTIPART == 0;
    match NetlinkMessage::deserialize(message.into_inner()) {
        Ok(message) => {
            let ends = !matches!(message.payload, NetlinkPayload::InnerMessage(_) | NetlinkPayload::Noop);
            answer.push(message);
            Ok(is_only || ends)
        }
        // The other messages of a list are of use without this one.
        Err(error) if !is_only => {
            tracing::debug!(%error, "a message from netlink can't be read");
            Ok(false)
        }
        Err(_) => Err(NetlinkError::Unreadable),
    }
}

/// The list, if nothing changed while the kernel made it. A kernel that has interfaces in hash buckets may leave out an
/// interface when another one goes, and says so by `NLM_F_DUMP_INTR` (linux/netlink.h).
fn complete<T>(answer: Vec<NetlinkMessage<T>>) -> Result<Option<Vec<T>>, NetlinkError> {
    let mut list = Vec::new();
    for message in answer {
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            return Ok(None);
        }
        match message.payload {
            NetlinkPayload::InnerMessage(message) => list.push(message),
            NetlinkPayload::Done(_) => return Ok(Some(list)),
            NetlinkPayload::Error(error) => return Err(refused(&error)),
            NetlinkPayload::Overrun(_) => return Ok(None),
            _ => {}
        }
    }
    Err(NetlinkError::Unreadable)
}

fn refused(error: &netlink_packet_core::ErrorMessage) -> NetlinkError {
    NetlinkError::Refused(Errno::from_raw_os_error(error.raw_code().saturating_neg()))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, ErrorMessage, NLM_F_MULTIPART};
    use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};

    use super::*;

    type Message = NetlinkMessage<RouteNetlinkMessage>;

    fn link(index: u32) -> Message {
        let mut link = LinkMessage::default();
        link.header.index = index;
        NetlinkMessage::from(RouteNetlinkMessage::NewLink(link))
    }

    fn done() -> Message {
        let mut done = link(0);
        done.payload = NetlinkPayload::Done(DoneMessage::default());
        done
    }

    fn interrupted(mut message: Message) -> Message {
        message.header.flags |= NLM_F_DUMP_INTR | NLM_F_MULTIPART;
        message
    }

    /// The messages as the kernel sends them in one datagram.
    fn datagram(messages: Vec<Message>) -> Vec<u8> {
        let bytes = messages.into_iter().flat_map(|mut message| {
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            bytes
        });
        bytes.collect()
    }

    #[test]
    fn a_list_is_complete_only_with_its_end_and_without_an_interruption() {
        let count = |answer| complete(answer).map(|list| list.map(|list| list.len()));
        assert_eq!(count(vec![link(1), link(2), done()]).unwrap(), Some(2));
        assert_eq!(count(vec![done()]).unwrap(), Some(0));
        for answer in [vec![interrupted(link(1)), link(2), done()], vec![link(1), interrupted(done())]] {
            assert_eq!(count(answer).unwrap(), None);
        }
        assert!(matches!(count(vec![link(1), link(2)]), Err(NetlinkError::Unreadable)));
    }

    #[test]
    fn what_the_kernel_refuses_is_told() {
        let mut refusal = link(0);
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZero::new(-libc::EPERM);
        refusal.payload = NetlinkPayload::Error(error);
        let error = complete(vec![refusal]).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused(Errno::PERM)), "{error:?}");
        assert_eq!(error.to_string(), "Operation not permitted (os error 1)");
    }

    #[test]
    fn a_datagram_is_split_into_its_messages_and_a_broken_one_is_an_error() {
        let bytes = datagram(vec![link(1), link(2)]);
        let (first, rest) = split(&bytes).unwrap();
        let (second, end) = split(rest).unwrap();
        assert_eq!((first.length() + second.length(), end), (bytes.len() as u32, &[][..]));
        for length in 1..bytes.len() / 2 {
            assert!(matches!(split(&bytes[..length]), Err(NetlinkError::Unreadable)), "{length}");
        }
    }

    #[test]
    fn a_list_lacks_what_can_not_be_read_and_no_answer_is_awaited_that_can_not() {
        let mut broken = interrupted(link(1));
        broken.header.flags = NLM_F_MULTIPART;
        let mut bytes = datagram(vec![broken]);
        // The message is too short for its own head.
        bytes.truncate(20);
        bytes[0] = 20;
        let mut answer: Vec<Message> = Vec::new();
        assert!(!collect(NetlinkBuffer::new(&bytes[..]), &mut answer).unwrap());
        bytes[6] = 0;
        assert!(matches!(collect(NetlinkBuffer::new(&bytes[..]), &mut answer), Err(NetlinkError::Unreadable)));
        assert!(answer.is_empty());
    }
}
