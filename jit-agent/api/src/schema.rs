//! Schemas of values that Rust's types say too little about: `#[schema(value_type = schema::Source)]` on a field names
//! a schema. The types here have no values.

use jit_common::{abi, reason};
use jit_policy::{Protocol, RequestState, Way, Word};
pub use jit_policy::{Span as Duration, schema::Source};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{Object, ObjectBuilder, SchemaFormat, Type},
    },
};

use crate::wire::{self, LONGEST_NAME, LONGEST_REQUESTOR, LONGEST_TEXT};

/// The pattern of a text without control characters.
const ONE_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// The pattern of a port number.
const PORT: &str = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

macro_rules! schemas {
    ($($(#[doc = $text:literal])+ $name:ident: $schema:expr;)+) => {$(
        $(#[doc = $text])+
        #[derive(Debug)]
        pub enum $name {}

        impl ToSchema for $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let description = concat!($($text),+).trim();
                RefOr::T($schema.description(Some(description)).build().into())
            }
        }
    )+};
}

schemas! {
    /// An IPv4 or IPv6 address.
    Address: text("ip", "192.0.2.7");
    /// A source address and the port to which it is connected, with a blank between.
    Connection: text_like(connection(), "192.0.2.7 22");
    /// What a reload may open: a port, all ports, an interface, or all ports for some packets.
    Opening: text_like(opening(), "22/tcp");
    /// What the agent itself set: the mode, or the policy of a port.
    OwnSetting: text_like(own_setting(), "22/tcp");
    /// A time in RFC 3339.
    Time: text("date-time", "2030-01-31T17:30:00Z");
    /// Text on one line.
    Line: line().max_length(Some(LONGEST_TEXT));
    /// Name of a user.
    User: line().min_length(Some(1)).max_length(Some(LONGEST_NAME));
    /// In whose name a delegate asks: printable characters, without spaces at the ends.
    Requestor: printable().min_length(Some(1)).max_length(Some(LONGEST_REQUESTOR));
    /// Which requests: those that wait for approval.
    Waiting: word([RequestState::Pending.name()]);
    /// A protocol as paths have it.
    PathProtocol: word(Protocol::ALL.map(Protocol::name));
    /// How the rows of the audit log are written.
    AuditFormat: words::<wire::AuditFormat>();
    /// Nothing but true.
    True: ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true]));
    /// Number of a port.
    PortNumber: ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u16::MAX));
    /// Protocol of a packet.
    Transport: words::<abi::Transport>();
    /// Whether drops are carried out.
    Mode: words::<abi::Mode>();
    /// What is done with a packet.
    Verdict: words::<reason::Verdict>();
    /// Name of the cause of a verdict.
    Cause: words::<reason::Reason>();
    /// How an interface is covered.
    Attachment: words::<Way>();
    /// What the packets of an interface begin with.
    Layer: words::<jit_policy::Layer>();
}

/// The schema of a text with a format, and an example of such a text.
fn text(format: &str, example: &str) -> ObjectBuilder {
    let format = SchemaFormat::Custom(format.to_owned());
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).examples([example])
}

/// The schema of a text with a pattern, and an example of such a text.
fn text_like(pattern: String, example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example])
}

/// The schema of objects that hold what each of these schemas of objects describes.
pub(crate) fn merged(description: &str, parts: impl IntoIterator<Item = RefOr<Schema>>) -> RefOr<Schema> {
    let mut merged: Object = ObjectBuilder::new().schema_type(Type::Object).description(Some(description)).build();
    for part in parts {
        if let RefOr::T(Schema::Object(part)) = part {
            merged.properties.extend(part.properties);
            merged.required.extend(part.required);
        }
    }
    RefOr::T(merged.into())
}

/// The patterns of IPv4 and of IPv6 addresses.
fn addresses() -> (String, String) {
    const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let v4 = format!(r"{BYTE}(\.{BYTE}){{3}}");
    // The alternatives differ in how many groups come before `::`; each may end in an IPv4 address, in place of two
    // groups.
    let mut v6 = vec![format!("({GROUP}:){{7}}{GROUP}"), format!("({GROUP}:){{6}}{v4}")];
    for before in 0..=7_usize {
        let head = match before {
            0 => "::".to_owned(),
            before => format!("{GROUP}(:{GROUP}){{{}}}::", before - 1),
        };
        let after = 7 - before;
        let mut ends = Vec::new();
        if after > 0 {
            ends.push(format!("{GROUP}(:{GROUP}){{0,{}}}", after - 1));
        }
        if after > 1 {
            ends.push(format!("({GROUP}:){{0,{}}}{v4}", after - 2));
        }
        v6.push(if ends.is_empty() { head } else { format!("{head}({})?", ends.join("|")) });
    }
    (v4, v6.join("|"))
}

/// The pattern of the texts that [`Session::of_header`](crate::wire::Session::of_header) reads, and of no others.
fn connection() -> String {
    let (v4, v6) = addresses();
    format!("^({v4}|{v6}) {PORT}$")
}

/// The pattern of the names that [`Reload::check`](crate::wire::Reload::check) accepts, and of hardly any others.
/// A protocol as a port's name has it.
const PROTOCOL: &str = r"([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Aa][Nn][Yy]|\*|sctp)";

fn own_setting() -> String {
    format!("^({PORT}(/{PROTOCOL})?|mode)$")
}

fn opening() -> String {
    let (v4, v6) = addresses();
    let prefix = format!("({v4}(/(3[0-2]|[12]?[0-9]))?|({v6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)");
    let interface = r"interface=[^/\x00-\x20\x7f]{1,15}";
    format!("^({PORT}(/{PROTOCOL})?|mode=observe|scope=local|fragments=pass|{interface}|break_glass={prefix})$")
}

fn line() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(ONE_LINE))
}

/// The schema of printable text. The pattern is ASCII only, because no pattern says which other characters are visible.
fn printable() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^[!-~]([ -~]*[!-~])?$"))
}

/// The schema of a value that is spelled as a word.
fn words<T: Word>() -> ObjectBuilder {
    word(T::ALL.iter().map(|value| value.word()))
}

/// The schema of a word from a list.
fn word<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}
