use jit_api::wire;
use serde_json::Value;

use super::*;
use crate::http::routes;

fn document() -> Value {
    complete(&routes::documented().into_openapi())
}

fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {document:#}"))
}

/// Everything that is said with `$ref` in a value.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(object) => {
            let here = object.get("$ref").and_then(Value::as_str);
            here.into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(list) => list.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn what_the_document_refers_to_is_in_it() {
    let document = document();
    assert!(at(&document, "/openapi").as_str().unwrap().starts_with("3.1."));
    let references = references(&document);
    assert!(references.len() > 50, "{references:?}");
    for reference in references {
        at(&document, reference.strip_prefix('#').unwrap());
    }
}

#[test]
fn every_operation_says_what_it_does_and_which_problems_it_answers_with() {
    let mut document = document();
    let mut names = Vec::new();
    for operation in operations(&mut document) {
        assert_ne!(operation["summary"], "", "{operation:?}");
        names.push(operation["operationId"].as_str().unwrap().to_owned());
        let answers = operation["responses"].as_object().unwrap();
        for status in EVERYWHERE.iter().chain(operation.get("requestBody").map_or(&[][..], |_| &WITH_BODY)) {
            let expected = json!({"$ref": format!("#/components/responses/{}", status.as_str())});
            assert_eq!(answers[status.as_str()], expected, "{operation:?}");
        }
        let described = |answer: &Value| answer["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(answers.values().all(|answer| answer["$ref"].is_string() || described(answer)), "{operation:?}");
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            assert!(described(parameter), "{parameter}");
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two operations have the same name: {names:?}");
    let answers =
        |path: &str| at(&document, path)["responses"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        answers("/paths/~1v1~1requests/post"),
        ["200", "201", "202", "400", "403", "413", "414", "415", "422", "429", "431", "503", "507"]
    );
    assert_eq!(answers("/paths/~1v1~1requests~1{id}/get"), ["200", "400", "403", "404", "414", "429", "431", "503"]);
    assert_eq!(answers("/paths/~1v1~1why/get"), ["200", "400", "403", "414", "422", "429", "431", "503"]);
}

#[test]
fn every_code_is_named_where_its_status_is_and_in_the_schema() {
    let document = document();
    let names = at(&document, "/components/schemas/Code/enum").as_array().unwrap();
    assert!(names.len() > 15 && !names.contains(&json!("unknown")), "{names:?}");
    for name in names {
        let code = Code::deserialize(name).unwrap();
        let answer = at(&document, &format!("/components/responses/{}", code.status().as_str()));
        assert!(answer["description"].as_str().unwrap().contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}

#[test]
fn the_limits_are_those_that_the_code_checks() {
    let document = document();
    let limits = [
        ("/components/schemas/NewRequest/properties/ports/maxItems", wire::MOST_PORTS),
        ("/components/schemas/RequestedPort/properties/allowedSourceAddressPrefixes/maxItems", wire::MOST_SOURCES),
        ("/components/schemas/Line/maxLength", wire::LONGEST_TEXT),
        ("/components/schemas/User/maxLength", wire::LONGEST_NAME),
        ("/components/schemas/PortNumber/maximum", usize::from(u16::MAX)),
        ("/components/schemas/Revoke/properties/ids/maxItems", wire::MOST_IDS),
    ];
    for (pointer, limit) in limits {
        assert_eq!(at(&document, pointer), &json!(limit), "{pointer}");
    }
    for body in ["NewRequest", "RequestedPort", "Revoke"] {
        assert_eq!(at(&document, &format!("/components/schemas/{body}/additionalProperties")), false, "{body}");
    }
    let alternatives = at(&document, "/components/schemas/RequestedPort/allOf").as_array().unwrap();
    assert_eq!(alternatives.len(), 2, "one source field, one time field");
    for (name, fields) in EXACTLY_ONE {
        for field in fields {
            at(&document, &format!("/components/schemas/{name}/properties/{field}"));
        }
    }
}
