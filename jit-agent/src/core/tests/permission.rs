//! Tests that a user without a role learns nothing and changes nothing.

use jit_policy::{Protocol, Reload};

use super::{change::PortEdit, *};
use crate::config::own::Edit;

fn refused<T: std::fmt::Debug>(world: &mut World, ask: impl AsyncFnOnce(CoreHandle, Peer) -> Result<T, Refusal>) {
    let refusal = world.ask(async |core| ask(core, peer(1000, "mallory")).await).unwrap_err();
    assert!(matches!(refusal, Refusal::NotPermitted { uid: 1000, .. }), "{refusal}");
}

#[test]
fn a_peer_without_a_role_is_refused_every_command_and_changes_nothing() {
    let mut world = World::new();
    let known = world.submit(vec![port(22, &["192.0.2.7"], 1000)]).unwrap().id;
    let (entries, operations, events) = (world.entries(), world.kernel.operations(), world.events());
    refused(&mut world, async |core, peer| core.status(peer).await);
    refused(&mut world, async |core, peer| core.ports(peer).await);
    refused(&mut world, async |core, peer| core.requests(peer, LATEST).await);
    refused(&mut world, async |core, peer| core.grants(peer, ALL).await);
    let edit = Edit::Remove(PortId { number: 22, protocol: Protocol::Tcp });
    let edit = PortEdit { edit, version: String::new(), confirm: true, session: None };
    refused(&mut world, async |core, peer| core.change_port(peer, edit).await);
    refused(&mut world, async |core, peer| core.reload(Some(peer), Reload::default()).await);
    for id in [known, RequestId(99)] {
        refused(&mut world, async |core, peer| core.approve(peer, id, Ok(Vec::new())).await);
        refused(&mut world, async |core, peer| core.deny(peer, id, String::new()).await);
        refused(&mut world, async |core, peer| core.cancel(peer, id, String::new()).await);
        refused(&mut world, async |core, peer| core.request(peer, id).await);
    }
    for asked in [request(vec![port(22, &["192.0.2.8"], 60)]), request(vec![port(80, &["192.0.2.8"], 60)])] {
        let submission = Submission { request: asked, named: None, key: None };
        refused(&mut world, async |core, peer| core.submit(peer, submission).await);
    }
    for id in [GrantId(1), GrantId(99)] {
        refused(&mut world, async |core, peer| core.extend(peer, id, secs(60)).await);
    }
    for selection in [
        Selection::All,
        Selection::User("root".to_owned()),
        Selection::Ids(vec![GrantId(1)]),
        Selection::Ids(vec![GrantId(99)]),
    ] {
        refused(&mut world, async |core, peer| core.revoke(peer, selection, "mine".to_owned()).await);
    }
    assert_eq!((world.entries(), world.kernel.operations()), (entries, operations));
    assert_eq!(world.events()[events.len()..], ["denied"], "the first one; the others are counted");
    assert_eq!(world.live(), [1]);
}
