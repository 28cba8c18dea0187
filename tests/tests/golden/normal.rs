//! Placeholders for what differs from run to run and from machine to machine.

use serde_json::Value;

/// The version of this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shapes of words, with `0` for a digit and `x` for a hexadecimal one, and what takes their place. The first that fits
/// counts.
const SHAPES: [(&str, &str); 6] = [
    ("0000-00-00T00:00:00", "{time}"),
    ("0000-00-00 00:00:00", "{time}"),
    ("00:00:00", "{time}"),
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "{uuid}"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "{hash}"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "{hash}"),
];
/// What stands around spans of time that are still left, and around names of links.
const LEFT: [(&str, &str); 3] = [("(in ", ")"), ("on trial for ", "\n"), ("/link-", "\n")];

/// Fields of JSON whose values depend on the moment, on the kernel or on foreign packets.
const FIELDS: [&str; 9] = [
    "remainingSeconds",
    "remaining",
    "packets",
    "index",
    "attached",
    "how",
    "note",
    "coveredAfterMs",
    "covered_after_ms",
];

/// The text without the version that it is of.
pub(crate) fn versionless(text: &str) -> String {
    text.replace(VERSION, "{version}")
}

/// What `jitctl` or the agent said, as it is said always and everywhere.
pub(crate) fn normal(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) if value.is_object() || value.is_array() => {
            forget(&mut value);
            words(&format!("{value:#}\n"))
        }
        _ => tables(&columns(&words(text))),
    }
}

/// Puts placeholders for values of fields that depend on the moment.
fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if FIELDS.contains(&name.as_str()) && !value.is_object() {
                    *value = "{any}".into();
                }
                forget(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        _ => {}
    }
}

/// The text with placeholders for times and the like.
pub(crate) fn words(text: &str) -> String {
    let text = versionless(text);
    let (mut rest, mut normal) = (text.as_str(), String::new());
    let mut within_word = false;
    while let Some(next) = rest.chars().next() {
        let shape = SHAPES.iter().filter(|_| !within_word).find(|(shape, _)| fits(rest, shape));
        if let Some((shape, name)) = shape {
            normal.push_str(name);
            rest = &rest[shape.len()..];
            if name == &"{time}" {
                rest = without_fraction(rest);
            }
            within_word = true;
            continue;
        }
        if let Some(address) = link_local(rest).filter(|_| !within_word) {
            normal.push_str("{link-local}");
            rest = &rest[address..];
            continue;
        }
        let span = LEFT.iter().find_map(|(before, after)| {
            let inner = rest.strip_prefix(before)?;
            Some((before, inner, inner.find(after)?))
        });
        if let Some((before, inner, end)) = span {
            normal.push_str(before);
            normal.push_str("{any}");
            rest = &inner[end..];
            continue;
        }
        within_word = next.is_ascii_alphanumeric();
        normal.push(next);
        rest = &rest[next.len_utf8()..];
    }
    normal
}

/// Whether the text starts with a word of this shape.
fn fits(text: &str, shape: &str) -> bool {
    let text = text.as_bytes();
    let alike = |(at, shape): (usize, &u8)| match (text.get(at), shape) {
        (Some(found), b'0') => found.is_ascii_digit(),
        (Some(found), b'x') => found.is_ascii_digit() || matches!(found, b'a'..=b'f'),
        (found, wanted) => found == Some(wanted),
    };
    let ends = || shape.starts_with('0') || !text.get(shape.len()).is_some_and(u8::is_ascii_alphanumeric);
    shape.as_bytes().iter().enumerate().all(alike) && ends()
}

/// How long the address is that the text starts with, if the kernel made it out of that of a device.
fn link_local(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && c != ':').unwrap_or(text.len());
    (text.starts_with("fe80::") && text[..end].contains("ff:fe")).then_some(end)
}

/// What follows the fraction of a second and the mark of UTC.
fn without_fraction(text: &str) -> &str {
    let text = text.strip_prefix('.').map_or(text, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    text.strip_prefix('Z').unwrap_or(text)
}

/// Columns two spaces apart, since a placeholder is not as wide as what it stands for.
fn columns(text: &str) -> String {
    let mut normal = String::new();
    for line in text.lines() {
        let words = line.trim_start();
        normal.push_str(&line[..line.len() - words.len()]);
        let columns = words.split("  ").map(str::trim).filter(|column| !column.is_empty());
        normal.push_str(&columns.collect::<Vec<_>>().join("  "));
        normal.push('\n');
    }
    normal
}

/// The tables of `jitctl status` without what the kernel and foreign packets decide.
fn tables(text: &str) -> String {
    let (mut normal, mut within) = (String::new(), "");
    for line in text.lines() {
        if within == "packets" && !line.is_empty() {
            continue;
        }
        let name = line.split("  ").next().unwrap_or_default();
        // How the program is attached, and why not in a better way.
        if within == "interface" && line.contains(": no native XDP") {
            continue;
        }
        let shown = match (within, name) {
            ("interface", name) if !name.is_empty() && !line.starts_with('-') => format!("{name}  {{any}}"),
            (_, "packets" | "no packets yet") => "{packets}".to_owned(),
            _ => line.to_owned(),
        };
        within = match name {
            "" => "",
            "packets" | "no packets yet" => "packets",
            "interface" => "interface",
            _ => within,
        };
        normal.push_str(&shown);
        normal.push('\n');
    }
    normal
}

#[test]
fn only_what_differs_from_run_to_run_is_replaced() {
    let hash = "0123456789abcdef".repeat(4);
    for (text, expected) in [
        ("until 22:28:03 (in 9 min 59 s), grant 1".to_owned(), "until {time} (in {any}), grant 1\n"),
        ("a    2026-07-30 22:28:03    b".to_owned(), "a  {time}  b\n"),
        ("  2001:db8::10  fe80::1:22".to_owned(), "  2001:db8::10  fe80::1:22\n"),
        ("packets  verdict\n    4  passed\n\nend\n".to_owned(), "{packets}\n\nend\n"),
        ("interface  index\nsrv0    2\n\nend\n".to_owned(), "interface  index\nsrv0  {any}\n\nend\n"),
        ("on fe80::e4f9:afff:fe16:8783/64, fe80::1".to_owned(), "on {link-local}/64, fe80::1\n"),
        (format!("head 7:{hash}"), "head 7:{hash}\n"),
        (format!("{hash}0"), "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0\n"),
        (
            "{\"a\": \"2026-07-30T22:28:03.25Z\", \"remaining\": 7}".to_owned(),
            "{\n  \"a\": \"{time}\",\n  \"remaining\": \"{any}\"\n}\n",
        ),
    ] {
        assert_eq!(normal(&text), expected, "{text}");
    }
}
