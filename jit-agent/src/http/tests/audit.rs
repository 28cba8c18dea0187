//! Tests of the audit log over the socket.

use super::*;
use crate::testing::audit::fill;

/// An agent whose audit log had `rows` rows before the agent started.
fn logging(rows: usize) -> Agent {
    let machine = Machine::usual();
    fill(&mut machine.store(), rows - 2);
    Agent::start(machine)
}

/// Head and body of an answer. The body need not be JSON. The request is HTTP/1.0, so the body has no chunks.
fn text(agent: &Agent, path: &str, headers: &str) -> (String, String) {
    let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn numbers(body: &Value) -> Vec<i64> {
    body["value"].as_array().unwrap().iter().map(|row| row["seq"].as_i64().unwrap()).collect()
}

#[test]
fn a_row_has_its_number_time_event_particulars_and_hash() {
    let machine = Machine::usual();
    let mut store = machine.store();
    fill(&mut store, 0);
    let head = store.verify_audit().unwrap();
    drop(store);
    let agent = Agent::start(machine);
    let answer = get(&agent, "/v1/audit?event=revoked");
    let expected = json!({"value": [{
        "seq": 2, "timeUtc": "2026-11-22T16:00:10Z", "event": "revoked",
        "detail": {
            "grant": 17, "number": 22, "protocol": "tcp", "source": "192.0.2.10/32", "requestor": "alice",
            "by": {"uid": 0, "name": "root", "login_uid": 1001}, "reason": "said \"no\",\nand meant it\u{1b}",
        },
        "hash": head.to_string().split_off(2),
    }]});
    assert_eq!((answer.status, answer.body), (200, expected));
}

#[test]
fn pages_follow_each_other_to_the_end() {
    // The log also has the row of the agent's start.
    let agent = logging(449);
    let mut next = Some("/v1/audit?since=2026-11-22T16:00:05Z".to_owned());
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    while let Some(path) = next {
        let body = get(&agent, &path).body;
        sizes.push(numbers(&body).len());
        seen.extend(numbers(&body));
        next = body["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(sizes, [200, 200, 49]);
    assert_eq!(seen, (2..=450).collect::<Vec<_>>());
    let body = get(&agent, "/v1/audit?limit=2&after=448").body;
    assert_eq!((numbers(&body), body.get("nextLink")), (vec![449, 450], None));
}

#[test]
fn filters_reach_the_log() {
    let agent = logging(4);
    for (query, rows) in [
        ("user=alice", vec![1, 2]),
        ("user=root&port=22", vec![2]),
        ("event=denied", vec![3, 4]),
        ("until=2026-11-22T17:00:10%2B01:00", vec![1]),
        ("user=nobody", vec![]),
    ] {
        assert_eq!(numbers(&get(&agent, &format!("/v1/audit?{query}")).body), rows, "{query}");
    }
}

#[test]
fn csv_is_quoted_and_no_cell_is_a_formula() {
    let agent = logging(3);
    let hash = |seq: i64| get(&agent, &format!("/v1/audit?after={}&limit=1", seq - 1)).body["value"][0]["hash"].clone();
    let [granted, revoked, denied, started] = [1, 2, 3, 4].map(|seq| hash(seq).as_str().unwrap().to_owned());
    let expected = format!(
        "seq,time,event,requestor,uid,by,login_uid,request,grant,number,protocol,source,end,justification,reason,count,\
         hash,detail\r\n\
         1,2026-11-22T16:00:00Z,granted,alice,4000000001,,,9,17,22,tcp,192.0.2.10/32,2026-11-22T16:30:12Z,,,,{granted},\
         \"{{\"\"grant\"\":17,\"\"request\"\":9,\"\"number\"\":22,\"\"protocol\"\":\"\"tcp\"\",\"\"source\"\":\"\"192.0.2.10/32\
         \"\",\"\"end\"\":\"\"2026-11-22T16:30:12Z\"\",\"\"uid\"\":4000000001,\"\"requestor\"\":\"\"alice\"\"}}\"\r\n\
         2,2026-11-22T16:00:10Z,revoked,alice,,root,1001,,17,22,tcp,192.0.2.10/32,,,\"said \"\"no\"\",\nand meant it\u{1b}\",,\
         {revoked},\"{{\"\"grant\"\":17,\"\"number\"\":22,\"\"protocol\"\":\"\"tcp\"\",\"\"source\"\":\"\"192.0.2.10/32\"\",\
         \"\"requestor\"\":\"\"alice\"\",\"\"by\"\":{{\"\"uid\"\":0,\"\"name\"\":\"\"root\"\",\"\"login_uid\"\":1001}},\"\"reason\
         \"\":\"\"said \\\"\"no\\\"\",\\nand meant it\\u001b\"\"}}\"\r\n\
         3,2026-11-22T16:00:20Z,denied,'=cmd(),,,,,,,,,,'@x,'-1,0,{denied},\"{{\"\"requestor\"\":\"\"=cmd()\"\",\
         \"\"justification\"\":\"\"@x\"\",\"\"reason\"\":\"\"-1\"\",\"\"count\"\":0}}\"\r\n\
         4,2026-11-22T16:00:12Z,started,,,,,,,,,,,,,,{started},{{}}\r\n"
    );
    for (path, headers) in [("/v1/audit?format=csv", ""), ("/v1/audit", "accept: text/csv\r\n")] {
        let (head, body) = text(&agent, path, headers);
        assert!(head.contains("content-type: text/csv; charset=utf-8"), "{head}");
        assert_eq!(body, expected);
    }
}

#[test]
fn an_export_has_every_row_and_comes_in_chunks() {
    let agent = logging(2501);
    let (head, body) = text(&agent, "/v1/audit?format=jsonl&event=denied", "");
    assert!(head.contains("content-type: application/jsonl"), "{head}");
    let seen: Vec<i64> =
        body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64().unwrap()).collect();
    assert_eq!(seen, (3..=2501).collect::<Vec<_>>());
    let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
    stream
        .write_all(b"GET /v1/audit HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/jsonl\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("transfer-encoding: chunked") && answer.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn four_exports_at_a_time_and_a_place_is_free_again_when_one_leaves() {
    // The log has more batches than the socket buffers hold.
    let agent = logging(8000);
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
            stream.write_all(b"GET /v1/audit?format=csv HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    assert!(get(&agent, "/v1/audit/verify").problem(503, "unavailable").contains("under way: 4"));
    assert_eq!(get(&agent, "/v1/audit?limit=1").status, 200, "pages need no place");
    end(slow.pop().unwrap());
    assert_eq!(get(&agent, "/v1/audit/verify").status, 200, "an export that ended still counts");
}

#[test]
fn a_verification_says_how_far_the_log_is_sound() {
    let agent = logging(4);
    let head = agent.machine.audit_head();
    let hash = head.strip_prefix("5:").unwrap();
    for query in [String::new(), format!("?head={hash}"), format!("?head={head}")] {
        let answer = get(&agent, &format!("/v1/audit/verify{query}"));
        let expected = json!({"ok": true, "rows": 5, "first": 1, "head": {"seq": 5, "hash": hash}, "fault": null});
        assert_eq!((answer.status, answer.body), (200, expected), "{query}");
    }
    let answer = get(&agent, &format!("/v1/audit/verify?head=7:{hash}"));
    assert_eq!(answer.body["fault"], "audit rows 6 to 7 were cut off: row 7 is the noted head");
    assert_eq!((&answer.body["ok"], &answer.body["head"]["seq"]), (&json!(false), &json!(5)));
}

#[test]
fn a_query_that_can_not_be_used_is_refused_with_its_values() {
    let agent = logging(2);
    let answer = get(&agent, "/v1/audit?port=ssh&since=now&limit=0");
    answer.problem(422, "invalid_value");
    let fields: Vec<_> = answer.violations().iter().map(|violation| violation[1]).collect();
    assert_eq!(fields, ["since", "port", "limit"]);
    assert!(get(&agent, "/v1/audit?name=ann").problem(400, "invalid_field").contains("`until`"));
    assert!(get(&agent, "/v1/audit/verify?hash=1").problem(400, "invalid_field").contains("head"));
    let answer = get(&agent, "/v1/audit/verify?head=12");
    answer.problem(422, "invalid_value");
    assert_eq!(answer.violations()[0][1..3], ["head", "12"]);
}

#[test]
fn whoever_may_not_read_it_gets_nothing_of_it() {
    let agent = logging(2);
    for path in ["/v1/audit", "/v1/audit?format=csv", "/v1/audit/verify"] {
        for peer in [alice(), mallory()] {
            get_as(&agent, &peer, path).problem(403, "not_permitted");
        }
    }
}

#[test]
fn a_slow_reader_keeps_nobody_else_from_reading_the_log() {
    let agent = logging(8000);
    let mut slow = UnixStream::connect(agent.socket_of(&carol())).unwrap();
    slow.write_all(b"GET /v1/audit?format=csv HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    slow.read_exact(&mut [0; 12]).unwrap();
    let own = get_as(&agent, &carol(), "/v1/audit/verify");
    assert!(own.problem(503, "unavailable").contains("under way: 1"));
    assert_eq!(get_as(&agent, &bob(), "/v1/audit/verify").status, 200);
    assert_eq!(get_as(&agent, &carol(), "/v1/audit").status, 200, "a page is no export");
}
