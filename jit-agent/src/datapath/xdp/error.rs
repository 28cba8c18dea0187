//! Why an interface is not covered, or not in the best way.

use std::{fmt, io};

use aya::{
    pin,
    programs::{ProgramError, links::LinkError, tc::TcError},
};

use super::{netlink::XdpProgram, socket::NetlinkError};
use crate::datapath::error::{KernelError, PinError, with_causes};

/// What is wrong with an interface that is to be covered, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum InterfaceFault {
    #[error("it appeared just now and is about to be covered")]
    New,
    #[error(
        "the pins were removed, as `jit-agent unload` does, and the program is no longer attached; `jit-agent enable` \
         loads it again"
    )]
    Unloaded,
    #[error(transparent)]
    Unselected(#[from] Unmatched),
    #[error(transparent)]
    LinkType(#[from] UnknownLinkType),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error("{0} sees packets first, again and again; restart jit-agent to overtake it")]
    OvertakenAgain(Rival),
}

/// An entry of `interfaces` stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmatched {
    #[error("there is no such interface; it is covered when it appears, else correct `interfaces`")]
    Name,
    #[error(
        "this stands for no interface now, so nothing is covered; interfaces are covered when they appear, else \
         correct `interfaces`"
    )]
    Pattern,
}

/// The program can't read packets of this ARPHRD_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program can't read packets of link type {0}, but only Ethernet and plain IP")]
pub(super) struct UnknownLinkType(pub(super) u16);

/// The kernel does not tell which programs are on an interface.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    #[error("netlink does not answer")]
    Netlink(#[source] NetlinkError),
    #[error("the TCX programs can't be listed")]
    Tcx(#[source] io::Error),
}

/// Why the program can't be attached, or detached.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    #[error("{}", joined(.0))]
    Refused(Vec<Obstacle>),
    #[error("the interface is gone")]
    InterfaceGone,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Load(#[from] KernelError),
    #[error("the program's id is unknown")]
    ProgramId(#[source] ProgramError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the kernel has no BPF links for XDP; Linux 5.9 or later is needed")]
    NoXdpLinks,
    #[error("no clsact")]
    Clsact(#[source] TcError),
    #[error("the link can't be pinned")]
    Pin(#[source] pin::PinError),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error("the kernel does not list the program")]
    NotListed,
    #[error("the kernel does not list the {0} first")]
    NotListedFirst(&'static str),
}

/// Why the program is not attached in a better way.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("{0} is left in place")]
    Rival(Rival),
    #[error("packets have no Ethernet header")]
    NoEthernetHeader,
    #[error("no {way}")]
    Refused {
        way: &'static str,
        #[source]
        source: AttachError,
    },
    #[error("a predecessor attached it so")]
    Adopted,
}

/// The texts of obstacles, for people.
pub(super) fn joined(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(|obstacle| with_causes(obstacle)).collect::<Vec<_>>().join("; ")
}

/// Why the program is not the first that sees packets of an interface.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFirst {
    #[error("somebody took the program off; it is attached again within seconds")]
    Detached,
    #[error("{0} is in its place")]
    Replaced(Rival),
    #[error("{0} sees packets first")]
    Overtaken(Rival),
    #[error(transparent)]
    Unknown(#[from] QueryError),
}

/// What somebody else put on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rival {
    Xdp(XdpProgram),
    /// The id of a TCX program.
    Tcx(u32),
    /// A filter; its name is empty if it is not a BPF program.
    Filter {
        priority: u16,
        name: String,
    },
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xdp(XdpProgram { id, mode }) => write!(f, "XDP program {id} ({mode}) of somebody else"),
            Self::Tcx(id) => write!(f, "TCX program {id} of somebody else"),
            Self::Filter { priority, name } => {
                let name = if name.is_empty() { "no BPF" } else { name };
                write!(f, "a filter of somebody else (priority {priority}, {name})")
            }
        }
    }
}
