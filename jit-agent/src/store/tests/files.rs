//! Tests of the store's file: ownership, integrity and disk space.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use super::*;

const NAME: &str = "jit-agent.sqlite";

/// Names, modes and contents of all files in a directory.
fn contents(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name().into_string().unwrap(), mode, fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

fn refused(dir: &Path) -> String {
    Store::open(dir).unwrap_err().to_string()
}

/// The directory of a closed store with requests.
fn filled() -> TempDir {
    let (dir, mut store) = store();
    for _ in 0..40 {
        store.begin_request(&new_request()).unwrap();
    }
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_store_is_for_the_owner_only() {
    let dir = TempDir::new().unwrap();
    let state_dir = dir.path().join("lib/jit-agent");
    let mut store = Store::open(&state_dir).unwrap();
    store.begin_request(&new_request()).unwrap();
    assert_eq!(mode(&state_dir), 0o700);
    let modes: Vec<_> = contents(&state_dir).into_iter().map(|(name, mode, _)| (name, mode & 0o777)).collect();
    let expected =
        ["jit-agent.reserve", "jit-agent.reserve-admins", NAME, "jit-agent.sqlite-shm", "jit-agent.sqlite-wal"];
    let expected = expected.map(|name| (name.to_owned(), 0o600));
    assert_eq!(modes, expected);
}

/// A request for grants to `count` hosts that are spread over all addresses.
fn spread(count: u32, first: u32) -> NewRequestRow {
    let host = |number: u32| std::net::Ipv4Addr::from(number.wrapping_mul(0x9e37_79b9)).to_string();
    let grants = (first..first + count).map(|number| row(&host(number), Protocol::Tcp, 3600)).collect();
    NewRequestRow { outcome: NewOutcome::Grants(grants), ..new_request() }
}

/// The service has no directory for temporary files, so a request that needs one would be refused there.
#[test]
fn a_large_request_needs_no_temporary_file() {
    let (_dir, mut store) = store();
    store.batch(|batch| batch.begin_request(&spread(4000, 0)).unwrap()).unwrap();
    store
        .batch(|batch| {
            batch.begin_request(&spread(500, 4000)).unwrap();
            let open =
                fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|file| fs::read_link(file.path()).ok());
            let temporary: Vec<_> = open.filter(|path| path.to_string_lossy().contains("etilqs_")).collect();
            assert!(temporary.is_empty(), "{temporary:?}");
        })
        .unwrap();
}

#[test]
fn a_store_opened_up_to_others_is_closed_again() {
    let dir = filled();
    fs::set_permissions(dir.path().join(NAME), fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(mode(&dir.path().join(NAME)), 0o600);
}

#[test]
fn the_settings_that_durability_rests_on_are_in_force() {
    let (_dir, store) = store();
    let setting = |name: &str| -> String {
        store
            .connection
            .pragma_query_value(None, name, |row| match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(value) => Ok(value.to_string()),
                _ => row.get(0),
            })
            .unwrap()
    };
    assert_eq!(setting("journal_mode"), "wal");
    assert_eq!(setting("locking_mode"), "normal");
    assert_eq!(setting("busy_timeout"), "2000");
    assert_eq!(setting("foreign_keys"), "1");
    assert_eq!(setting("application_id"), 0x4a49_5441.to_string());
    assert_eq!(setting("user_version"), "1003");
}

#[test]
fn files_of_others_are_refused_and_left_as_they_are() {
    let foreign = |application_id: i32, journal: &'static str| {
        move |path: &Path| {
            let connection = Connection::open(path).unwrap();
            connection
                .execute_batch(&format!(
                    "PRAGMA journal_mode = {journal}; PRAGMA application_id = {application_id}; CREATE TABLE t (x); \
                     INSERT INTO t VALUES (1)"
                ))
                .unwrap();
        }
    };
    type Make = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Make)> = vec![
        ("it is too short to be an SQLite database", Box::new(|path| fs::write(path, "hello").unwrap())),
        ("it does not start as an SQLite database does", Box::new(|path| fs::write(path, [b'x'; 8192]).unwrap())),
        ("it does not start as an SQLite database does", Box::new(|path| fs::write(path, [0; 8192]).unwrap())),
        ("it is an SQLite database with application_id 0x0, not 0x4a495441", Box::new(foreign(0, "DELETE"))),
        ("it is an SQLite database with application_id 0x11, not 0x4a495441", Box::new(foreign(0x11, "WAL"))),
        ("it is not a regular file", Box::new(|path| fs::create_dir(path).unwrap())),
    ];
    for (found, make) in cases {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(NAME);
        make(&path);
        let before = contents(dir.path());
        assert_eq!(
            refused(dir.path()),
            format!(
                "{} is not a store of jit-agent: {found}; it was left as it is. Move it away, or set another state_dir",
                path.display()
            )
        );
        assert_eq!(contents(dir.path()), before, "{found}");
    }
}

