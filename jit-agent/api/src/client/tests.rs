use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::terminal::Exit;

/// What the client makes of a server that answers everything with `answer`; `None` stands for a server that says
/// nothing for a while.
fn call_with_answer(answer: Option<String>) -> Result<Answer, ClientError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        match answer {
            Some(answer) => drop(stream.write_all(answer.as_bytes())),
            None => thread::sleep(Duration::from_secs(5)),
        }
    });
    let client = Client { socket: path, timeout: Duration::from_millis(300) };
    client.call(Method::GET, "/v1/status", None)
}

#[test]
fn an_agent_that_does_not_answer_in_time_is_given_up() {
    let error = call_with_answer(None).unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("it may still do what was asked"), "{error}");
}

#[test]
fn what_is_not_the_agent_is_told_apart() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"] {
        let error = call_with_answer(Some(answer.to_owned())).unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    }
    let error =
        call_with_answer(Some("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops".to_owned())).unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { status: 502, .. }), "{error:?}");
}

#[test]
fn a_problem_with_a_code_from_the_future_is_still_a_problem() {
    let body = r#"{"type":"about:blank","title":"","status":409,"detail":"no","code":"new_code","new":[{}]}"#;
    let answer = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    match call_with_answer(Some(answer)) {
        Ok(Answer::Problem(problem)) => assert_eq!(problem.detail, "no"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_goes_over_any_stream_of_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = duplex(64);
        let session = Session { source: "192.0.2.7".to_owned(), port: 22 };
        let call = Call {
            body: Some(b"{}".to_vec()),
            if_match: Some("\"5\"".to_owned()),
            session: Some(session),
            ..Call::new(Method::POST, "/v1/reload")
        };
        let server = tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                assert_ne!(far.read_buf(&mut request).await.unwrap(), 0, "{}", request.escape_ascii());
            }
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(request).unwrap()
        });
        assert_eq!(respond(near, &call).await.unwrap().status(), StatusCode::NO_CONTENT);
        let request = server.await.unwrap();
        let expected = [
            "POST /v1/reload HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            "if-match: \"5\"",
            "192.0.2.7 22",
        ];
        for expected in expected {
            assert!(request.contains(expected), "{expected:?} is not in {request}");
        }
    });
}

#[test]
fn a_system_without_unix_sockets_is_told_to_run_jitctl_on_the_host() {
    let error = ClientError::NoUnixSockets("/run/jit-agent/jit-agent.sock".into());
    assert!(error.to_string().contains("run jitctl on that host, such as by `ssh HOST jitctl"), "{error}");
    assert_eq!(Exit::from(&error), Exit::Unreachable);
}
