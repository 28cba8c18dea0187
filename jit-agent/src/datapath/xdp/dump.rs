//! Lists from netlink that are whole. One with something missing would make the agent take the program off an interface
//! that is there.

use std::io;

use futures_util::StreamExt as _;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

/// How often a list is asked for again.
const ATTEMPTS: u32 = 50;

/// All that the kernel lists. The connection has to forward the message that ends a list.
///
/// # Errors
/// The kernel refuses, the list ends too early, or it changed during every attempt.
pub(super) async fn dump(handle: &mut Handle, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    for _ in 0..ATTEMPTS {
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let answer = handle.request(message).map_err(io::Error::other)?.collect().await;
        if let Some(list) = whole(answer)? {
            return Ok(list);
        }
    }
    Err(io::Error::other(format!("what it lists changed during each of {ATTEMPTS} attempts")))
}

/// The list, if nothing changed while it was made: a kernel that has interfaces in hash buckets may leave out one that is
/// there when another one goes, and says so by `NLM_F_DUMP_INTR` (linux/netlink.h).
fn whole(answer: Vec<NetlinkMessage<RouteNetlinkMessage>>) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
    let mut list = Vec::new();
    for message in answer {
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            return Ok(None);
        }
        match message.payload {
            NetlinkPayload::InnerMessage(message) => list.push(message),
            NetlinkPayload::Done(_) => return Ok(Some(list)),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::Overrun(_) => return Ok(None),
            _ => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use rtnetlink::{
        packet_core::{DoneMessage, ErrorMessage, NLM_F_MULTIPART},
        packet_route::link::LinkMessage,
    };

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

    #[test]
    fn a_list_is_whole_only_with_its_end_and_without_an_interruption() {
        let count = |answer| whole(answer).map(|list| list.map(|list| list.len()));
        assert_eq!(count(vec![link(1), link(2), done()]).unwrap(), Some(2));
        assert_eq!(count(vec![done()]).unwrap(), Some(0));
        for answer in [vec![interrupted(link(1)), link(2), done()], vec![link(1), interrupted(done())]] {
            assert_eq!(count(answer).unwrap(), None);
        }
        assert_eq!(count(vec![link(1), link(2)]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_the_kernel_refuses_is_told() {
        let mut refusal = link(0);
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZero::new(-libc::EPERM);
        refusal.payload = NetlinkPayload::Error(error);
        assert_eq!(whole(vec![refusal]).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
