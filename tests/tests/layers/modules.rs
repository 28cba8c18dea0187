//! Modules within the packages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::{
    is_above, root,
    source::{Package, root_of},
    table,
};

/// All packages whose modules are looked at, by their directories.
const PACKAGES: [&str; 7] =
    ["jit-common", "jit-ebpf", "jit-agent/policy", "jit-agent/api", "jit-agent/ctl", "jit-agent", "xtask"];

/// Modules side by side that need each other today, by the module that they are in. The list may only become shorter.
const INTERTWINED: [(&str, &[&str]); 3] = [
    ("jit-agent/api", &["schema", "wire"]),
    ("jit-agent/ctl", &["args", "parse", "ports"]),
    ("jit-agent::store", &["audit", "error", "file", "rows"]),
];

/// Which need which.
type Needs = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_daemons_modules_need_only_those_below_them_in_the_table() -> Result<()> {
    let rows = table("module")?;
    let package = Package::read(&root_of(&root().join("jit-agent"))?)?;
    for module in package.top() {
        assert!(rows.contains(module), "jit-agent has a module {module}, and docs/architecture.md no row for it");
    }
    let mut wrong = BTreeSet::new();
    for (_, upper, lower) in package.needs().filter(|(within, ..)| within.is_empty()) {
        if !is_above(&rows, &upper, &lower)? {
            wrong.insert(format!("{upper} needs {lower}, which is not below it"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn modules_side_by_side_do_not_need_each_other() -> Result<()> {
    let mut wrong = Vec::new();
    for name in PACKAGES {
        let package = Package::read(&root_of(&root().join(name))?)?;
        let mut by_place: BTreeMap<_, Needs> = BTreeMap::new();
        for (within, upper, lower) in package.needs() {
            by_place.entry(within).or_default().entry(upper).or_default().insert(lower);
        }
        for (within, needs) in by_place {
            let place = [&[name.to_owned()], &within[..]].concat().join("::");
            let known = INTERTWINED.iter().find(|(known, _)| *known == place).map_or(&[][..], |(_, known)| known);
            let found = intertwined(&needs);
            let known: BTreeSet<String> = known.iter().map(|module| (*module).to_owned()).collect();
            if found != known {
                let edges: Vec<_> = needs
                    .iter()
                    .filter(|(upper, _)| found.contains(*upper))
                    .map(|(upper, lower)| format!("{upper} -> {:?}", lower.intersection(&found).collect::<Vec<_>>()))
                    .collect();
                wrong.push(format!("{place}, which the list has as {known:?}: {edges:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these modules need each other, and the list says otherwise:\n{}", wrong.join("\n"));
    Ok(())
}

/// All that come back to themselves.
fn intertwined(needs: &Needs) -> BTreeSet<String> {
    let comes_back = |start: &&String| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = needs[*start].iter().collect();
        while let Some(module) = open.pop() {
            if seen.insert(module) {
                open.extend(needs.get(module).into_iter().flatten());
            }
        }
        seen.contains(start)
    };
    needs.keys().filter(comes_back).cloned().collect()
}
