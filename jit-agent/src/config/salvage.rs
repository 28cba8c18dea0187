//! What is left of files that are not a valid configuration. It is never more permissive than the files were meant to
//! be: whatever can't be read is taken for the value that keeps most shut.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jit_common::abi::Mode;
use jit_policy::{Fragments, Interfaces, Pattern, People, PortId, PortPolicies, PortPolicy, Protocol, Role, Scope};
use toml::{Table, Value};

use super::{
    Config, Places,
    files::{APPENDED, DIRECTORY, append, is_hidden, paths},
    own,
    raw::{self, RawConfig},
    trust::{self, Doubt, Found},
};

/// The usable part of files that are not a valid configuration. A key that no file has gets its default.
#[must_use]
pub fn salvage(main: &Path) -> Config {
    let (mut table, mut cut, mut numbers) = (Table::new(), false, Vec::new());
    for (text, doubt) in texts(main) {
        match toml::from_str::<Table>(&text) {
            Ok(more) if doubt.is_none() => {
                more.into_iter().for_each(|(key, value)| append_all(&mut table, key, value));
            }
            // What others could change may only shut more.
            Ok(_) | Err(_) => {
                cut = true;
                numbers.extend(numbers_in(&text));
                if text.lines().any(is_line_that_enforces) {
                    append_all(&mut table, "mode".to_owned(), "enforce".into());
                }
            }
        }
    }
    let known = Config::parse("", "").map(|config| config.written()).unwrap_or_default();
    for (_, values) in table.iter().filter(|(key, _)| !known.contains_key(*key)) {
        numbers.extend(misspelt_ports(values));
    }
    let doubt = cut || (table.get("port").is_none() && !numbers.is_empty());
    let every = |key: &str| table.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // If two files set a key, it is not known which value counts.
    let only = |key: &str| match every(key) {
        [value] => alone(key, value),
        _ => None,
    };
    // Of a person whose doors can't be read, it is not known who is a second person. So nobody but admins approves.
    let people =
        table.get("people").map_or_else(|| Some(People::default()), |people| Some(alone("people", people)?.people));
    let mut roles = roles(table.get("roles"));
    if people.is_none() {
        roles.retain(|(role, _)| *role != Role::Approver);
    }
    let salvaged = Config {
        mode: if every("mode").iter().all(says_observe) { Mode::Observe } else { Mode::Enforce },
        interfaces: interfaces(every("interfaces")),
        fragments: match (every("fragments"), only("fragments")) {
            ([], _) => Fragments::default(),
            (_, Some(RawConfig { fragments, .. })) => fragments,
            (_, None) => Fragments::Drop,
        },
        scope: match (every("scope"), only("scope")) {
            ([], _) => Scope::default(),
            (_, Some(RawConfig { scope, .. })) => scope,
            (_, None) => Scope::All,
        },
        break_glass: only("break_glass").map(|raw| raw.break_glass).unwrap_or_default(),
        places: salvage_places(main),
        metrics_listen: only("metrics_listen").and_then(|raw| raw.metrics_listen),
        ports: ports(table.get("port"), numbers, doubt),
        retention: only("retention").map_or(raw::DEFAULT_RETENTION, |raw| raw.retention),
        roles,
        people: people.unwrap_or_default(),
    };
    // What the agent itself set counts too, as far as it opens nothing.
    let state = &salvaged.places.state;
    let own = own::text(state).ok().flatten().and_then(|text| own::parse(state, &text).ok());
    own.map_or(salvaged.clone(), |own| own.shutting().over_salvaged(&salvaged))
}

/// Adds a key of one more file. The values of a key that only one file may set are kept as a list.
fn append_all(table: &mut Table, key: String, value: Value) {
    if APPENDED.contains(&key.as_str()) {
        append(table, key, value);
    } else {
        append(table, key, Value::Array(vec![value]));
    }
}

/// The configuration that only this key makes, if it is valid.
fn alone(key: &str, value: &Value) -> Option<RawConfig> {
    Table::from_iter([(key.to_owned(), value.clone())]).try_into().ok()
}

/// Whether the value of `mode` was meant as `observe`. A text that is misspelt counts by its first letter.
fn says_observe(mode: &Value) -> bool {
    mode.as_str().is_some_and(|mode| mode.trim_start().to_lowercase().starts_with('o'))
}

/// Whether a line of a file that is no TOML sets a mode other than `observe`.
fn is_line_that_enforces(line: &str) -> bool {
    let set = line.trim_start().strip_prefix("mode").map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
    set.is_some_and(|value| !says_observe(&value.replace(['"', '\''], "").into()))
}

