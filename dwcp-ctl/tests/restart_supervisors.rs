//! A restart where the end of the old process would be the end of the node is refused, and changes nothing.
#![allow(missing_docs)]

mod common;

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Room, skip, wait_for, write};
use rustix::process::Signal;

/// Words before a program that make it the first process of a container, as far as processes go. `None` where that cannot be.
fn container() -> Option<Vec<&'static str>> {
    let mut words = vec!["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    let tried = Command::new(words[0]).args(&words[1..]).arg("true").status();
    tried.is_ok_and(|status| status.success()).then_some(words)
}

/// `a` does not give the node to a process that somebody else has started either, because of `words`.
#[track_caller]
fn is_not_given(room: &Room, words: &str) {
    let log = File::create(room.path("taker.log")).unwrap();
    let mut taker = Command::new(env!("CARGO_BIN_EXE_dwcpd"))
        .args(["--take-over", "--config", &room.text("a.yaml")])
        .args(["--runtime-dir", &room.text("run")])
        .stderr(log)
        .spawn()
        .unwrap();
    // One that gets the node serves on.
    let end = wait_for("end of a process", || taker.try_wait().unwrap());
    let said = std::fs::read_to_string(room.path("taker.log")).unwrap();
    assert!(end.code() == Some(1) && said.contains(words), "{said}");
}

#[test]
fn the_first_process_of_a_container_is_not_followed() {
    let Some(words) = container() else {
        return skip("a restart in a container", "no PID namespace can be made here");
    };
    let room = Room::new(&["a"]);
    room.config("a", "");
    let a = room.start_in(&words, "a");
    for how in [&["restart"][..], &["restart", "--force"]] {
        let refused = room.ctl(&[&["--node", "a"], how].concat());
        assert!(refused.code == 1 && refused.stderr.contains("PID 1"), "{refused:#?}");
        assert!(refused.stderr.contains("Restart the container"), "{refused:#?}");
    }
    is_not_given(&room, "PID 1");
    assert_eq!(room.status("a")["pid"], 1);
    assert_eq!(a.log().matches("dwcpd is ready").count(), 1, "{}", a.log());
}

#[test]
fn the_child_of_a_containers_init_is_not_followed() {
    let Some(mut words) = container() else {
        return skip("a restart under an init", "no PID namespace can be made here");
    };
    let room = Room::new(&["a"]);
    room.config("a", "");
    // It does what the real one does: it ends with what it has started, and the kernel ends all others then.
    let tini = room.text("tini");
    write(tini.as_ref(), b"#!/bin/sh\n\"$@\" &\nwait $!\n");
    std::fs::set_permissions(&tini, Permissions::from_mode(0o755)).unwrap();
    words.push(&tini);
    let a = room.start_in(&words, "a");
    let pid = room.status("a")["pid"].clone();
    assert_ne!(pid, 1);
    let refused = room.ctl(&["--node", "a", "restart", "--force"]);
    assert!(refused.code == 1 && refused.stderr.contains("init of a container"), "{refused:#?}");
    is_not_given(&room, "init of a container");
    assert_eq!(room.status("a")["pid"], pid);
    assert_eq!(a.log().matches("dwcpd is ready").count(), 1, "{}", a.log());
}

#[test]
fn a_service_that_systemd_is_not_told_of_is_followed_only_by_force() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let environment =
        "export INVOCATION_ID=7 SYSTEMD_EXEC_PID=$$; unset NOTIFY_SOCKET; exec \"$0\" \"$@\"";
    let mut a = room.start_in(&["sh", "-c", environment], "a");
    let refused = room.ctl(&["--node", "a", "restart"]);
    assert!(refused.code == 1 && refused.stderr.contains("NotifyAccess=all"), "{refused:#?}");
    a.signal(Signal::USR2);
    a.wait_for_log("systemd takes the end of this process");
    assert_eq!(room.status("a")["pid"], a.id());
    let report = room.ctl(&["--node", "a", "restart", "--force", "-o", "json"]).ok().json();
    assert_eq!(a.wait(), 0, "{}", a.log());
    wait_for("new process", || (room.status("a")["pid"] == report["pid"]).then_some(()));
    // What the service has started is not its main process: nobody waits for its end.
    room.ctl(&["--node", "a", "restart"]).ok();
    room.ctl(&["--node", "a", "drain"]).ok();
}
