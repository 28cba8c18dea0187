//! Tests of every event of the audit log, as the core writes it.

use std::sync::OnceLock;

use jit_policy::{
    EnableAsked, IdempotencyKey, PortPolicy, Protocol, Reload, Way,
    audit::{AuditEvent, Kind},
};

use super::{
    host::{Host, LENGTH, OPERATOR, SSH, asked, session},
    *,
};
use crate::{
    config::{
        files, mark,
        own::Edit,
        unloaded::{self, Remover},
    },
    datapath::InterfaceView,
    testing::machine::texts,
};

/// The rows that the agents of this file write, each with its event and its detail as stored. A run with
/// `JIT_UPDATE_GOLDEN=1` writes the file anew.
const WRITTEN: &str = include_str!("events.txt");

/// Makes root for a person who logged in as alice.
fn sudo() -> Peer {
    after_login(root(), ALICE, "alice")
}

fn deny(world: &mut World, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
    world.ask(async |core| core.deny(peer, id, "not today".to_owned()).await)
}

fn cancel(world: &mut World, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
    world.ask(async |core| core.cancel(peer, id, String::new()).await)
}

/// Returns all rows in order, each as its event and its detail. Checks that the rows are sound and that the index finds
/// them by all their terms.
fn rows(world: &World) -> Vec<String> {
    let sql = world.sql();
    let terms = |table: &str| texts(&sql, &format!("SELECT DISTINCT seq || ' ' || term FROM {table} ORDER BY 1"));
    let due = "(SELECT * FROM audit_terms_due UNION ALL SELECT * FROM audit_persons_due)";
    assert_eq!(terms("audit_terms"), terms(due));
    let reader = world.core.as_ref().unwrap().records.store().unwrap().audit_reader();
    assert_eq!(reader.verify(None).unwrap().fault, None);
    texts(&sql, "SELECT event || ' ' || detail FROM audit ORDER BY seq")
}

/// Returns the rows of requests, decisions, extensions, revocations and expiry.
fn of_requests() -> Vec<String> {
    let mut world = World::new();
    let until = Until::Time(wall(900));
    let asked = vec![
        RequestedPort { protocol: Some(Protocol::Udp), ..port(3389, &["192.0.2.1"], 300) },
        RequestedPort { until, ..port(22, &["2001:db8::/64"], 0) },
    ];
    world.submit_as(&after_login(alice(), BOB, "bob"), request(asked)).unwrap();
    world.submit_as(&bob(), request(vec![port(22, &["192.0.2.2"], 300)])).unwrap();
    let key = IdempotencyKey { key: "one".to_owned(), body: [1; 32] };
    let named = Submission {
        request: request(vec![port(3389, &["10.0.0.1"], 300)]),
        named: Some("dave".to_owned()),
        key: Some(key),
    };
    world.ask(async |core| core.submit(peer(PUSHER, "pusher"), named).await).unwrap();

    let [denied, cancelled, approved] = [world.wait(), world.wait(), world.wait()];
    deny(&mut world, carol(), denied).unwrap();
    cancel(&mut world, alice(), cancelled).unwrap();
    let approved = world.approve(&sudo(), approved).unwrap().grants[0].id.0;
    world.extend(&alice(), 1, 600).unwrap();
    world.extend(&alice(), approved, 7000).unwrap();
    world.pass(10);
    assert!(world.admits(5986, "192.0.2.7"));
    world.pass(1);
    let revoke = Selection::Ids(vec![GrantId(approved)]);
    world.ask(async |core| core.revoke(sudo(), revoke, "over".to_owned()).await).unwrap();
    world.pass(600);

    world.kernel.fail(0..1);
    world.submit(vec![port(22, &["192.0.2.99"], 300)]).unwrap_err();
    world.kernel.fail(0..0);
    let deadline = world.clock.boot().after(secs(60));
    world.kernel.clone().set(&entry(22, "192.0.2.98"), deadline).unwrap();
    world.ask(async |core| core.revoke(sudo(), Selection::All, "all".to_owned()).await).unwrap();
    rows(&world)
}

