//! The last accepted configuration: the value of every key, and the version of the agent that accepted it. A start
//! compares the files with it, and uses it if the files are broken.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Config, checksummed, mark};

const NAME: &str = "accepted-config.toml";
/// The key of what is said about the configuration.
const ABOUT: &str = "accepted";
/// The keys that a start needs before it can find what was accepted.
const PLACES: [&str; 3] = ["socket", "state_dir", "bpffs_dir"];
/// The defaults of version 0.1, whose records have only the keys that a file had.
const FIRST_DEFAULTS: &str = "
    mode = 'observe'
    interfaces = ['auto']
    scope = 'all'
    fragments = 'pass'
    port = [
        { number = 22, protocol = 'tcp' },
        { number = 3389, protocol = 'any' },
        { number = 5985, protocol = 'tcp' },
        { number = 5986, protocol = 'tcp' },
    ]
";

/// The configuration that was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The configuration.
    pub(crate) config: Config,
    /// The keys that no file had, so that their values are the defaults of that time. See [`absent`].
    pub(crate) absent: BTreeSet<String>,
    /// Whether the agent's own file was among the files.
    pub(crate) own: bool,
}

/// What the record says about the configuration.
#[derive(Deserialize, Serialize)]
struct About {
    /// The version of the agent that accepted the configuration.
    version: String,
    /// The keys that no file had.
    defaults: BTreeSet<String>,
    /// Whether the agent's own file was among the files.
    #[serde(default)]
    own: bool,
}

/// The keys that a configuration could have and that a text does not have: `scope`, or `22/tcp quota`. Without a list of
/// ports, only `port` is absent.
pub(super) fn absent(table: &Table, config: &Config) -> BTreeSet<String> {
    let mut absent = BTreeSet::new();
    for (key, value) in config.written() {
        let is_known = PLACES.contains(&key.as_str()) || key == "roles" || key == "people";
        match table.get(&key) {
            None if !is_known => drop(absent.insert(key)),
            Some(Value::Array(given)) if key == "port" => {
                for policy in tables(Some(&value)) {
                    let Some(given) =
                        given.iter().filter_map(Value::as_table).find(|given| is_same_port(given, policy))
                    else {
                        continue;
                    };
                    let lacking = policy.keys().filter(|key| !given.contains_key(*key));
                    absent.extend(lacking.map(|key| name(policy, key)));
                }
            }
            _ => {}
        }
    }
    absent
}

