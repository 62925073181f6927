//! The driver's command: what it says when it cannot run, how two worlds are compared, and that no process outlives it.
//!
//! Leaves out: runs on real nodes, which `.ci/jepsen` does once the server is built.
#![cfg(feature = "drive")]
#![allow(clippy::disallowed_methods, reason = "a test of a command reads and writes files, and waits")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn jepsen_lite(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_jepsen-lite")).args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (done.status.code().expect("not killed"), text(done.stdout), text(done.stderr))
}

#[test]
fn what_cannot_be_run_exits_with_2_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary");
    let bad = dir.path().join("plan.json");
    std::fs::write(&bad, r#"{"version":1,"seed":7}"#).expect("written");
    let (bad, here) = (bad.display().to_string(), dir.path().display().to_string());
    let cases: [(&[&str], &str); 7] = [
        (&["run"], "--seed <N>"),
        (&["run", "--seed", "1", "--minutes", "0"], "from 0.1 to 1440"),
        (
            &["run", "--seed", "1", "--binary", "/nowhere/engram"],
            "/nowhere/engram is no file; build it, or name the server",
        ),
        (&["run", "--plan", &bad, "--binary", "/bin/true"], "plan.json: is not a plan: missing field"),
        (&["run", "--seed", "1", "--binary", "/bin/true", "--dir", &here], "name a new directory"),
        (&["run", "--plan", &bad, "--seed", "1"], "cannot be used with"),
        (&["run", "--seed", "1", "--network", "radio"], "[possible values: auto, namespaces, proxy]"),
    ];
    for (arguments, words) in cases {
        let (code, out, error) = jepsen_lite(arguments);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn a_server_that_ends_at_once_is_told_with_its_last_words() {
    let (code, _, error) = jepsen_lite(&["run", "--seed", "1", "--minutes", "0.1", "--binary", "/bin/false"]);
    assert_eq!(code, 2, "{error}");
    // All of them end at once; which one the driver sees first is the machine's choice.
    let told = |node| error.contains(&format!("node {node} ended by itself with exit status: 1: it logged nothing"));
    assert!((1..=3).any(told), "{error}");
}

#[test]
fn a_machine_without_namespaces_is_told_as_such_and_runs_by_proxies_where_that_will_do() {
    // Without a search path there is no `unshare`.
    let run = |network: &str| {
        let arguments = ["run", "--seed", "1", "--minutes", "0.1", "--binary", "/bin/false", "--network", network];
        let done = Command::new(env!("CARGO_BIN_EXE_jepsen-lite")).args(arguments).env("PATH", "/nowhere").output();
        let done = done.expect("it starts");
        (done.status.code(), String::from_utf8(done.stderr).expect("text"))
    };
    let (code, error) = run("namespaces");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("no network namespaces here: unshare: ") && error.contains("--network proxy"), "{error}");
    let (code, error) = run("auto");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("the network is proxies") && error.contains("ended by itself"), "{error}");
}

fn until(so: &dyn Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn world(dir: &Path, rows: &str, unknown: bool) -> String {
    std::fs::create_dir(dir).expect("new");
    let history = [
        r#"{"process":0,"type":"invoke","f":"observe","key":5,"value":{"sequence":1,"payload":"a"},"time":0}"#,
        r#"{"process":0,"type":"ok","f":"observe","key":5,"value":{"sequence":1,"payload":"a","log_index":9},"time":1}"#,
        r#"{"process":1,"type":"invoke","f":"read-all","key":1,"time":2}"#,
        r#"{"process":1,"type":"ok","f":"read-all","key":1,"value":[{"session":5,"sequence":1,"payload":"a","log_index":9}],"time":3}"#,
    ];
    std::fs::write(dir.join("history.jsonl"), history.join("\n")).expect("written");
    let summary = format!(r#"{{"unknown":{unknown},"observations":[{rows}],"digests":{{}}}}"#);
    std::fs::write(dir.join("summary.json"), summary).expect("written");
    dir.display().to_string()
}

#[test]
fn two_worlds_are_equal_different_or_not_comparable() {
    let dir = tempfile::tempdir().expect("temporary");
    let at = |name: &str| dir.path().join(name);
    let sim = world(&at("sim"), r#""client-1/1 aa","client-1/2 bb""#, false);
    let real = world(&at("real"), r#""client-1/1 aa","websocket/1 cc""#, false);
    let other = world(&at("other"), r#""client-1/1 ab""#, false);
    let doubt = world(&at("doubt"), r#""client-1/1 aa""#, true);
    let (code, out, _) = jepsen_lite(&["compare", &sim, &real]);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("equal: both valid, 1 observations, digest "), "{out}");
    let (code, out, _) = jepsen_lite(&["compare", &sim, &other]);
    assert_eq!((code, &*out), (1, "different: client-1/1 holds aa in one, ab in the other\n"));
    let (code, out, _) = jepsen_lite(&["compare", &sim, &doubt]);
    assert_eq!((code, out.starts_with("not comparable: an outcome is unknown")), (2, true), "{out}");
    let (code, _, error) = jepsen_lite(&["compare", &sim, &at("nothing").display().to_string()]);
    assert_eq!((code, error.contains("nothing/history.jsonl")), (2, true), "{error}");
}

#[test]
fn a_child_dies_with_a_driver_that_is_killed() {
    // A shell is the driver: it tells its own number, starts a child, and is killed.
    let script = "\"$0\" child --parent $$ -- sleep 1000 & echo $!; wait";
    let mut driver = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_jepsen-lite")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let out = driver.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("told");
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", line.trim())).unwrap_or_default();
    until(&|| name() == "sleep\n");
    driver.kill().expect("killed");
    driver.wait().expect("ended");
    // Whoever inherits it may not have buried it yet.
    let dead = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", line.trim())).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    until(&dead);
}

#[test]
fn a_driver_that_is_killed_leaves_neither_mount_nor_process_nor_interface() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("temporary");
    let (server, run) = (dir.path().join("server"), dir.path().join("run"));
    std::fs::write(&server, "#!/bin/sh\nexec sleep 1000\n").expect("written");
    std::fs::set_permissions(&server, std::fs::Permissions::from_mode(0o755)).expect("its owner may");
    for network in ["auto", "proxy"] {
        let interfaces = || std::fs::read_to_string("/proc/net/dev").expect("Linux").lines().count();
        let before = interfaces();
        let mut driver = Command::new(env!("CARGO_BIN_EXE_jepsen-lite"))
            .args(["run", "--seed", "1", "--network", network])
            .args([Path::new("--binary"), &server, Path::new("--dir"), &run])
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // All children of the driver, whatever they have become.
        let children = || {
            let of = |entry: std::fs::DirEntry| {
                let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
                let (_, rest) = stat.rsplit_once(") ")?;
                let mut fields = rest.split(' ');
                (fields.next()? != "Z" && fields.next()? == driver.id().to_string()).then_some(entry.path())
            };
            std::fs::read_dir("/proc").expect("Linux").flatten().filter_map(of).collect::<Vec<_>>()
        };
        until(&|| run.join("node-3.log").is_file());
        let nodes = children();
        assert!(nodes.len() >= 2, "{nodes:?}");
        driver.kill().expect("killed");
        driver.wait().expect("ended");
        let dead = |node: &std::path::PathBuf| {
            let state = std::fs::read_to_string(node.join("stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        until(&|| nodes.iter().all(dead));
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("Linux");
        assert!(!mounts.contains(&run.display().to_string()), "{mounts}");
        assert_eq!(interfaces(), before);
        std::fs::remove_dir_all(&run).expect("nothing holds it");
    }
}
