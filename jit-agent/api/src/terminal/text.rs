//! Words for times, ports and sources, and the guard against what a terminal would obey.

use std::{fmt::Write as _, time::Duration};

use ipnet::IpNet;
use jiff::{Timestamp, Zoned};
use jit_policy::{Span, single_address, text::is_invisible};

use super::Surroundings;

/// A text with everything escaped that a terminal would obey or hide: control characters, direction marks, invisible
/// characters. Others wrote the text, and it must not be able to rewrite the screen.
#[must_use]
pub fn sanitised(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if c.is_control() || is_invisible(c) => escape(&mut safe, c),
            c => safe.push(c),
        }
    }
    safe
}

fn escape(safe: &mut String, c: char) {
    // Writing to a string does not fail.
    let _ = write!(safe, "{}", c.escape_unicode());
}

/// A span in its two largest units, like `29 min 50 s`.
#[must_use]
pub fn span(duration: Duration) -> String {
    Span(duration).brief().to_string()
}

/// A span as the API writes it, like `PT3H`, in words. A text that is not a span stays as it is.
#[must_use]
pub fn iso_span(text: &str) -> String {
    Span::of_iso(text).map_or_else(|| sanitised(text), |span| span.brief().to_string())
}

/// A moment in the local zone, with the date if that is not today.
#[must_use]
pub fn moment(moment: Timestamp, surroundings: &Surroundings) -> String {
    let today = Zoned::new(surroundings.now, surroundings.zone.clone()).date();
    let local = Zoned::new(moment, surroundings.zone.clone());
    let format = if local.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    local.strftime(format).to_string()
}

/// A port, like `22/tcp`.
#[must_use]
pub fn port(number: u16, protocol: &str) -> String {
    let protocol = if protocol == "*" { "any".to_owned() } else { sanitised(&protocol.to_lowercase()) };
    format!("{number}/{protocol}")
}

/// A source as text: an address alone if the prefix holds just one. A text that is not a prefix stays as it is.
#[must_use]
pub fn source(text: &str) -> String {
    text.parse().map_or_else(|_| sanitised(text), |parsed| prefix(&parsed))
}

/// A source: an address alone if the prefix holds just one.
#[must_use]
pub fn prefix(source: &IpNet) -> String {
    single_address(source).map_or_else(|| source.to_string(), |address| address.to_string())
}

/// A number and what it counts.
#[must_use]
pub fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let table = [
            ("plain, ünïcode 日本", "plain, ünïcode 日本"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("exe\u{202e}fdp", "exe\\u{202e}fdp"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
        ];
        for (given, safe) in table {
            assert_eq!(sanitised(given), safe, "{given:?}");
        }
    }

    #[test]
    fn a_single_address_has_no_prefix_length() {
        assert_eq!(source("192.0.2.7/32"), "192.0.2.7");
        assert_eq!(source("2001:db8::7/128"), "2001:db8::7");
        assert_eq!(source("2001:db8::/64"), "2001:db8::/64");
        assert_eq!(source("\u{1b}"), "\\u{1b}");
    }
}
