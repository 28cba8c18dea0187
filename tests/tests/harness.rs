//! The harness itself: the properties that the other tests rely on.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, thread};

use anyhow::{Context, Result, ensure};
use jit_tests::{
    FrameSender, Namespace, PATIENCE, Program, Reach, SILENCE, Sandbox, SshServer, Stream, TcpServer, Topology,
    UdpServer, http_get, tcp_connects, udp_echoes,
};
use nix::sched::{CloneFlags, setns, unshare};

#[test]
fn two_namespaces_joined_by_a_veth_reach_each_other() -> Result<()> {
    let net = Topology::new()?;
    let _tcp = TcpServer::echo(&net.server, "[::]:7")?;
    let _web = TcpServer::web(&net.server, "[::]:80", "hello\n")?;
    let _udp = [UdpServer::echo(&net.server, "192.0.2.1:7")?, UdpServer::echo(&net.server, "[2001:db8::1]:7")?];
    for (from, to) in [("192.0.2.10", "192.0.2.1"), ("192.0.2.11", "192.0.2.1"), ("2001:db8:1::10", "[2001:db8::1]")] {
        let at = |port| format!("{to}:{port}");
        assert_eq!(tcp_connects(&net.client, from, &at(7), PATIENCE)?, Reach::Open, "TCP from {from}");
        assert_eq!(udp_echoes(&net.client, from, &at(7), PATIENCE)?, Reach::Open, "UDP from {from}");
        assert_eq!(tcp_connects(&net.client, from, &at(9), PATIENCE)?, Reach::Refused, "TCP from {from}");
        assert_eq!(udp_echoes(&net.client, from, &at(9), PATIENCE)?, Reach::Refused, "UDP from {from}");
        assert_eq!(http_get(&net.client, from, &at(80), PATIENCE)?.as_deref(), Some("hello\n"));
    }
    Ok(())
}

#[test]
fn an_address_that_nobody_answers_for_is_silent() -> Result<()> {
    let net = Topology::new()?;
    net.client.ip("neighbour add 192.0.2.99 lladdr 02:00:00:00:00:99 dev cli0")?;
    assert_eq!(tcp_connects(&net.client, "192.0.2.10", "192.0.2.99:22", SILENCE)?, Reach::Silent);
    assert_eq!(udp_echoes(&net.client, "192.0.2.10", "192.0.2.99:22", SILENCE)?, Reach::Silent);
    assert_eq!(http_get(&net.client, "192.0.2.10", "192.0.2.99:80", SILENCE)?, None);
    Ok(())
}

#[test]
fn a_hand_made_frame_arrives_as_it_was_sent() -> Result<()> {
    let net = Topology::new()?;
    let received = |net: &Topology| -> Result<String> {
        Ok(net.server.ip("-statistics -json link show dev srv0")?.json()?[0]["stats64"]["rx"]["bytes"].to_string())
    };
    // The device would send router solicitations, which would be counted too.
    net.client.ip("link set cli0 addrgenmode none")?;
    let before: u64 = received(&net)?.parse()?;
    let mut frame = vec![0xff; 12];
    frame.extend([0x88, 0xb5]);
    frame.resize(1_000, 0);
    FrameSender::new(&net.client, "cli0")?.send(&frame)?;
    let after: u64 = received(&net)?.parse()?;
    assert!(after >= before + 1_000 - 14, "{before} bytes before, {after} after");
    Ok(())
}

/// The mounts of this thread, in an order that does not depend on the mount namespace.
fn mounts() -> Result<Vec<String>> {
    let mut mounts: Vec<_> = fs::read_to_string("/proc/thread-self/mounts")?.lines().map(str::to_owned).collect();
    mounts.sort();
    Ok(mounts)
}

#[test]
fn a_dropped_sandbox_leaves_no_mount_and_no_process_behind() -> Result<()> {
    let before = mounts()?;
    let machine = fs::File::open("/proc/thread-self/ns/mnt")?;
    let sandbox = Sandbox::new()?;
    let marker = sandbox.write("marker", "")?;
    let namespace = Namespace::new("lonely")?;
    sandbox.show_sysfs_of(&namespace)?;
    let devices: Vec<_> =
        fs::read_dir("/sys/class/net")?.map(|d| d.map(|d| d.file_name())).collect::<Result<_, _>>()?;
    assert_eq!(devices, ["lo"], "only the devices of the namespace are shown");
    let process = Program::new("sleep").arg("1000").spawn_in(&namespace)?;
    let proc = format!("/proc/{}", process.id());
    assert!(Path::new(&proc).exists() && process.is_running());

    // Another process sees the mounts of this machine, not those of the sandbox.
    let seen = marker.clone();
    let outside = thread::spawn(move || -> Result<(bool, bool)> {
        unshare(CloneFlags::CLONE_FS)?;
        setns(machine, CloneFlags::CLONE_NEWNS)?;
        Ok((seen.exists(), mounts()?.iter().any(|mount| mount.contains("/run/sandbox"))))
    });
    assert_eq!(outside.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??, (false, false));

    drop(process);
    drop(sandbox);
    assert!(!Path::new(&proc).exists(), "the child is killed and reaped");
    assert!(!marker.exists());
    assert_eq!(mounts()?, before);
    Ok(())
}

