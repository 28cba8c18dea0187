//! Connections: many requests on one connection, and too many connections.

use super::{
    super::{Serving, names::Names},
    *,
};

#[test]
fn one_connection_carries_many_requests() {
    let agent = agent();
    let one = "GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /v1/grants HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
    stream.write_all(format!("{one}{one}{last}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[test]
fn a_user_with_too_many_connections_is_told_so() {
    let agent = agent();
    let mut open: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
            stream.write_all(b"GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    get(&agent, "/v1/grants").problem(503, "too_many_connections");
    end(open.pop().unwrap());
    assert_eq!(get(&agent, "/v1/grants").status, 200, "a connection that ended still counts");
}

#[test]
fn stopping_does_not_wait_for_idle_connections() {
    let mut agent = agent();
    let mut idle = UnixStream::connect(agent.socket_of(&root())).unwrap();
    idle.write_all(b"GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let start = std::time::Instant::now();
    agent.stop();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_peer_whom_the_kernel_does_not_name_may_do_nothing() {
    let (core, _commands) = crate::core::handle::CoreHandle::new(crate::core::SharedAccess::default());
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (_stop, stopping) = tokio::sync::watch::channel(());
    let unknown = Err(std::io::Error::other("no credentials"));
    let admission = super::super::decide_admission(&super::super::limit::ConnectionLimits::default(), &unknown, &core);
    let (names, presence) = (Names::default(), Presence::default());
    let serving = Serving { router: routes::router(core, names.clone()), names, presence };
    let served = super::super::admit(ours, unknown, admission, serving, stopping);
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = theirs.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let ((), answer) = tokio::join!(served, client);
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json"), "{answer}");
    assert!(answer.contains(r#""code":"peer_unknown""#), "{answer}");
}
