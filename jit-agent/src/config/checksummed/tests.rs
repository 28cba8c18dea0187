use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const NAME: &str = "some.json";

#[test]
fn a_link_in_place_of_the_new_file_leads_to_nothing() {
    let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in [NAME, "some.new"] {
        symlink(&victim, state.path().join(name)).unwrap();
        write(state.path(), NAME, name).unwrap();
        assert!(!state.path().join("some.new").exists());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        assert_eq!(read(state.path(), NAME).unwrap(), name);
    }
    let linked = elsewhere.path().join("linked");
    symlink(&victim, &linked).unwrap();
    remove(elsewhere.path(), "linked").unwrap();
    assert!(victim.exists() && !linked.exists());
}

#[test]
fn nothing_is_read_or_written_where_others_could_change_it() {
    let state = tempfile::tempdir().unwrap();
    write(state.path(), NAME, "ours").unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let errors = [
        read(state.path(), NAME).map(drop),
        write(state.path(), NAME, "theirs"),
        remove(state.path(), NAME),
        exists(state.path(), NAME).map(drop),
    ];
    for error in errors {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("has mode 0777") && error.contains("chmod go-w"), "{error}");
    }
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(state.path().join(NAME), fs::Permissions::from_mode(0o666)).unwrap();
    let error = read(state.path(), NAME).unwrap_err().to_string();
    assert!(error.contains("has mode 0666"), "{error}");
}
