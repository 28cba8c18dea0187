//! Tests of the audit log for grants that end earlier than planned.

use jit_policy::{AuditFilter, PortPolicy, Reload};
use serde_json::{Value, json};

use super::{
    host::{Host, SSH},
    *,
};
use crate::config::own::Edit;

const LESS_TIME: &str = "the configuration allows less time";

fn filter(user: Option<&str>, port: Option<u16>) -> AuditFilter {
    let event = Some("shortened".to_owned());
    AuditFilter { user: user.map(str::to_owned), port, event, ..AuditFilter::default() }
}

/// Returns the details of the rows about shortened grants that match the filter.
fn found(world: &mut World, user: Option<&str>, port: Option<u16>) -> Vec<Value> {
    let reader = world.core().audit(&root()).unwrap();
    let rows = reader.0.rows(&filter(user, port), 0).unwrap().next(100).unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.detail).unwrap()).collect()
}

/// Returns the expected detail for alice's SSH grant, which would have ended three hours after the start. `by` is who
/// shortened the grant.
fn cut(grant: i64, end: i64, by: &Value) -> Value {
    json!({
        "grant": grant, "request": grant, "requestor": "alice", "number": 22, "protocol": "tcp",
        "source": format!("192.0.2.{grant}/32"), "end": wall(end).to_string(), "before": wall(3 * 3600).to_string(),
        "by": by, "reason": LESS_TIME,
    })
}

/// Makes a host with two long grants and a short grant, all of alice's.
fn with_grants() -> Host {
    let mut host = Host::new();
    for (source, seconds) in [("192.0.2.1", 3 * 3600), ("192.0.2.2", 3 * 3600), ("192.0.2.3", 300)] {
        host.world.submit_as(&alice(), request(vec![port(22, &[source], seconds)])).unwrap();
    }
    host
}

fn shorter(host: &mut Host) -> Edit {
    Edit::Set(PortPolicy { max_duration: secs(600), ..host.policy(SSH) })
}

#[test]
fn each_grant_that_a_change_shortens_has_a_row_with_both_ends_and_who_made_the_change() {
    let mut host = with_grants();
    let edit = shorter(&mut host);
    host.change(edit, true).unwrap();
    let by = json!({ "uid": 0, "name": "root" });
    let rows = vec![cut(1, 600, &by), cut(2, 600, &by)];
    for (user, port) in [(None, None), (Some("alice"), None), (None, Some(22)), (Some("root"), Some(22))] {
        assert_eq!(found(&mut host.world, user, port), rows, "{user:?} {port:?}");
    }
    for (user, port) in [(Some("bob"), None), (None, Some(3389))] {
        assert_eq!(found(&mut host.world, user, port), Vec::<Value>::new(), "{user:?} {port:?}");
    }
}

#[test]
fn a_signal_by_which_grants_end_or_are_shortened_is_named() {
    let mut host = with_grants();
    host.rewrite("max_duration = '3h'", "max_duration = '10m'");
    host.rewrite("'192.0.2.0/24', ", "'192.0.2.1/32', ");
    let asked = Reload { confirm: true, ..Reload::default() };
    host.world.core().reload(None, &asked).unwrap();
    let by = json!({ "signal": "SIGHUP" });
    assert_eq!(found(&mut host.world, None, None), [cut(1, 600, &by)]);
    assert_eq!((host.world.count("ended"), &host.world.last("ended")["by"]), (2, &by));
}

#[test]
fn who_changes_the_policies_or_confirms_a_trial_is_who_ends_the_grants() {
    let by = json!({ "uid": 0, "name": "root" });
    let mut host = with_grants();
    host.change(Edit::Remove(SSH), true).unwrap();
    assert_eq!((host.world.count("ended"), &host.world.last("ended")["by"]), (3, &by));

    let mut host = with_grants();
    host.session = Some(host::session("192.0.2.1"));
    let narrow = PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) };
    assert!(host.change(Edit::Set(narrow), true).unwrap().trial.is_some());
    assert_eq!(host.world.count("ended"), 0);
    assert!(host.confirm().unwrap());
    assert_eq!((host.world.count("ended"), &host.world.last("ended")["by"]), (3, &by));
}

#[test]
fn a_start_with_less_time_has_a_row_for_each_grant_that_it_shortens() {
    let reboot = |world: &mut World| world.reboot(wall(0));
    for (name, start) in [("restart", World::restart as fn(&mut World)), ("reboot", reboot)] {
        let mut world = with_grants().world;
        let text = CONFIG.replace("max_duration = '3h'", "max_duration = '10m'");
        world.config = Config::parse(&text, "config.toml").unwrap();
        for _ in 0..2 {
            start(&mut world);
            assert_eq!(found(&mut world, None, None), [cut(1, 600, &Value::Null), cut(2, 600, &Value::Null)], "{name}");
        }
    }
}

#[test]
fn a_shortened_grant_ends_after_a_reboot_when_the_log_says() {
    let mut host = with_grants();
    let edit = shorter(&mut host);
    host.change(edit, true).unwrap();
    // The clocks were last recorded 40 s before the reboot.
    host.world.pass(60);
    host.world.clock.advance(secs(40));
    host.world.reboot(wall(200));
    let left: Vec<_> =
        host.world.core().grants(&root(), ALL).unwrap().value.iter().map(|one| one.remaining_seconds).collect();
    assert_eq!(left, [100, 400, 400]);
}

#[test]
fn an_extension_that_is_undone_is_in_the_log_with_the_end_that_holds() {
    let undone = |reason: &Value| {
        let ends = json!({ "end": wall(1000).to_string(), "before": wall(3600).to_string() });
        let port = json!({ "number": 22, "protocol": "tcp", "source": "192.0.2.7/32" });
        let mut row = json!({ "grant": 1, "request": 1, "requestor": "alice", "by": null, "reason": reason });
        for more in [ends, port] {
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        row
    };
    let with_extension = |forbidden: &str| {
        let mut world = World::new();
        world.submit_as(&alice(), request(vec![port(22, &["192.0.2.7"], 1000)])).unwrap();
        world.forbid(forbidden);
        assert!(matches!(world.extend(&alice(), 1, 3600), Err(Refusal::Unavailable(_))));
        world
    };
    // The extension can't be marked as carried out.
    let mut world = with_extension(
        "UPDATE OF prior_end_boot ON grants WHEN NEW.prior_end_boot IS NULL AND NEW.end_boot = OLD.end_boot",
    );
    let reason = &found(&mut world, None, None)[0]["reason"];
    assert!(reason.as_str().unwrap().contains("made to fail"), "{reason}");
    assert_eq!(found(&mut world, Some("alice"), Some(22)), [undone(reason)]);

    // The agent ends before it can record the failure.
    let mut world = with_extension("UPDATE OF prior_end_boot ON grants WHEN NEW.prior_end_boot IS NULL");
    assert_eq!(found(&mut world, None, None), Vec::<Value>::new());
    world.allow_all();
    world.restart();
    let row = world.last("shortened");
    assert_eq!(row, undone(&json!("the agent stopped before it answered the extension")));
}
