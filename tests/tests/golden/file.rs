//! The texts, and what a difference from them looks like.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    ops::Range,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

/// Where the texts are.
pub(crate) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
const UPDATE: &str = "JIT_UPDATE_GOLDEN";
/// Lines before and behind a difference.
const CONTEXT: usize = 3;
/// Lines of a difference that are shown of either text.
const SHOWN: usize = 20;
/// Differences that are shown.
const PLACES: usize = 3;

/// Whether it was asked to write anew: `1` the texts, `past` what this version leaves behind.
pub(crate) fn updates(what: &str) -> bool {
    env::var_os(UPDATE).is_some_and(|value| value == what)
}

/// Holds `found` against the text of this name, or puts it in its place where that was asked for.
pub(crate) fn check(name: &str, found: &str) -> Result<()> {
    let path = Path::new(DIRECTORY).join(name);
    let expected = fs::read_to_string(&path).ok();
    if expected.as_deref() == Some(found) {
        return Ok(());
    }
    if updates("1") {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, found).with_context(|| format!("cannot write {}", path.display()))?;
        // Not by a macro, which the test harness would keep to itself.
        return Ok(writeln!(io::stderr(), "{UPDATE}: wrote {}", path.display())?);
    }
    let difference = expected.map_or_else(|| "there is no such file\n".to_owned(), |text| difference(&text, found));
    bail!(
        "this differs from tests/golden/{name} (-: expected, +: found)\n{difference}\nif that is meant, as root: cargo \
         build && {UPDATE}=1 cargo test -p jit-tests --test golden, and look through `git diff tests/golden`"
    );
}

/// Where two texts differ, with the lines around.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let (mut text, mut places, mut at) = (String::new(), 0, (0, 0));
    while let Some((gone, come)) = next_difference(&expected, &found, at) {
        at = (gone.end, come.end);
        places += 1;
        if places > PLACES {
            continue;
        }
        let before = &expected[gone.start.saturating_sub(CONTEXT)..gone.start];
        let after = &expected[gone.end..expected.len().min(gone.end + CONTEXT)];
        // Writing to a string can't fail.
        let _ = writeln!(text, "line {}:", gone.start + 1);
        for (mark, lines) in [(' ', before), ('-', &expected[gone]), ('+', &found[come]), (' ', after)] {
            for line in lines.iter().take(SHOWN) {
                let _ = writeln!(text, "{mark} {line}");
            }
            if let Some(more @ 1..) = lines.len().checked_sub(SHOWN) {
                let _ = writeln!(text, "{mark} ({more} more lines)");
            }
        }
    }
    if let Some(more @ 1..) = places.checked_sub(PLACES) {
        let _ = writeln!(text, "and in {more} more places");
    }
    text
}

/// The lines in which two texts differ next from these lines on, up to where they agree again for some lines.
fn next_difference(expected: &[&str], found: &[&str], from: (usize, usize)) -> Option<(Range<usize>, Range<usize>)> {
    let (expected_rest, found_rest) = (&expected[from.0..], &found[from.1..]);
    let same = expected_rest.iter().zip(found_rest).take_while(|(expected, found)| expected == found).count();
    let (expected_rest, found_rest) = (&expected_rest[same..], &found_rest[same..]);
    if expected_rest.is_empty() && found_rest.is_empty() {
        return None;
    }
    let agree = |gone: usize, come: usize| match (expected_rest.get(gone..), found_rest.get(come..)) {
        (Some(expected), Some(found)) => expected[..expected.len().min(CONTEXT)] == found[..found.len().min(CONTEXT)],
        _ => false,
    };
    let all = expected_rest.len() + found_rest.len();
    let pairs = (1..=all).flat_map(|lines| (0..=lines).map(move |gone| (gone, lines - gone)));
    let (gone, come) =
        pairs.filter(|(gone, _)| *gone <= expected_rest.len()).find(|(gone, come)| agree(*gone, *come))?;
    let (expected_from, found_from) = (from.0 + same, from.1 + same);
    Some((expected_from..expected_from + gone, found_from..found_from + come))
}

#[test]
fn a_difference_is_shown_with_the_lines_around_it() {
    let shown = difference("a\nb\nc\nd\ne\nf\ng\nh\ni", "a\nb\nc\nd\nE\ng\nh\ni");
    assert_eq!(shown, "line 5:\n  b\n  c\n  d\n- e\n- f\n+ E\n  g\n  h\n  i\n");
    assert_eq!(difference("a\nb", "a"), "line 2:\n  a\n- b\n");
    assert_eq!(difference("", "a"), "line 1:\n+ a\n");
    let long = "x\n".repeat(50);
    assert!(difference("", &long).ends_with("+ x\n+ (30 more lines)\n"));
    let numbers = |step: usize| (0..50).map(move |number| format!("{}\n", if number % step == 0 { 0 } else { number }));
    let shown = difference(&numbers(10).collect::<String>(), &numbers(50).collect::<String>());
    assert!(shown.starts_with("line 11:\n  7\n  8\n  9\n- 0\n+ 10\n  11\n"), "{shown}");
    assert!(shown.ends_with("  33\nand in 1 more places\n"), "{shown}");
}

#[test]
fn a_text_that_is_missing_is_named_with_what_makes_it() {
    if !updates("1") {
        let error = check("no-such-file.txt", "").unwrap_err().to_string();
        assert!(error.contains("tests/golden/no-such-file.txt") && error.contains("JIT_UPDATE_GOLDEN=1"), "{error}");
    }
}