/// Returns the rows of refusals, single and repeated.
fn of_refusals() -> Vec<String> {
    let mut world = World { machine: Machine::new(CONFIG, wall(0)), core: None };
    let viewers = (4_000_000_101..=4_000_000_111).map(|uid| (Role::Viewer, uid));
    let others = [(Role::Requester, ALICE), (Role::Requester, BOB), (Role::Approver, BOB), (Role::Approver, CAROL)];
    world.access = viewers.chain(others).collect();
    world.start(false);
    let id = world.wait();
    world.submit_as(&carol(), request(vec![port(22, &["192.0.2.7"], 60)])).unwrap_err();
    let many: Vec<String> = (1..=17).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for sources in [&["192.0.2.7", "198.51.100.1"][..], &many] {
        world.submit_as(&bob(), request(vec![port(22, sources, 60), port(80, &many, 60)])).unwrap_err();
    }
    world.pass(1);
    world.submit_as(&bob(), request(vec![port(80, &["192.0.2.7"], 60)])).unwrap_err();
    world.pass(60);
    let named = Submission { request: request(Vec::new()), named: Some("root".to_owned()), key: None };
    // Each refusal has another user with a role, so that no refusal is only counted.
    let mut number = 4_000_000_100;
    let mut mallory = || {
        number += 1;
        after_login(peer(number, "mallory"), number + 50, "eve")
    };
    let by = mallory();
    world.ask(async |core| core.submit(by, named).await).unwrap_err();
    world.approve(&mallory(), id).unwrap_err();
    world.extend(&mallory(), 1, 60).unwrap_err();
    deny(&mut world, mallory(), id).unwrap_err();
    cancel(&mut world, mallory(), id).unwrap_err();
    for selection in [Selection::Ids(vec![GrantId(7)]), Selection::All] {
        let by = mallory();
        world.ask(async |core| core.revoke(by, selection, String::new()).await).unwrap_err();
    }
    let (by, edit, version) = (mallory(), Edit::Remove(SSH), String::new());
    let edit = change::PortEdit { edit, version, confirm: false, session: None };
    world.ask(async |core| core.change_port(by, edit).await).unwrap_err();
    let by = mallory();
    world.ask(async |core| core.enable(by, asked()).await).unwrap_err();
    let by = mallory();
    world.ask(async |core| core.confirm(by).await).unwrap_err();
    let by = mallory();
    world.ask(async |core| core.disable(by).await).unwrap_err();
    world.core().wind_up();
    rows(&world)
}

/// Returns the rows of events without a command: connections, interfaces, the age of rows.
fn of_packets_and_time() -> Vec<String> {
    let mut world = World::new();
    world.config = Config::parse(&format!("break_glass = ['203.0.113.0/24']\n{CONFIG}"), "config.toml").unwrap();
    world.restart();
    world.submit_as(&alice(), request(vec![port(22, &["192.0.2.1"], 100)])).unwrap();
    assert!(world.admits(22, "192.0.2.1") && world.admits(22, "203.0.113.9"));
    world.pass(1);
    for (attached, fault) in [(Some(Way::Native), None), (None, Some("someone took it off"))] {
        let fault = fault.map(str::to_owned);
        let eth0 =
            InterfaceView { name: "eth0".to_owned(), index: Some(2), attached, fault, ..InterfaceView::default() };
        world.kernel.set_interfaces(&[eth0]);
        world.pass(5);
    }
    world.pass(100);
    world.wait();
    world.pass(600);
    let mut rows_before = rows(&world);
    let until = wall(400 * 86_400).duration_since(world.clock.wall());
    world.clock.advance(Duration::try_from(until).unwrap());
    world.pass(3600);
    rows_before.extend(rows(&world).pop());
    rows_before
}

