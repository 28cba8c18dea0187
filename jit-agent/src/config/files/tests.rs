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
        let error = parse(vec![main.clone(), part("x.toml", text)]).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}

#[test]
fn what_was_edited_added_or_removed_since_is_told() {
    let (directory, main) = written();
    let second = directory.path().join("conf.d/10-web.toml");
    let origin = load(&main).unwrap().origin;
    assert_eq!(origin.unchanged().unwrap().parts.len(), 2);
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
fn what_the_agent_sets_is_told_with_both_files_and_only_its_own_file_is_written() {
    let (directory, main) = written();
    let second = directory.path().join("conf.d/10-web.toml");
    let state = directory.path().join("state");
    fs::write(&main, format!("mode = 'observe'\nstate_dir = '{}'\n{MAIN}", state.display())).unwrap();
    let texts = || [fs::read_to_string(&main).unwrap(), fs::read_to_string(&second).unwrap()];
    let before = texts();
    let mut wanted = load(&main).unwrap().config;
    wanted.mode = Mode::Enforce;
    let kept: Vec<_> = wanted.ports.iter().filter(|policy| policy.id.number != 443).cloned().collect();
    wanted.ports = PortPolicies::new(kept).unwrap();
    let mut changed = load(&main).unwrap().changed_to(&wanted).unwrap();
    assert!(changed.change().is_some());
    let former = changed.keep_own().unwrap();
    let loaded = load(&main).unwrap();
    assert_eq!((&loaded.config, &loaded.origin, &changed.config), (&wanted, &changed.origin, &wanted));
    assert_eq!(Config::parse(&loaded.config.written().to_string(), "").unwrap(), wanted);
    assert_eq!((loaded.change(), texts()), (None, before));

    let told: Vec<String> = loaded.overrides().map(|(_, text)| text).collect();
    let (own, main_file, second_file) = (state.join("policy.toml"), main.display(), second.display());
    let own = own.display();
    assert_eq!(
        told,
        [
            format!(
                "mode = \"enforce\" of {own} is in force, and not mode = \"observe\" of {main_file}; set it \
                 there too, so that a lost state_dir opens nothing; `jitctl ports reset mode` ends that"
            ),
            format!(
                "port 443/tcp is not protected: {own} says removed, though {second_file} has a policy; \
                 `jitctl ports reset 443/tcp` ends that"
            ),
        ]
    );
    assert_eq!(reload(&main, &["mode".to_owned(), "443".to_owned()], &[]).unwrap().config.mode, Mode::Observe);

    // What can't be read might have shut more than the files.
    fs::write(state.join("policy.toml"), "mode = 'observe'").unwrap();
    let error = load(&main).unwrap_err().to_string();
    assert!(error.contains("policy.toml is cut short"), "{error}");
    former.restore().unwrap();
    assert!(!state.join("policy.toml").exists());
    assert_eq!(load(&main).unwrap().config.ports.iter().count(), 2);
}
