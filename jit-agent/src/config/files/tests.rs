use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn part(name: &str, text: &str) -> Part {
    Part { path: name.into(), text: text.to_owned() }
}

const MAIN: &str = "interfaces = ['eth0']\n[[port]]\nnumber = 22\nprotocol = 'tcp'\n[roles]\nadmin = ['ann']\n";

/// A directory with a main file and a file in conf.d.
fn written() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("config.toml");
    fs::create_dir(directory.path().join(DIRECTORY)).unwrap();
    fs::write(&main, MAIN).unwrap();
    fs::write(directory.path().join("conf.d/10-web.toml"), "[[port]]\nnumber = 443\nprotocol = 'tcp'\n").unwrap();
    (directory, main)
}

#[test]
fn files_are_read_by_name_and_ports_and_roles_are_appended() {
    let (directory, main) = written();
    fs::write(
        directory.path().join("conf.d/05-roles.toml"),
        "scope = 'local'\n[roles]\nadmin = ['bob']\nviewer = ['eve']",
    )
    .unwrap();
    fs::write(directory.path().join("conf.d/notes.txt"), "not TOML [").unwrap();
    fs::write(directory.path().join("conf.d/.10-web.toml"), "not TOML [").unwrap();
    let loaded = load(&main).unwrap();
    let ports: Vec<_> = loaded.config.ports.iter().map(|policy| policy.id.to_string()).collect();
    assert_eq!(ports, ["22/tcp", "443/tcp"]);
    let names = |role| loaded.config.roles.iter().find(|(one, _)| *one == role).unwrap().1.clone();
    assert_eq!(names(jit_policy::Role::Admin), ["ann", "bob"]);
    assert_eq!(names(jit_policy::Role::Viewer), ["eve"]);
    assert_eq!(Config::parse(&loaded.config.written().to_string(), "").unwrap(), loaded.config);
}

#[test]
fn contradictions_and_mistakes_name_their_files() {
    let main = part("config.toml", MAIN);
    for (text, words) in [
        ("interfaces = ['eth1']", vec!["`interfaces` is set in config.toml and in x.toml"]),
        ("mode = 'enfore'", vec!["x.toml", "enfore"]),
        ("ports = []", vec!["x.toml", "unknown field `ports`"]),
        ("state_dir = 'x'", vec!["x.toml", "absolute"]),
        ("[[port]]\nnumber = 80\nprotocol = 'tcp'\nquota = 0", vec!["x.toml", "80/tcp", "quota"]),
        ("[[port]]\nnumber = 22\nprotocol = 'any'", vec!["config.toml, x.toml", "22/tcp", "22/any overlap"]),
    ] {
        let error = parse(&[main.clone(), part("x.toml", text)]).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}

#[test]
fn what_was_edited_added_or_removed_since_is_told() {
    let (directory, main) = written();
    let second = directory.path().join("conf.d/10-web.toml");
    let origin = load(&main).unwrap().origin;
    assert_eq!(origin.unchanged().unwrap().len(), 2);
    let edited = |path: &Path| {
        let error = origin.unchanged().unwrap_err().to_string();
        assert_eq!(error, format!("{} was edited since it was loaded; run `jitctl reload` first", path.display()));
    };
    fs::write(&second, "").unwrap();
    edited(&second);
    fs::remove_file(&second).unwrap();
    edited(&second);
    let third = directory.path().join("conf.d/20.toml");
    fs::write(&second, "[[port]]\nnumber = 443\nprotocol = 'tcp'\n").unwrap();
    fs::write(&third, "").unwrap();
    edited(&third);
}

#[test]
fn a_replaced_file_keeps_mode_and_link_and_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real.toml"), directory.path().join("link.toml"));
    fs::write(&real, "old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    fs::write(directory.path().join(".real.toml.new"), "of one that was killed").unwrap();
    replace(&link, "new").unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    let error = replace(&directory.path().join("missing.toml"), "").unwrap_err().to_string();
    assert!(error.contains("missing.toml can't be changed"), "{error}");
}