/// Adds the keys that a text lacks, if no file had them either when they were accepted. So a new version of the agent
/// with another default changes nothing by itself.
pub(super) fn keep_defaults(table: &mut Table, accepted: &Accepted) {
    let values = accepted.config.written();
    for (key, value) in &values {
        if accepted.absent.contains(key) && !table.contains_key(key) {
            table.insert(key.clone(), value.clone());
        }
    }
    let Some(Value::Array(ports)) = table.get_mut("port") else { return };
    for port in ports.iter_mut().filter_map(Value::as_table_mut) {
        let Some(known) = tables(values.get("port")).find(|known| is_same_port(port, known)) else { continue };
        for (key, value) in known {
            if accepted.absent.contains(&name(known, key)) && !port.contains_key(key) {
                port.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The keys whose values differ between two configurations, by the names that [`absent`] uses.
pub(super) fn differing(one: &Config, other: &Config) -> BTreeSet<String> {
    let (one, other) = (one.written(), other.written());
    let mut differing: BTreeSet<String> = one.keys().filter(|key| one.get(*key) != other.get(*key)).cloned().collect();
    let ports = tables(one.get("port"));
    differing.extend(ports.flat_map(|port| {
        let known = tables(other.get("port")).find(|known| is_same_port(port, known));
        let is_other = move |key: &&String| known.is_some_and(|known| known.get(*key) != port.get(*key));
        port.keys().filter(is_other).map(|key| name(port, key)).collect::<Vec<_>>()
    }));
    differing
}

fn tables(ports: Option<&Value>) -> impl Iterator<Item = &Table> {
    ports.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn is_same_port(one: &Table, other: &Table) -> bool {
    ["number", "protocol"].iter().all(|key| one.get(*key) == other.get(*key))
}

fn name(port: &Table, key: &str) -> String {
    let part = |key: &str| port.get(key).map(Value::to_string).unwrap_or_default().replace('"', "");
    format!("{}/{} {key}", part("number"), part("protocol"))
}

/// Keeps a configuration that is in force now. What root accepted before by hand is used up.
pub(crate) fn remember(state: &Path, accepted: &Accepted) -> anyhow::Result<()> {
    let Accepted { config, absent, own } = accepted;
    let about = About { version: env!("CARGO_PKG_VERSION").to_owned(), defaults: absent.clone(), own: *own };
    let mut table = config.written();
    table.insert(ABOUT.to_owned(), Value::try_from(about).context("writing down what was accepted")?);
    checksummed::write(state, NAME, &table.to_string())?;
    mark::clear(state)
}

/// The error of [`remember`] as text for people.
pub(crate) fn not_kept(error: &anyhow::Error) -> String {
    format!("the accepted configuration could not be kept for the next start: {error:#}")
}

/// The configuration that was kept last; `None`: this is the first start.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Option<Accepted>> {
    let Some(text) = checksummed::read_if_any(state, NAME)? else { return Ok(None) };
    let shown = || state.join(NAME).display().to_string();
    let mut table: Table = toml::from_str(&text).with_context(shown)?;
    let about: Option<About> = table.remove(ABOUT).map(Value::try_into).transpose().with_context(shown)?;
    let (absent, own) = match about {
        Some(about) => (about.defaults, about.own),
        None => {
            let given = table.clone();
            for (key, value) in toml::from_str::<Table>(FIRST_DEFAULTS).unwrap_or_default() {
                table.entry(key).or_insert(value);
            }
            (absent(&given, &Config::parse(&table.to_string(), &shown())?), false)
        }
    };
    Ok(Some(Accepted { config: Config::parse(&table.to_string(), &shown())?, absent, own }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn accepted(text: &str) -> Accepted {
        let config = Config::parse(text, "").unwrap();
        let absent = absent(&toml::from_str(text).unwrap(), &config);
        Accepted { config, absent, own: false }
    }

    #[test]
    fn what_was_accepted_is_recalled_and_what_was_changed_since_is_not() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(recall(state.path()).unwrap(), None);
        let kept = accepted("interfaces = ['eth0']\n[[port]]\nnumber = 22\nprotocol = 'tcp'\nquota = 5");
        remember(state.path(), &kept).unwrap();
        assert_eq!(recall(state.path()).unwrap(), Some(kept));

        let path = state.path().join(NAME);
        let edited = fs::read_to_string(&path).unwrap().replace("eth0", "eth1");
        fs::write(&path, edited).unwrap();
        let error = recall(state.path()).unwrap_err().to_string();
        assert!(error.contains("does not match its checksum"), "{error}");
    }

    #[test]
    fn of_what_the_first_version_accepted_absent_keys_mean_its_defaults() {
        let state = tempfile::tempdir().unwrap();
        checksummed::write(state.path(), NAME, "mode = 'enforce'\n").unwrap();
        let recalled = recall(state.path()).unwrap().unwrap();
        let written = Config::parse(&format!("{FIRST_DEFAULTS}\nroles = {{}}"), "").unwrap();
        assert_eq!(recalled.config, Config { mode: recalled.config.mode, ..written });
        assert!(recalled.absent.contains("scope") && recalled.absent.contains("port"), "{:?}", recalled.absent);
        assert!(!recalled.absent.contains("mode") && !recalled.absent.contains("state_dir"), "{:?}", recalled.absent);
    }

    #[test]
    fn a_key_that_no_file_ever_had_keeps_the_default_under_which_it_was_accepted() {
        let port = "[[port]]\nnumber = 22\nprotocol = 'tcp'";
        // The values of the record are not the defaults of this version.
        let then = accepted(&format!("scope = 'local'\n{port}\nquota = 5\n"));
        let then = Accepted { absent: ["scope", "22/tcp quota"].map(str::to_owned).into(), ..then };
        let filled = |text: &str| {
            let mut table = toml::from_str(text).unwrap();
            keep_defaults(&mut table, &then);
            Config::parse(&table.to_string(), "").unwrap()
        };
        let kept = filled(port);
        assert_eq!(kept, then.config);
        let names: Vec<String> = differing(&kept, &Config::parse(port, "").unwrap()).into_iter().collect();
        assert_eq!(names, ["22/tcp quota", "port", "scope"]);
        // Written keys count, and so do keys that were written before and are not written any more.
        assert_eq!(filled(&format!("scope = 'all'\n{port}\nquota = 6")).scope, jit_policy::Scope::All);
        let written = Accepted { absent: BTreeSet::new(), ..then.clone() };
        let mut table = toml::from_str(port).unwrap();
        keep_defaults(&mut table, &written);
        assert_eq!(Config::parse(&table.to_string(), "").unwrap(), Config::parse(port, "").unwrap());
    }
}