#[test]
fn a_write_ahead_log_of_another_database_is_not_replayed() {
    let (dir, mut store) = store();
    store.begin_request(&new_request()).unwrap();
    // This is the state after a crash, if someone then moves only the main file away: the write-ahead log is left.
    let other = TempDir::new().unwrap();
    let wal = other.path().join(format!("{NAME}-wal"));
    fs::copy(dir.path().join(format!("{NAME}-wal")), &wal).unwrap();
    let before = contents(other.path());
    assert_eq!(
        refused(other.path()),
        format!(
            "{} is left over from a store whose main file is gone; put that back beside it, or move this file away as \
             well",
            wal.display()
        )
    );
    assert_eq!(contents(other.path()), before);
}

#[test]
fn a_newer_schema_is_refused_and_a_compatible_one_is_read() {
    for (version, accepted) in [(1001, true), (1003, true), (1999, true), (2000, false), (0, false)] {
        let dir = filled();
        let path = dir.path().join(NAME);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let before = contents(dir.path());
        match (Store::open(dir.path()), version) {
            (Ok(store), _) => {
                assert!(accepted, "{version}");
                assert_eq!(store.open_grants().unwrap().len(), 80);
            }
            (Err(error), 2000) => {
                let expected = format!(
                    "{} has schema version 2, and this version of jit-agent reads 1; it was left as it is. Run the \
                     newer jit-agent, or move the file and those beside it away to start afresh",
                    path.display()
                );
                assert_eq!(error.to_string(), expected);
                assert_eq!(contents(dir.path()), before);
            }
            (Err(error), _) => {
                assert!(!accepted, "{error}");
                assert!(
                    error.to_string().contains("its user_version 0 is not one that any jit-agent writes"),
                    "{error}"
                );
                assert_eq!(contents(dir.path()), before);
            }
        }
    }
}

#[test]
fn a_newer_schema_in_the_write_ahead_log_is_seen_too() {
    let (dir, store) = store();
    store.connection.pragma_update(None, "user_version", 2000).unwrap();
    // This is the state after a crash: the main file is not up to date yet.
    let crashed = TempDir::new().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("{NAME}{suffix}");
        fs::copy(dir.path().join(&name), crashed.path().join(&name)).unwrap();
    }
    assert!(matches!(Store::open(crashed.path()), Err(StoreError::Newer { found: 2, .. })));
    let (_, _, wal) = contents(crashed.path()).into_iter().find(|(name, ..)| name.ends_with("-wal")).unwrap();
    assert!(!wal.is_empty(), "the log was replayed into the file");
}

#[test]
fn a_damaged_page_is_found_on_opening() {
    let dir = filled();
    let path = dir.path().join(NAME);
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut found = 0;
    for page in 1..pages {
        let sound = fs::read(&path).unwrap();
        file.write_all_at(&[0xa5; 64], page * 4096).unwrap();
        let text = refused(dir.path());
        assert!(text.starts_with(&format!("{} is damaged: ", path.display())), "page {page}: {text}");
        assert!(text.contains("restore it from a backup"), "{text}");
        file.write_all_at(&sound, 0).unwrap();
        found += 1;
    }
    assert!(found > 5, "the store has too few pages to tell");
    Store::open(dir.path()).unwrap().verify_audit().unwrap();
}

#[test]
fn a_truncated_file_is_damaged() {
    let dir = filled();
    let path = dir.path().join(NAME);
    let length = fs::metadata(&path).unwrap().len();
    for length in [length - 4096, length / 2, 512, 100] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Damaged { .. })), "{length}");
    }
}

#[test]
fn what_was_recorded_survives_a_kill() {
    let (dir, mut store) = store();
    let (request, _) = store.begin_request(&new_request()).unwrap();
    store.mark_live(&[request], &[]).unwrap();
    // These are the files that a killed process leaves. The main file contains almost nothing.
    let killed = TempDir::new().unwrap();
    for (name, _, bytes) in contents(dir.path()) {
        fs::write(killed.path().join(name), bytes).unwrap();
    }
    let after = Store::open(killed.path()).unwrap();
    assert_eq!(after.open_grants().unwrap(), store.open_grants().unwrap());
    assert_eq!(after.verify_audit().unwrap(), store.verify_audit().unwrap());
}

