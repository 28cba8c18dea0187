//! The core of the agent: its state is grouped, and each group alone names its fields.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::root;

/// The largest number of methods of the core. Each method only combines groups.
const METHODS: usize = 40;

/// The tokens of all files of the core, without those of its tests.
fn core() -> Result<Vec<TokenTree>> {
    let mut tokens = Vec::new();
    let mut directories = vec![root().join("jit-agent/src/core")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("tests") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let of_file: TokenStream = text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
                tokens.extend(of_file);
            }
        }
    }
    Ok(tokens)
}

/// The contents of the braces that follow `keyword name`.
fn blocks<'tokens>(tokens: &'tokens [TokenTree], keyword: &str, name: &str) -> Vec<&'tokens Group> {
    let found = tokens.windows(3).filter_map(|three| match three {
        [TokenTree::Ident(first), TokenTree::Ident(second), TokenTree::Group(group)]
            if first == keyword && second == name && group.delimiter() == Delimiter::Brace =>
        {
            Some(group)
        }
        _ => None,
    });
    found.collect()
}

fn is(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

#[test]
fn the_core_has_few_methods_and_they_only_combine_groups() -> Result<()> {
    let tokens = core()?;
    let of_core = blocks(&tokens, "impl", "Core");
    let methods = of_core.iter().flat_map(|block| block.stream()).filter(|token| is(token, "fn")).count();
    assert!((1..=METHODS).contains(&methods), "the core has {methods} methods; a group should have some of them");
    Ok(())
}

#[test]
fn each_group_of_the_cores_state_keeps_its_fields_to_itself() -> Result<()> {
    let tokens = core()?;
    let [core] = blocks(&tokens, "struct", "Core")[..] else { anyhow::bail!("there is no struct Core") };
    let mut groups = 0;
    let types = core.stream().into_iter().filter_map(|token| match token {
        TokenTree::Ident(word) if word.to_string().starts_with(char::is_uppercase) => Some(word.to_string()),
        _ => None,
    });
    for name in types {
        for group in blocks(&tokens, "struct", &name) {
            groups += 1;
            assert!(!group.stream().into_iter().any(|token| is(&token, "pub")), "a field of {name} is not private");
        }
    }
    assert!(groups >= 7, "{groups} groups were found");
    Ok(())
}