/// The numbers of ports that a file that is no TOML names.
fn numbers_in(text: &str) -> Vec<u16> {
    let number = |rest: &str| {
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    text.split("number").skip(1).filter_map(number).collect()
}

/// The numbers of ports in a list whose name is not known, since the name may be misspelt.
fn misspelt_ports(values: &Value) -> Vec<u16> {
    let lists = values.as_array().into_iter().flatten().filter_map(Value::as_array);
    lists.flatten().filter_map(number).collect()
}

/// All entries that can be read, and `auto` in place of those that can't.
fn interfaces(lists: &[Value]) -> Interfaces {
    if lists.is_empty() {
        return Interfaces::default();
    }
    let entry = |text: &Value| text.as_str()?.parse::<Pattern>().ok();
    lists.iter().fold(Interfaces::NONE, |all, list| {
        let entries: Option<Vec<_>> = list.as_array().map(|list| list.iter().map(entry).collect());
        let read: Vec<_> = entries.iter().flatten().flatten().map(ToString::to_string).collect();
        let is_whole = entries.is_some_and(|entries| entries.iter().all(Option::is_some));
        let all = read.iter().fold(all, |all, text| Interfaces::parse(&[text]).map_or(all.clone(), |one| all.or(&one)));
        if is_whole { all } else { all.or(&Interfaces::default()) }
    })
}

/// The policies. A policy that can't be read is locked: the port is protected, and nobody may be let in. `numbers` are
/// further ports to lock. In doubt about what else is protected, the ports that are protected by default are locked.
fn ports(list: Option<&Value>, numbers: Vec<u16>, mut doubt: bool) -> PortPolicies {
    let locked = |number| PortPolicy::locked(PortId { number, protocol: Protocol::Any });
    let mut policies: Vec<PortPolicy> = numbers.into_iter().map(locked).collect();
    match list {
        None if !doubt => return PortPolicies::salvaged(raw::default_policies()),
        None => {}
        Some(Value::Array(list)) => {
            for value in list {
                match (value.clone().try_into(), number(value)) {
                    (Ok(policy), _) => policies.push(policy),
                    (Err(_), Some(number)) => policies.push(locked(number)),
                    (Err(_), None) => doubt = true,
                }
            }
        }
        Some(_) => doubt = true,
    }
    let is_unknown = |port: &PortPolicy| !policies.iter().any(|policy| policy.id.overlaps(port.id));
    let defaults: Vec<PortPolicy> = raw::default_policies().into_iter().filter(is_unknown).collect();
    if doubt {
        policies.extend(defaults.into_iter().map(|policy| PortPolicy::locked(policy.id)));
    }
    PortPolicies::salvaged(policies)
}

/// The number of a policy that can't be read.
fn number(policy: &Value) -> Option<u16> {
    let number = policy.get("number")?;
    let number = number.as_integer().or_else(|| number.as_str()?.trim().parse().ok());
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

/// The names of each role that can be read.
fn roles(roles: Option<&Value>) -> Vec<(Role, Vec<String>)> {
    let readable = |(role, names): (&String, &Value)| {
        let role = Table::from_iter([(role.clone(), names.clone())]);
        alone("roles", &Value::Table(role.clone())).map(|_| role)
    };
    let known: Table = roles.and_then(Value::as_table).into_iter().flatten().filter_map(readable).flatten().collect();
    alone("roles", &Value::Table(known)).map(|raw| raw.roles.into()).unwrap_or_default()
}

/// The texts of the main file and of the files in `conf.d`, and why they can't be trusted. Unreadable files are skipped.
fn texts(main: &Path) -> Vec<(String, Option<Doubt>)> {
    let more = fs::read_dir(main.with_file_name(DIRECTORY)).into_iter().flatten();
    let more = more
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let paths = std::iter::once(main.to_owned()).chain(more.filter(|path| !is_hidden(path)));
    // A file that is not valid UTF-8 can still have a line that sets the mode.
    let text = |path: PathBuf| {
        let (content, doubt) = trust::read(&path, trust::own()).ok()?;
        Some((String::from_utf8_lossy(&content).into_owned(), doubt))
    };
    paths.filter_map(text).collect()
}

/// The paths that the files name, even if the files are not a valid configuration otherwise. If others could change the
/// files, a path is used only if nobody else could change what stands there.
#[must_use]
pub fn salvage_places(main: &Path) -> Places {
    let named = named_places(main);
    if doubt(main).is_none() {
        return named;
    }
    let is_own = |found: &Found| found.doubt().is_none();
    let checked = |path: PathBuf, usual: PathBuf, is_ours: fn(&Found) -> bool| {
        if trust::find(&path, trust::own()).is_ok_and(|found| is_ours(&found)) { path } else { usual }
    };
    let usual = Places::default();
    Places {
        // Everybody may write to the socket itself.
        socket: checked(named.socket, usual.socket, |found| found.doubt_on_the_way().is_none()),
        state: checked(named.state, usual.state, is_own),
        bpffs: checked(named.bpffs, usual.bpffs, is_own),
    }
}

/// The paths that the files name, whoever could have written the files. A path that no file names gets the default.
#[must_use]
pub(crate) fn named_places(main: &Path) -> Places {
    // If several files set the same key, any of the values is fine: such files are not a valid configuration anyway.
    let tables = texts(main).into_iter().filter_map(|(text, _)| toml::from_str::<Table>(&text).ok());
    let table: Table = tables.flatten().filter(|(key, _)| !APPENDED.contains(&key.as_str())).collect();
    let path = |key: &str, default: PathBuf| match table.get(key).and_then(Value::as_str) {
        Some(path) if Path::new(path).is_absolute() => path.into(),
        _ => default,
    };
    let default = Places::default();
    Places {
        socket: path("socket", default.socket),
        state: path("state_dir", default.state),
        bpffs: path("bpffs_dir", default.bpffs),
    }
}

/// Why the files can't be trusted: somebody who is neither root nor the user of this process could change them.
#[must_use]
pub(crate) fn doubt(main: &Path) -> Option<Doubt> {
    let files = paths(main).unwrap_or_else(|_| vec![main.to_owned()]);
    let places = files.into_iter().chain([main.with_file_name(DIRECTORY)]);
    places.filter_map(|path| trust::find(&path, trust::own()).ok()?.doubt().cloned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salvaged(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("config.toml");
        fs::write(&main, text).unwrap();
        salvage(&main)
    }

    /// The protected ports, each with a mark if nobody may be let in.
    fn ports_of(text: &str) -> Vec<String> {
        let shown = |policy: &PortPolicy| match policy.allowed_sources.as_slice() {
            [] => format!("{} locked", policy.id),
            _ => policy.id.to_string(),
        };
        salvaged(text).ports.iter().map(shown).collect()
    }

    #[test]
    fn all_that_can_be_used_is_used() {
        let config = salvaged("mode = 'enforce'\ninterfaces = ['eth7']\nbreak_glass = ['192.0.2.7']\nno_such = 1");
        assert_eq!((config.mode, config.interfaces.to_string().as_str()), (Mode::Enforce, "eth7"));
        assert_eq!((config.break_glass.len(), config.ports.iter().count()), (1, 4));
        let config =
            salvaged("quota = 1\nstate_dir = '/srv/x'\n[roles]\nadmin = ['ann']\nviewer = ['@']\nowner = ['x']");
        assert_eq!(config.places.state, Path::new("/srv/x"));
        let named: Vec<_> = config.roles.into_iter().filter(|(_, names)| !names.is_empty()).collect();
        assert_eq!(named, [(Role::Admin, vec!["ann".to_owned()])]);
    }

    #[test]
    fn a_mode_that_can_not_be_read_enforces_unless_it_was_to_be_observe() {
        for text in [
            "port = [\n  mode = \"enforce\" # cut",
            "\u{0}\nmode='enforce'\n",
            "mode = 'enforce'\nmode = 'observe'",
            "mode = 'enfroce'",
            "mode = enforce",
            "mode = 1",
        ] {
            assert_eq!(salvaged(text).mode, Mode::Enforce, "{text:?}");
        }
        for text in [
            "",
            "# mode = 'enforce'\n[",
            "modes = 'enforce'\n[",
            "mode = 'observe'\n[",
            "mode = 'Observ'",
            "mode = observe",
        ] {
            assert_eq!(salvaged(text).mode, Mode::Observe, "{text:?}");
        }
    }

    #[test]
    fn of_several_files_the_value_that_keeps_most_shut_counts() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("config.toml");
        assert_eq!(salvage(&main).ports.iter().count(), 4);
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        fs::write(&main, "mode = 'observe'\nscope = 'local'\nfragments = 'pass'\nbreak_glass = ['192.0.2.7']").unwrap();
        let more =
            "mode = 'enforce'\nscope = 'local'\nfragments = 'drop'\nbreak_glass = ['192.0.2.0/24']\nretention = 1";
        fs::write(directory.path().join("conf.d/a.toml"), more).unwrap();
        let config = salvage(&main);
        assert_eq!((config.mode, config.scope, config.fragments), (Mode::Enforce, Scope::All, Fragments::Drop));
        assert_eq!((config.break_glass, config.retention), (Vec::new(), raw::DEFAULT_RETENTION));
    }

    #[test]
    fn a_port_that_can_not_be_read_is_locked_and_the_others_stay_as_written() {
        let good = "[[port]]\nnumber = 8022\nprotocol = 'tcp'\n";
        let with = |bad: &str| ports_of(&format!("{good}[[port]]\n{bad}"));
        assert_eq!(with("number = 22\nprotocol = 'tpc'"), ["22/any locked", "8022/tcp"]);
        assert_eq!(with("number = '22'\nprotocol = 'tcp'"), ["22/any locked", "8022/tcp"]);
        assert_eq!(with("number = 22\nprotocol = 'tcp'\naproval = 'required'"), ["22/any locked", "8022/tcp"]);
        assert_eq!(with("number = 22\nprotocol = 'tcp'\nquota = 0"), ["22/tcp locked", "8022/tcp"]);
        assert_eq!(with("number = 8022\nprotocol = 'any'"), ["8022/any locked"]);
        let defaults = ["22/tcp locked", "3389/any locked", "5985/tcp locked", "5986/tcp locked", "8022/tcp"];
        assert_eq!(with("number = 70000\nprotocol = 'tcp'"), defaults);
    }

    #[test]
    fn where_it_is_not_known_which_ports_were_meant_those_by_default_are_locked() {
        let defaults = ["22/tcp locked", "3389/any locked", "5985/tcp locked", "5986/tcp locked"];
        assert_eq!(ports_of("port = 22"), defaults);
        let misspelt = "[[prot]]\nnumber = 2222\nprotocol = 'tcp'\napproval = 'required'\n";
        let with_more = [&["22/tcp locked", "2222/any locked"], &defaults[1..]].concat();
        assert_eq!(ports_of(misspelt), with_more);
        let beside = ports_of(&format!("{misspelt}[[port]]\nnumber = 23\nprotocol = 'tcp'"));
        assert_eq!(beside, ["23/tcp", "2222/any locked"]);
        let cut = "[[port]]\nnumber = 2222\nprotocol = 'tcp'\napproval = required";
        assert_eq!(ports_of(cut), with_more);
        // Nothing is wrong with these ports.
        assert_eq!(ports_of("no_such = 1"), ["22/tcp", "3389/any", "5985/tcp", "5986/tcp"]);
        assert_eq!(ports_of("mode = 1"), ["22/tcp", "3389/any", "5985/tcp", "5986/tcp"]);
        assert_eq!(ports_of("mode = 1\nport = []"), [""; 0]);
    }

    #[test]
    fn entries_that_can_not_be_read_let_nobody_in_and_leave_nothing_out() {
        assert_eq!(salvaged("interfaces = ['eth7', 'a/b']").interfaces.to_string(), "eth7, auto");
        assert_eq!(salvaged("interfaces = 'eth7'").interfaces.to_string(), "auto");
        assert_eq!(salvaged("break_glass = ['192.0.2.7', 'host']").break_glass, []);
        assert_eq!(salvaged("scope = 'locl'").scope, Scope::All);
        assert_eq!(salvaged("fragments = 'passs'").fragments, Fragments::Drop);
    }

    #[test]
    fn nobody_but_admins_approves_while_it_is_not_known_who_is_one_person() {
        let roles = "[roles]\nadmin = ['ann']\napprover = ['bob']\n";
        let names = |text: &str| -> Vec<_> {
            salvaged(text).roles.into_iter().filter(|(_, names)| !names.is_empty()).map(|(role, _)| role).collect()
        };
        assert_eq!(names(&format!("mode = 1\n{roles}[people]\nbob = ['bob']")), [Role::Approver, Role::Admin]);
        assert_eq!(names(&format!("{roles}[people]\nbob = ['named:']")), [Role::Admin]);
    }

    #[test]
    fn places_are_found_in_whichever_file_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("config.toml");
        fs::write(&main, "enforce = true\nsocket = 'relative'").unwrap();
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        fs::write(directory.path().join("conf.d/50.toml"), "state_dir = '/srv/state'\nbogus = 1").unwrap();
        let places = salvage_places(&main);
        assert_eq!((places.state.as_path(), places.socket), (Path::new("/srv/state"), Places::default().socket));
        fs::write(directory.path().join("conf.d/50.toml"), "state_dir = ").unwrap();
        assert_eq!(salvage_places(&main), Places::default());
        assert_eq!(salvage_places(&directory.path().join("missing/x.toml")), Places::default());
    }
}