/// Returns the rows of changes of the configuration.
fn of_changes() -> Vec<String> {
    let mut host = Host::new();
    host.world.submit_as(&alice(), request(vec![port(22, &["192.0.2.1", "10.0.0.1"], 3600)])).unwrap();
    let shorter = PortPolicy { max_duration: secs(600), ..host.policy(SSH) };
    host.change(Edit::Set(shorter), true).unwrap();
    let added = PortPolicy::new(PortId { number: 8443, protocol: Protocol::Tcp });
    host.change(Edit::Set(added), true).unwrap();
    host.change(Edit::Remove(SSH), true).unwrap();
    host.rewrite("mode = 'enforce'", "mode = 'observe'\nroles.viewer = ['root']\nbreak_glass = ['203.0.113.0/24']");
    let asked = Reload { allow_open: vec!["mode=observe".to_owned()], confirm: true, ..Reload::default() };
    host.world.core().reload(None, &asked).unwrap();
    rows(&host.world)
}

/// Returns the rows of enforcement: on trial, on, off and unloaded.
fn of_enforcement() -> Vec<String> {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.world.pass(LENGTH);
    host.enable(EnableAsked { session: None, ..asked() }).unwrap();
    host.disable().unwrap();
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    host.disable().unwrap();
    // This trial ends while no agent runs.
    host.enable(asked()).unwrap();
    host.world.clock.advance(secs(LENGTH));
    host.begin(true);
    // This trial is of a change that closes a grant for the time of the trial.
    host.world.submit_as(&alice(), request(vec![port(22, &["10.0.0.1"], 3600)])).unwrap();
    host.session = Some(session("10.0.0.1"));
    host.rewrite("mode = 'observe'", "mode = 'enforce'");
    host.begin(true);
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    let by = Remover { name: "root".to_owned(), login: None, time: wall(0) };
    let config = files::load(&host.world.file).unwrap().config;
    mark::set(host.world.dir.path(), &mark::Mark::new(by, &config)).unwrap();
    host.begin(true);
    host.rewrite("mode = 'observe'", "mode = 'enforce'");
    host.begin(true);
    let narrow = PortPolicy { allowed_sources: vec![parse_source(OPERATOR).unwrap()], ..host.policy(SSH) };
    assert!(host.change(Edit::Set(narrow), true).unwrap().trial.is_some());
    host.disable().unwrap();
    for mark in [
        "by root at 2026-11-22T16:00:00Z",
        "by nobody-there (logged in as root, uid 0) at 2026-11-22T16:00:00Z",
        "by somebody, at a time that is not known",
    ] {
        host.begin(true);
        unloaded::mark(host.world.dir.path(), mark).unwrap();
        host.world.pass(5);
        unloaded::clear(host.world.dir.path()).unwrap();
    }
    rows(&host.world)
}

fn written() -> &'static [String] {
    static WRITTEN: OnceLock<Vec<String>> = OnceLock::new();
    WRITTEN
        .get_or_init(|| [of_requests(), of_refusals(), of_packets_and_time(), of_changes(), of_enforcement()].concat())
}

#[test]
fn what_is_stored_of_each_event_stays_as_it_is() {
    let rows = written();
    if std::env::var_os("JIT_UPDATE_GOLDEN").is_some_and(|asked| asked == "1") {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/core/tests/events.txt");
        std::fs::write(file, rows.join("\n") + "\n").unwrap();
        return;
    }
    for (row, expected) in rows.iter().zip(WRITTEN.lines()) {
        assert_eq!(row, expected);
    }
    assert_eq!(rows.len(), WRITTEN.lines().count());
}

#[test]
fn every_event_that_is_listed_is_written_and_no_other() {
    let mut unseen: Vec<&Kind> = AuditEvent::KINDS.iter().collect();
    for row in written() {
        let (event, detail) = row.split_once(' ').unwrap();
        let detail = serde_json::from_str(detail).unwrap();
        assert!(AuditEvent::KINDS.iter().any(|kind| kind.fits(event, &detail)), "no listed event fits {row}");
        unseen.retain(|kind| !kind.fits(event, &detail));
    }
    let unseen: Vec<_> = unseen.iter().map(|kind| (kind.name, kind.meaning())).collect();
    assert_eq!(unseen, [], "let an agent of this file write these");
}
