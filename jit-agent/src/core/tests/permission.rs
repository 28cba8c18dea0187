//! Tests that a user without a role learns nothing and changes nothing.

use jit_policy::{Protocol, Reload};
use tokio::sync::oneshot;

use super::{change::PortEdit, *};
use crate::config::edit::Edit;

fn refused<T: std::fmt::Debug>(core: &mut Core, command: impl FnOnce(Peer, handle::Reply<T>) -> Command) {
    let (reply, mut answer) = oneshot::channel();
    core.handle(command(peer(1000, "mallory"), reply));
    let refusal = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::NotPermitted { uid: 1000, .. }), "{refusal}");
}

#[test]
fn a_peer_without_a_role_is_refused_every_command_and_changes_nothing() {
    let mut world = World::new();
    let known = world.submit(vec![port(22, &["192.0.2.7"], 1000)]).unwrap().id;
    let (entries, operations, events) = (world.entries(), world.kernel.operations(), world.events());
    let core = world.core();
    refused(core, Command::Status);
    refused(core, Command::Ports);
    refused(core, |peer, reply| Command::Requests(peer, LATEST, reply));
    refused(core, |peer, reply| Command::Grants(peer, ALL, reply));
    let edit = Edit::Remove(PortId { number: 22, protocol: Protocol::Tcp });
    let edit = PortEdit { edit, version: String::new(), confirm: true, session: None };
    refused(core, |peer, reply| Command::ChangePort(peer, edit, reply));
    refused(core, |peer, reply| Command::Reload(Some(peer), Reload::default(), reply));
    for id in [known, RequestId(99)] {
        refused(core, |peer, reply| Command::Open(Opening::Approve(peer, id, reply)));
        refused(core, |peer, reply| Command::Deny(peer, id, String::new(), reply));
        refused(core, |peer, reply| Command::Cancel(peer, id, String::new(), reply));
        refused(core, |peer, reply| Command::Request(peer, id, reply));
    }
    for asked in [request(vec![port(22, &["192.0.2.8"], 60)]), request(vec![port(80, &["192.0.2.8"], 60)])] {
        let submission = Submission { request: asked, named: None, key: None };
        refused(core, |peer, reply| Command::Open(Opening::Submit(peer, submission, reply)));
    }
    for id in [GrantId(1), GrantId(99)] {
        refused(core, |peer, reply| Command::Open(Opening::Extend(peer, id, secs(60), reply)));
    }
    for selection in [
        Selection::All,
        Selection::User("root".to_owned()),
        Selection::Ids(vec![GrantId(1)]),
        Selection::Ids(vec![GrantId(99)]),
    ] {
        refused(core, |peer, reply| Command::Revoke(peer, selection, "mine".to_owned(), reply));
    }
    assert_eq!((world.entries(), world.kernel.operations()), (entries, operations));
    assert_eq!(world.events()[events.len()..], ["denied"], "the first one; the others are counted");
    assert_eq!(world.live(), [1]);
}