#[test]
fn an_unfinished_store_is_made_anew() {
    let dir = TempDir::new().unwrap();
    for suffix in ["", "-wal", "-journal"] {
        fs::write(dir.path().join(format!("{NAME}.new{suffix}")), "half").unwrap();
    }
    fs::write(dir.path().join(NAME), "").unwrap();
    drop(Store::open(dir.path()).unwrap());
    let names: Vec<_> = contents(dir.path()).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["jit-agent.reserve", "jit-agent.reserve-admins", NAME]);
}

#[test]
fn a_directory_that_can_not_be_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let text = refused(&file);
    assert!(text.starts_with(&format!("making the directory {}: ", file.display())), "{text}");
    assert!(text.ends_with("; the agent needs a state_dir that it may write to"), "{text}");
}

#[test]
fn a_full_disk_refuses_a_request_whole_and_names_the_file() {
    let (dir, mut store) = store();
    let (_, ids) = store.begin_request(&new_request()).unwrap();
    let sources = (0..2000).map(|index| row(&format!("10.0.{}.{}", index / 256, index % 256), Protocol::Tcp, 60));
    let large = NewRequestRow { outcome: NewOutcome::Grants(sources.collect()), ..new_request() };
    let head = store.verify_audit().unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let expected = |action| {
        let path = dir.path().join(NAME);
        format!("{action}: there is no space left for {}; free some on its file system", path.display())
    };
    assert_eq!(store.begin_request(&large).unwrap_err().to_string(), expected("recording a request"));
    assert_eq!(store.request_reader().page(&page(9)).unwrap().0.len(), 1);
    assert_eq!(store.open_grants().unwrap().len(), 2);
    assert_eq!(store.verify_audit().unwrap(), head);

    // A closing writes little, so it fits into the existing pages.
    store.end_grants(&unused(&ids), &ending(GrantEnd::Revoked, None, "")).unwrap();
    assert_eq!(store.open_grants().unwrap(), []);
    let failed = loop {
        if let Err(error) = store.record_event(wall(0), "started", &serde_json::json!({})) {
            break error;
        }
    };
    assert_eq!(failed.to_string(), expected("recording an event"));
    store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.begin_request(&large).unwrap();
    store.verify_audit().unwrap();
}

#[test]
fn space_is_kept_for_closings_and_taken_again_before_anything_is_opened() {
    let (dir, mut store) = store();
    let reserve = dir.path().join("jit-agent.reserve");
    let taken = || fs::metadata(&reserve).map(|metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
    assert!(taken().unwrap() >= 16 << 20);
    let (_, ids) = store.begin_request(&new_request()).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let failed = loop {
        if let Err(error) = store.record_event(wall(0), "started", &serde_json::json!({})) {
            break error;
        }
    };
    assert!(matches!(failed, StoreError::Full { .. }));
    assert!(taken().is_ok(), "an event is not a closing");
    // The reserve does not help against this limit, but a closing tries to use the reserve.
    assert!(matches!(
        store.end_grants(&unused(&ids), &ending(GrantEnd::Revoked, None, "")),
        Err(StoreError::Full { .. })
    ));
    assert!(taken().is_err());
    assert_eq!(store.open_grants().unwrap().len(), 2);

    // Only a directory of that name prevents root from creating the file.
    store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    fs::create_dir(&reserve).unwrap();
    let text = store.begin_request(&new_request()).unwrap_err().to_string();
    assert!(text.starts_with("keeping space for closings beside "), "{text}");
    store.end_grants(&unused(&ids), &ending(GrantEnd::Revoked, None, "")).unwrap();
    fs::remove_dir(&reserve).unwrap();
    store.begin_request(&new_request()).unwrap();
    assert!(taken().unwrap() >= 16 << 20);
}

#[test]
fn a_lock_held_by_another_process_is_named() {
    let (dir, mut store) = store();
    store.connection.busy_timeout(std::time::Duration::from_millis(1)).unwrap();
    let other = Connection::open(dir.path().join(NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = store.begin_request(&new_request()).unwrap_err().to_string();
    assert!(text.starts_with("recording a request: another process has locked "), "{text}");
    other.execute_batch("ROLLBACK").unwrap();
    store.begin_request(&new_request()).unwrap();
}
