//! The peers that are connected to the socket now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::peer::Peer;

/// The list of connected peers, which the server and the [`CoreHandle`](super::CoreHandle) share.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    peers: BTreeMap<u64, Peer>,
    next: u64,
}

/// Keeps a peer in the list until this value is dropped.
#[derive(Debug)]
pub struct Present {
    list: Presence,
    place: u64,
}

impl Presence {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a peer, once for each connection of the peer.
    #[must_use]
    pub fn enter(&self, peer: Peer) -> Present {
        let mut list = self.list();
        let place = list.next;
        list.next += 1;
        list.peers.insert(place, peer);
        Present { list: self.clone(), place }
    }

    /// All peers in the list.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.list().peers.values().cloned().collect()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.list.list().peers.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_present_for_as_long_as_its_connection() {
        let peer = |uid| Peer { uid, groups: vec![], name: uid.to_string(), login: None, login_unknown: None };
        let list = Presence::default();
        let first = list.enter(peer(1));
        let second = list.enter(peer(2));
        assert_eq!(list.peers(), [peer(1), peer(2)]);
        drop(first);
        assert_eq!(list.peers(), [peer(2)]);
        drop(second);
        assert_eq!(list.peers(), []);
    }
}
