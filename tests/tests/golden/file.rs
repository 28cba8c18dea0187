//! The texts, and what a difference from them looks like.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
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
        "this differs from tests/golden/{name} (-: expected, +: found)\n{difference}\nif that is meant: {UPDATE}=1 cargo \
         test -p jit-tests --test golden, then look through `git diff tests/golden`"
    );
}

/// Where two texts begin to differ, with the lines around.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(expected, found)| expected == found).count();
    let rest = (&expected[same..], &found[same..]);
    let end = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(expected, found)| expected == found).count();
    let mut text = format!("line {}:\n", same + 1);
    let mut add = |mark: char, lines: &[&str], most: usize| {
        for line in lines.iter().take(most) {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{mark} {line}");
        }
        if lines.len() > most && mark != ' ' {
            let _ = writeln!(text, "{mark} ({} more lines)", lines.len() - most);
        }
    };
    add(' ', &expected[same.saturating_sub(CONTEXT)..same], CONTEXT);
    add('-', &expected[same..expected.len() - end], SHOWN);
    add('+', &found[same..found.len() - end], SHOWN);
    add(' ', &expected[expected.len() - end..], CONTEXT);
    text
}

#[test]
fn a_difference_is_shown_with_the_lines_around_it() {
    let shown = difference("a\nb\nc\nd\ne\nf\ng\nh\ni", "a\nb\nc\nd\nE\ng\nh\ni");
    assert_eq!(shown, "line 5:\n  b\n  c\n  d\n- e\n- f\n+ E\n  g\n  h\n  i\n");
    assert_eq!(difference("a\nb", "a"), "line 2:\n  a\n- b\n");
    let long = "x\n".repeat(50);
    assert!(difference("", &long).ends_with("+ x\n+ (30 more lines)\n"));
}

#[test]
fn a_text_that_is_missing_is_named_with_what_makes_it() {
    if !updates("1") {
        let error = check("no-such-file.txt", "").unwrap_err().to_string();
        assert!(error.contains("tests/golden/no-such-file.txt") && error.contains("JIT_UPDATE_GOLDEN=1"), "{error}");
    }
}
