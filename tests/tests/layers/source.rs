//! The modules of a package as its source has them, without those of tests, and what each of them names of the others.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Names from the package's root on; empty for the root itself.
pub(crate) type ModulePath = Vec<String>;

/// One module.
#[derive(Default)]
struct Module {
    children: Vec<String>,
    /// What its `use` lines bring in from this package, by the name that it gets.
    imports: BTreeMap<String, ModulePath>,
    /// All that it names of this package.
    references: Vec<ModulePath>,
}

/// The modules of one package.
pub(crate) struct Package(BTreeMap<ModulePath, Module>);

impl Package {
    /// Reads the package whose root is this file, and all modules that it declares.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut package = Self(BTreeMap::new());
        package.read_file(&[], root, root.parent().context("a root in no directory")?)?;
        Ok(package)
    }

    /// `directory` is where the module's children are.
    fn read_file(&mut self, path: &[String], file: &Path, directory: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let tokens = text.parse().map_err(|error| anyhow!("{}: {error}", file.display()))?;
        for child in self.read_tokens(path, tokens)? {
            let below = directory.join(&child);
            let file = [below.with_extension("rs"), below.join("mod.rs")].into_iter().find(|file| file.exists());
            let file = file.with_context(|| format!("{} has no module {child}", directory.display()))?;
            self.read_file(&joined(path, [child]), &file, &below)?;
        }
        Ok(())
    }

    /// Returns the children that stand in files of their own.
    fn read_tokens(&mut self, path: &[String], tokens: TokenStream) -> Result<Vec<String>> {
        self.0.entry(path.to_vec()).or_default();
        let tokens = without_tests(tokens);
        let mut in_files = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1);
            match (token, next) {
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "mod" => {
                    let name = name.to_string();
                    self.0.entry(path.to_vec()).or_default().children.push(name.clone());
                    match tokens.get(at + 2) {
                        Some(TokenTree::Group(body)) => {
                            let below = self.read_tokens(&joined(path, [name]), body.stream())?;
                            ensure!(below.is_empty(), "a file below an inline module of {path:?}");
                        }
                        _ => in_files.push(name),
                    }
                    at += 3;
                }
                (TokenTree::Ident(word), _) if word == "use" => {
                    let end =
                        tokens[at..].iter().position(|token| is_punct(token, ';')).map_or(tokens.len(), |n| at + n);
                    self.read_use(path, &[], &tokens[at + 1..end]);
                    at = end;
                }
                (TokenTree::Ident(_), _) => {
                    let (names, length) = path_at(&tokens[at..]);
                    if let Some(absolute) = self.absolute(path, &names) {
                        self.0.entry(path.to_vec()).or_default().references.push(absolute);
                    }
                    at += length;
                }
                (TokenTree::Group(group), _) => {
                    in_files.extend(self.read_tokens(path, group.stream())?);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        Ok(in_files)
    }

    /// One or several trees of a `use` line, behind the names in `before`.
    fn read_use(&mut self, path: &[String], before: &[String], tokens: &[TokenTree]) {
        for tree in tokens.split(|token| is_punct(token, ',')) {
            let (names, length) = path_at(tree);
            let names = joined(before, names);
            match &tree[length..] {
                [.., TokenTree::Group(group)] => {
                    self.read_use(path, &names, &group.stream().into_iter().collect::<Vec<_>>());
                }
                rest => {
                    let Some(absolute) = self.absolute(path, &names) else { continue };
                    let name = match rest {
                        [TokenTree::Ident(word), TokenTree::Ident(new)] if word == "as" => Some(new.to_string()),
                        [] => names.last().cloned(),
                        // All of it.
                        _ => None,
                    };
                    let module = self.0.entry(path.to_vec()).or_default();
                    module.references.push(absolute.clone());
                    module.imports.extend(name.map(|name| (name, absolute)));
                }
            }
        }
    }

    /// These names from the package's root on, if they are of this package.
    fn absolute(&self, path: &[String], names: &[String]) -> Option<ModulePath> {
        let (first, rest) = names.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some(joined(path, rest.iter().cloned())),
            "super" => {
                let mut from = path.to_vec();
                from.pop()?;
                let up = rest.iter().take_while(|name| *name == "super").count();
                from.truncate(from.len().checked_sub(up)?);
                Some(joined(&from, rest[up..].iter().cloned()))
            }
            _ if self.0[path].children.contains(first) => Some(joined(path, names.iter().cloned())),
            _ => None,
        }
    }

    /// The module that has what a path names, wherever that is passed on.
    fn owner(&self, named: &[String], depth: usize) -> ModulePath {
        let mut module = ModulePath::new();
        for (index, name) in named.iter().enumerate() {
            let below = joined(&module, [name.clone()]);
            if self.0.contains_key(&below) {
                module = below;
                continue;
            }
            return match self.0[&module].imports.get(name) {
                Some(target) if depth > 0 => self.owner(&joined(target, named[index + 1..].iter().cloned()), depth - 1),
                _ => module,
            };
        }
        module
    }

    /// Which module needs which other one beside it: the module that both are in, the one that needs, the needed one.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (ModulePath, String, String)> {
        self.0.iter().flat_map(move |(path, module)| {
            module.references.iter().filter_map(move |named| {
                let owner = self.owner(named, 16);
                let common = path.iter().zip(&owner).take_while(|(one, other)| one == other).count();
                Some((path[..common].to_vec(), path.get(common)?.clone(), owner.get(common)?.clone()))
            })
        })
    }

    /// The modules right below the root.
    pub(crate) fn top(&self) -> &[String] {
        &self.0[&ModulePath::new()].children
    }
}

/// The file that is a package's root.
pub(crate) fn root_of(directory: &Path) -> Result<PathBuf> {
    let files = ["src/lib.rs", "src/main.rs"].map(|file| directory.join(file));
    files.into_iter().find(|file| file.exists()).with_context(|| format!("{} has no root", directory.display()))
}

fn joined(path: &[String], names: impl IntoIterator<Item = String>) -> ModulePath {
    path.iter().cloned().chain(names).collect()
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// The names of the path that begins here, and how many tokens it takes with the `::` behind them.
fn path_at(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        names.push(name.to_string());
        at += 1;
        match tokens.get(at..at + 2) {
            Some([one, other]) if is_punct(one, ':') && is_punct(other, ':') => at += 2,
            _ => break,
        }
    }
    (names, at)
}

/// The tokens without what is compiled for tests only.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_for_tests = is_punct(&token, '#')
            && matches!(tokens.peek(), Some(TokenTree::Group(attribute)) if is_test_only(&attribute.stream()));
        if !is_for_tests {
            kept.push(token);
            continue;
        }
        // Its end, or the brace that closes it.
        let is_end = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            token => is_punct(token, ';') || is_punct(token, ','),
        };
        tokens.by_ref().find(is_end);
    }
    kept
}

fn is_test_only(attribute: &TokenStream) -> bool {
    let attribute: String = attribute.to_string().split_whitespace().collect();
    attribute == "cfg(test)" || attribute.starts_with("cfg(any(test,") || attribute.starts_with("cfg(all(test,")
}
