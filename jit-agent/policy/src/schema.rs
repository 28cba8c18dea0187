//! Schemas of values that more than one type of the API has.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaFormat, Type},
    },
};

/// An address or a prefix, as a schema; the type has no values.
#[derive(Debug)]
pub enum Source {}

impl ToSchema for Source {
    fn name() -> Cow<'static, str> {
        "Source".into()
    }
}

impl PartialSchema for Source {
    fn schema() -> RefOr<Schema> {
        let description = "An IPv4 or IPv6 address, or a prefix without host bits; neither link-local nor IPv4-mapped.";
        text(description, "ip-prefix", "192.0.2.0/24")
    }
}

/// The schema of a text with a format, and an example of such a text.
pub(crate) fn text(description: &str, format: &str, example: &str) -> RefOr<Schema> {
    let format = SchemaFormat::Custom(format.to_owned());
    let text = ObjectBuilder::new().schema_type(Type::String).format(Some(format)).examples([example]);
    RefOr::T(text.description(Some(description)).build().into())
}