#[test]
fn the_end_of_the_test_thread_kills_its_children() -> Result<()> {
    let spawned = thread::spawn(|| {
        let _sandbox = Sandbox::new()?;
        let namespace = Namespace::new("doomed")?;
        let script = ["-c", "echo ready; read nothing"];
        let as_root = Program::new("sh").args(script).with_stdin().spawn_in(&namespace)?;
        let as_alice = Program::new_as("alice", "sh").args(script).with_stdin().spawn_in(&namespace)?;
        for process in [&as_root, &as_alice] {
            process.wait_for_line(Stream::Stdout, "ready", PATIENCE)?;
        }
        anyhow::Ok([as_root, as_alice])
    });
    for process in spawned.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?? {
        assert_eq!(process.wait(PATIENCE)?.signal(), Some(9), "{}", process.report());
    }
    Ok(())
}

#[test]
fn users_and_their_groups_are_the_same_on_every_machine() -> Result<()> {
    let _sandbox = Sandbox::new()?;
    for (user, id) in [
        ("alice", "uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(jit-users)\n"),
        ("bob", "uid=1001(bob) gid=1001(bob) groups=1001(bob),2001(jit-approvers)\n"),
        ("pusher", "uid=1004(pusher) gid=1004(pusher) groups=1004(pusher)\n"),
    ] {
        assert_eq!(Program::new_as(user, "id").spawn()?.outcome(PATIENCE)?.success()?.stdout, id);
    }
    Ok(())
}

#[test]
fn a_panic_inside_a_namespace_leaves_the_thread_where_it_was() -> Result<()> {
    let here = || fs::read_link("/proc/thread-self/ns/net");
    let before = here()?;
    let namespace = Namespace::new("elsewhere")?;
    let inside = namespace.enter(here)??;
    assert_ne!(inside, before);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namespace.enter(|| panic!("on purpose"))));
    assert!(caught.is_err());
    assert_eq!(here()?, before);
    Ok(())
}

#[test]
fn waiting_for_a_line_ends_with_the_line_or_with_the_process() -> Result<()> {
    let script = "echo first; echo second >&2; read line; echo \"got $line\"; exit 3";
    let mut process = Program::new("sh").arg("-c").arg(script).with_stdin().spawn()?;
    process.wait_for_line(Stream::Stderr, "second", PATIENCE)?;
    let mark = process.mark();
    process.write_line("something")?;
    assert_eq!(process.wait_for_line_after(mark, Stream::Stdout, "got", PATIENCE)?, "got something");
    let error = process.wait_for_line(Stream::Stdout, "never", PATIENCE).expect_err("no such line");
    let text = format!("{error:#}");
    assert!(text.contains("wrote no line with 'never'") && text.contains("Stdout: first"), "{text}");
    assert_eq!(process.outcome(PATIENCE)?.code(), Some(3));
    Ok(())
}

#[test]
fn an_openssh_server_lets_its_own_key_in_and_ends_with_its_sessions() -> Result<()> {
    let net = Topology::new()?;
    let server = SshServer::start(&net.sandbox, &net.server, 22)?;
    for (from, to) in [("192.0.2.11", "192.0.2.1"), ("2001:db8:1::10", "2001:db8:1::1")] {
        let outcome = server.client(from, to, "id -un; echo $SSH_CONNECTION").run_in(&net.client, PATIENCE)?;
        let outcome = outcome.success().with_context(|| server.process().report())?;
        ensure!(outcome.stdout.starts_with(&format!("alice\n{from} ")), "{outcome:?}");
    }
    let session = server.client("192.0.2.10", "192.0.2.1", "echo in; sleep 1000").spawn_in(&net.client)?;
    session.wait_for_line(Stream::Stdout, "in", PATIENCE)?;
    drop(server);
    session.wait(PATIENCE)?;
    Ok(())
}
