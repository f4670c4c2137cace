//! What a reload refuses, a restart takes: the new process goes by its own configuration, also where it has things of the
//! old one.
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::MetadataExt;

use common::{Daemon, Room, skip};

/// Restarts `a`, which drains and ends: it has nothing to do. The new process.
fn restart(room: &Room, before: Option<&mut Daemon>) -> u32 {
    let report = room.ctl(&["--node", "a", "restart", "-o", "json"]).ok().json();
    if let Some(before) = before {
        assert_eq!(before.wait(), 0, "{}", before.log());
    }
    u32::try_from(report["pid"].as_u64().unwrap()).unwrap()
}

/// A reload refuses `key`.
fn is_for_a_restart(room: &Room, key: &str) {
    let refused = room.ctl(&["--node", "a", "reload"]);
    assert!(refused.code == 1 && refused.stderr.contains("a restart is needed"), "{refused:#?}");
    assert!(refused.stderr.contains(key), "{refused:#?}");
}

/// The configuration of `a`, with `section`, which the usual one has, replaced by `text`.
fn config(room: &Room, section: &str, text: &str) {
    let usual = room.config_text("a", "");
    let lines = usual.lines().map(|line| if line.starts_with(section) { text } else { line });
    let all = lines.collect::<Vec<_>>().join("\n") + "\n";
    common::write(&room.path("a.yaml"), all.as_bytes());
}

/// The name of a group that this process may give files to.
fn own_group() -> Option<String> {
    let gid = rustix::process::getegid().as_raw().to_string();
    let all = std::fs::read_to_string("/etc/group").unwrap();
    let mut groups = all.lines().map(|line| line.split(':').collect::<Vec<_>>());
    groups.find(|fields| fields[2] == gid).map(|fields| fields[0].to_owned())
}

#[test]
fn the_command_socket_goes_to_another_group() {
    let Some(own) = own_group() else {
        return skip("the group of a command socket", "this user's group has no name");
    };
    let room = Room::new(&["a"]);
    let group = |group: &str| {
        let text = format!("admin: {{listen: [\"127.0.0.1:0\"], group: {group}}}");
        config(&room, "admin:", &text);
    };
    let socket = || std::fs::metadata(room.path("run/a.sock")).unwrap();
    group("nobody-has-this-group");
    let mut a = room.start("a");
    assert_eq!(socket().mode() & 0o777, 0o600);
    group(&own);
    is_for_a_restart(&room, "admin.group");
    restart(&room, Some(&mut a));
    assert_eq!(socket().mode() & 0o777, 0o660);
    assert_eq!(socket().gid(), rustix::process::getegid().as_raw());
    if rustix::process::geteuid().is_root() {
        // Every system has it.
        group("daemon");
        restart(&room, None);
        assert_eq!((socket().mode() & 0o777, socket().gid()), (0o660, 1));
    }
    group("nobody-has-this-group");
    restart(&room, None);
    assert_eq!(socket().mode() & 0o777, 0o600, "who had access has none");
    room.ctl(&["--node", "a", "drain"]).ok();
}

/// The processors that a process may run on, as the kernel writes them.
fn processors(pid: impl std::fmt::Display) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap().trim().to_owned()
}

#[test]
fn processors_are_those_of_the_new_configuration() {
    let all = processors("self");
    let first: String = all.chars().take_while(char::is_ascii_digit).collect();
    if first == all {
        return skip("processors after a restart", "there is only one");
    }
    let room = Room::new(&["a"]);
    let bound = format!("performance: {{cpuAffinity: {{enabled: true, cores: [{first}]}}}}\n");
    room.config("a", &bound);
    let mut a = room.start("a");
    assert_eq!(processors(a.id()), first);
    room.config("a", "");
    is_for_a_restart(&room, "performance.cpuAffinity");
    let free = restart(&room, Some(&mut a));
    assert_eq!(processors(free), all);
    room.config("a", &bound);
    let again = restart(&room, None);
    assert_eq!(processors(again), first);
    let unchanged = restart(&room, None);
    assert_eq!(processors(unchanged), first);
    room.ctl(&["--node", "a", "drain"]).ok();
}
