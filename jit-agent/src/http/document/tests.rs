use jit_api::wire;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::{
    http::{
        routes,
        tests::{WINRM, get, granted, post_as},
    },
    testing::people::alice,
};

fn document() -> Value {
    complete(&routes::documented().into_openapi())
}

fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {document:#}"))
}

/// All targets of `$ref` in a value.
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

/// The values of every enumeration in the document.
fn words(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(object) => {
            let here = object.get("enum").and_then(Value::as_array).into_iter().flatten().cloned();
            here.filter(Value::is_string).chain(object.values().flat_map(words)).collect()
        }
        Value::Array(list) => list.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// Replaces each value of an enumeration by a word that is not in the document.
fn with_unknown_words(value: &mut Value, known: &[Value]) -> usize {
    match value {
        Value::Object(object) => object.values_mut().map(|value| with_unknown_words(value, known)).sum(),
        Value::Array(list) => list.iter_mut().map(|value| with_unknown_words(value, known)).sum(),
        word if known.contains(word) => {
            *word = "Unheard-of".into();
            1
        }
        _ => 0,
    }
}

#[track_caller]
fn still_reads<T: DeserializeOwned>(mut answer: Value, words_in_it: usize) {
    assert_eq!(with_unknown_words(&mut answer, &words(&document())), words_in_it, "{answer:#}");
    if let Err(error) = serde_json::from_value::<T>(answer.clone()) {
        panic!("{error}: {answer:#}");
    }
}

#[test]
fn an_answer_with_an_unknown_word_in_the_place_of_each_known_one_is_still_read() {
    let agent = granted();
    let list = |path: &str| get(&agent, path).body["value"][0].take();
    still_reads::<wire::Grant>(list("/v1/grants"), 2);
    still_reads::<wire::Request>(list("/v1/requests"), 3);
    let pending = post_as(&agent, &alice(), "/v1/requests", WINRM);
    still_reads::<wire::Request>(pending.body, 1);
    still_reads::<wire::Port>(list("/v1/ports"), 3);
    let mut status = get(&agent, "/v1/status").body;
    status["counters"].as_array_mut().unwrap().truncate(3);
    still_reads::<wire::Status>(status, 12);
    still_reads::<wire::Why>(get(&agent, "/v1/why?source=192.0.2.10&port=22").body, 6);
    still_reads::<wire::Enforcement>(get(&agent, "/v1/enforcement").body, 1);
    still_reads::<Problem>(get(&agent, "/v1/requests/99").body, 1);
    let packet = json!({
        "timeUtc": "2026-11-22T16:00:22Z", "source": null, "number": 22, "protocol": "TCP", "interface": "eth0",
        "verdict": "drop", "reason": "no_grant", "mode": "enforce",
    });
    still_reads::<PacketEvent>(packet, 4);
}

#[test]
fn words_that_only_stand_for_unknown_ones_are_not_in_the_document() {
    let document = document();
    let words = words(&document);
    assert!(words.len() > 50 && words.iter().all(|word| word != "Unknown" && word != "unknown"), "{words:?}");
    for (name, expected) in [
        ("RequestState", json!(["Pending", "Approved", "Denied", "Cancelled", "TimedOut", "Failed"])),
        ("GrantState", json!(["Live", "Expired", "Revoked", "Ended"])),
    ] {
        assert_eq!(at(&document, &format!("/components/schemas/{name}/enum")), &expected);
    }
}
