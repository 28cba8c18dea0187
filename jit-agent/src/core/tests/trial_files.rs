//! Tests of trials where the agent can't write the configuration file. All that refusals tell to do works.

use std::{fs, path::PathBuf};

use jit_policy::PortPolicy;

use super::{
    host::{Host, OPERATOR, SSH, asked, is_open, is_shut, passes, session},
    refusal::{ChangeRefusal, Unavailable},
    *,
};
use crate::config::edit::Edit;

/// Makes the configuration file one that the agent can't replace, even as root: what takes its place can't be made.
fn lock_file(host: &Host) -> PathBuf {
    let place = host.world.dir.path().join(".config.toml.new");
    fs::create_dir(&place).unwrap();
    place
}

/// Allows only 10.0.0.0/8 to ask for port 22.
fn narrow(host: &mut Host) -> Result<change::Changed, Refusal> {
    let edit = Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) });
    host.change(edit, true)
}

fn with_operator() -> Host {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host
}

/// Expects that what was tried holds for good.
#[track_caller]
fn expect_for_good(host: &mut Host) {
    host.begin(true);
    assert_eq!((host.status().trial, host.written()), (None, false));
    assert_eq!(host.world.faults(), Vec::<String>::new());
    host.world.pass(CHANGE_TRIAL.as_secs());
}

#[test]
fn enforcement_is_not_tried_if_it_could_not_be_confirmed_and_the_file_edited_by_hand_turns_it_on() {
    let mut host = Host::observing();
    lock_file(&host);
    let refusal = host.enable(asked()).unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(Unavailable::NotConfirmable(..))), "{refusal:?}");
    let text = refusal.to_string();
    assert!(text.contains("config.toml can't be changed") && text.contains("set mode = \"enforce\""), "{text}");
    assert!(is_open(&host) && !host.written() && host.status().trial.is_none());
    assert_eq!(host.world.live(), Vec::<i64>::new(), "nor is anything opened");

    host.grant(22, OPERATOR, 7200);
    host.rewrite("mode = 'observe'", "mode = 'enforce'");
    assert_eq!(host.reload(&[], false).unwrap().trial, None);
    assert!(is_shut(&host));
    expect_for_good(&mut host);
    assert!(is_shut(&host));
}

#[test]
fn a_change_is_not_tried_if_it_could_not_be_confirmed_and_the_file_edited_by_hand_can_be_tried() {
    let mut host = with_operator();
    lock_file(&host);
    let refusal = narrow(&mut host).unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(Unavailable::NotConfirmable(..))), "{refusal:?}");
    assert!(passes(&host, 22, OPERATOR) && !host.written() && host.status().trial.is_none());

    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    assert!(!passes(&host, 22, OPERATOR));
    host.confirm().unwrap();
    expect_for_good(&mut host);
    assert!(!passes(&host, 22, OPERATOR));
}

#[test]
fn a_file_that_can_not_be_written_any_more_is_edited_by_hand_and_confirmed() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    lock_file(&host);
    let refusal = host.confirm().unwrap_err();
    assert!(refusal.to_string().contains("edit it by hand to what is tried, and run `jit-agent confirm`"), "{refusal}");
    assert!(is_shut(&host) && host.status().trial.is_some() && host.text().contains("observe"));
    host.rewrite("mode = 'observe' # for now", "# by hand\nmode = 'enforce'");
    host.confirm().unwrap();
    expect_for_good(&mut host);
    assert!(is_shut(&host) && host.text().contains("# by hand"));
    assert_eq!(host.world.count("confirmed"), 1);

    let mut host = with_operator();
    narrow(&mut host).unwrap();
    lock_file(&host);
    host.confirm().unwrap_err();
    host.rewrite("'192.0.2.0/24', '10.0.0.0/8', '2001:db8::/32'", "'10.0.0.0/8'");
    host.confirm().unwrap();
    expect_for_good(&mut host);
    assert!(!passes(&host, 22, OPERATOR));
}

#[test]
fn tried_files_that_say_the_same_in_other_words_are_confirmed() {
    let mut host = with_operator();
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    host.rewrite("# of this host", "# by hand");
    host.confirm().unwrap();
    expect_for_good(&mut host);
    assert!(!passes(&host, 22, OPERATOR));
}

#[test]
fn a_file_edited_to_something_else_during_a_trial_is_loaded_once_the_trial_has_ended() {
    let mut host = with_operator();
    narrow(&mut host).unwrap();
    host.rewrite("quota = 3", "quota = 7");
    let refusal = host.confirm().unwrap_err();
    assert!(matches!(refusal, Refusal::Change(ChangeRefusal::Edited(_))), "{refusal:?}");
    assert!(refusal.to_string().contains("run `jit-agent disable` to end the trial, and then `jitctl reload`"));
    assert!(host.reload(&[], true).unwrap_err().to_string().contains("`jit-agent disable` to end it"));
    host.disable().unwrap();
    assert!(passes(&host, 22, OPERATOR) && !passes(&host, 22, "192.0.2.9"));
    assert_eq!(host.reload(&[], true).unwrap().trial, None);
    expect_for_good(&mut host);

    // Back to what it was, it can be confirmed.
    narrow(&mut host).unwrap();
    host.rewrite("quota = 7", "quota = 8");
    host.confirm().unwrap_err();
    host.rewrite("quota = 8", "quota = 7");
    host.confirm().unwrap();
    assert!(!passes(&host, 22, OPERATOR));
}
