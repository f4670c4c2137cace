//! Files from one node to another: whole under cuts, on a full disk, interrupted and gone on with.
#![allow(missing_docs)]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Daemon, Room, noise, wait_for, write};

/// `a` may send files to `b`, which takes them in `inbox`.
fn copy_pair() -> (Room, Daemon, Daemon) {
    let inbox = "files: {receiveDirectory: inbox, keepFree: 0B}\n";
    let (room, a, b) = {
        let room = Room::new(&["a", "b"]);
        std::fs::create_dir(room.path("inbox")).unwrap();
        room.config("b", &format!("peers: [{{nodeId: a}}]\n{inbox}"));
        let b = room.start("b");
        let address = room.address("b");
        room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
        let a = room.start("a");
        (room, a, b)
    };
    (room, a, b)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_arrive_whole_under_cuts() {
    let (room, _a, _b) = copy_pair();
    let tree = room.path("tree");
    std::fs::create_dir_all(tree.join("deep")).unwrap();
    let (big, small) = (noise(96 << 20, 7), b"hello\n".to_vec());
    write(&tree.join("big"), &big);
    write(&tree.join("deep/small"), &small);
    write(&tree.join("empty"), b"");
    write(&tree.join("zeros"), &vec![0; 3 << 20]);
    std::fs::create_dir(tree.join("hollow")).unwrap();
    let is_over = AtomicBool::new(false);
    let (ran, cuts) = std::thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let mut cuts = 0;
            while !is_over.load(Ordering::Relaxed) {
                cuts += u32::from(room.ctl(&["--node", "a", "cut", "b"]).code == 0);
                std::thread::sleep(Duration::from_millis(100));
            }
            cuts
        });
        let source = tree.to_str().unwrap();
        let ran = room.ctl(&["--node", "a", "copy", "-r", source, "b:in/box", "-o", "json"]);
        is_over.store(true, Ordering::Relaxed);
        (ran, cutter.join().unwrap())
    });
    assert_eq!(ran.code, 0, "{ran:#?}");
    let json = ran.json();
    assert_eq!(json["schema"], "dwcp.copy/v1");
    assert_eq!(json["bytes"], (big.len() + small.len() + (3 << 20)) as u64);
    assert_eq!(json["files"].as_array().unwrap().len(), 4);
    assert!(cuts > 0, "nothing was cut");
    let inbox = room.path("inbox/in/box/tree");
    assert!(std::fs::read(inbox.join("big")).unwrap() == big, "the copy differs");
    assert_eq!(std::fs::read(inbox.join("deep/small")).unwrap(), small);
    assert!(std::fs::read(inbox.join("zeros")).unwrap() == vec![0; 3 << 20]);
    assert_eq!(json["directories"], 1);
    assert!(inbox.join("hollow").is_dir());
    let all = ["big", "deep", "empty", "hollow", "zeros"];
    assert_eq!(names(&inbox), all, "nothing temporary is left");
}

#[test]
fn a_copy_that_cannot_be_is_refused_in_words() {
    let (room, _a, _b) = copy_pair();
    let file = room.path("file");
    write(&file, b"x");
    let file = file.to_str().unwrap();
    let refused = |target: &str, words: &str| {
        let ran = room.ctl(&["--node", "a", "copy", file, target]);
        assert!(ran.code == 1 && ran.stderr.contains(words), "{ran:#?}");
    };
    refused("b:../up", "is not a name below");
    std::fs::create_dir(room.path("inbox/file")).unwrap();
    refused("b:", "directory");
    let ran = room.ctl(&["--node", "a", "copy", "/nonexistent", "b:"]);
    assert!(ran.code == 1 && ran.stderr.contains("/nonexistent"), "{ran:#?}");
    // `a` takes no files.
    let ran = room.ctl(&["--node", "b", "copy", file, "a:"]);
    assert!(ran.code == 1 && ran.stderr.contains("files.receiveDirectory"), "{ran:#?}");
    assert_eq!(names(&room.path("inbox")), ["file"], "nothing else is left");
}

/// The unfinished files in `directory`.
fn parts(directory: &Path) -> Vec<PathBuf> {
    let is_part = |name: &String| name.starts_with(".dwcp-part-");
    names(directory).into_iter().filter(is_part).map(|name| directory.join(name)).collect()
}

/// Waits until a good piece of a file has come.
fn wait_for_a_piece(directory: &Path) {
    wait_for("a piece of the file", || {
        let has_come = |part: &PathBuf| part.metadata().is_ok_and(|found| found.len() > 1 << 20);
        (directory.is_dir() && parts(directory).iter().any(has_come)).then_some(())
    });
}

/// Waits until nobody writes the one unfinished file in `directory` any more.
fn wait_for_the_end(directory: &Path) {
    use rustix::fs::{FlockOperation, flock};
    let part = std::fs::File::open(&parts(directory)[0]).unwrap();
    wait_for("the end of the copy", || flock(&part, FlockOperation::NonBlockingLockShared).ok());
}

/// Copies `file` again after a copy that broke off, and looks at what comes of it.
#[track_caller]
fn goes_on(room: &Room, file: &Path, content: &[u8]) {
    let ran = room.ctl(&["--node", "a", "copy", file.to_str().unwrap(), "b:deep", "-o", "json"]);
    let report = ran.ok().json();
    let (resumed, all) = (report["bytes_resumed"].as_u64().unwrap(), content.len() as u64);
    assert!(resumed > 0 && resumed < all, "{report:#}");
    assert_eq!(report["files"][0]["resumed_bytes"], resumed);
    assert_eq!(report["bytes"], all);
    let deep = room.path("inbox/deep");
    assert!(std::fs::read(deep.join("huge")).unwrap() == content, "the copy differs");
    assert_eq!(names(&deep), ["huge"]);
    // Once more: all of it is there.
    let ran = room.ctl(&["--node", "a", "copy", file.to_str().unwrap(), "b:deep"]).ok();
    assert!(ran.stdout.contains("was there"), "{ran:#?}");
}

/// Of the 48 MiB that are copied most are still to come when a piece has, also where a test is slow to see that. Such a
/// copy is broken off and not waited for.
const SLOW: &[&str] = &["--limit", "2MB", "--no-compress"];

#[test]
fn an_interrupted_copy_goes_on() {
    let (room, _a, _b) = copy_pair();
    let (file, content) = (room.path("huge"), noise(48 << 20, 5));
    write(&file, &content);
    // Cut off and not ended: the client goes, and with it what it asked for.
    let ctl = [&["--node", "a", "copy", file.to_str().unwrap(), "b:deep"], SLOW].concat();
    let mut client = room.spawn_ctl(&ctl);
    wait_for_a_piece(&room.path("inbox/deep"));
    client.kill().unwrap();
    client.wait().unwrap();
    // The next copy waits 2 s for that; the machine may be slower.
    wait_for_the_end(&room.path("inbox/deep"));
    goes_on(&room, &file, &content);
}

#[test]
fn a_copy_goes_on_after_either_end_was_killed() {
    for victim in ["a", "b"] {
        let (room, mut a, mut b) = copy_pair();
        let (file, content) = (room.path("huge"), noise(48 << 20, 5));
        write(&file, &content);
        let ctl = [&["--node", "a", "copy", file.to_str().unwrap(), "b:deep"], SLOW].concat();
        let deep = room.path("inbox/deep");
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| room.ctl(&ctl));
            wait_for_a_piece(&deep);
            let killed = if victim == "a" { &mut a } else { &mut b };
            killed.signal(rustix::process::Signal::KILL);
            killed.wait();
            if victim == "b" {
                b = room.start("b");
                let peer = format!("{{nodeId: b, addresses: [\"{}\"]}}", room.address("b"));
                room.config("a", &format!("peers: [{peer}]\n"));
                room.ctl(&["--node", "a", "reload"]).ok();
            }
            assert_ne!(copying.join().unwrap().code, 0);
        });
        assert!(!deep.join("huge").exists(), "half a file under the final name");
        if victim == "a" {
            a = room.start("a");
        }
        // The next life of one tells the other that the old session is over.
        room.ctl(&["--node", "a", "ping", "b"]).ok();
        wait_for_the_end(&deep);
        goes_on(&room, &file, &content);
        drop((a, b));
    }
}

#[test]
fn a_tree_of_many_files_is_copied_once() {
    const FILES: usize = 3_000;
    let (room, _a, _b) = copy_pair();
    let tree = room.path("tree");
    for index in 0..FILES {
        let directory = tree.join(format!("d{}", index / 100));
        std::fs::create_dir_all(&directory).unwrap();
        write(&directory.join(format!("f{index}")), format!("file {index}").as_bytes());
    }
    let copy = || {
        let ran =
            room.ctl(&["copy", "--node", "a", "-r", tree.to_str().unwrap(), "b:", "-o", "json"]);
        ran.ok().json()
    };
    let report = copy();
    assert_eq!(report["files"].as_array().unwrap().len(), FILES);
    assert_eq!(report["bytes_resumed"], 0);
    for index in 0..FILES {
        let path = room.path(&format!("inbox/tree/d{}/f{index}", index / 100));
        assert_eq!(std::fs::read(path).unwrap(), format!("file {index}").as_bytes());
    }
    // One is written, one is gone at the receiver: those two are sent.
    write(&tree.join("d7/f700"), b"file 007");
    std::fs::remove_file(room.path("inbox/tree/d9/f999")).unwrap();
    let report = copy();
    assert_eq!(report["bytes"].as_u64().unwrap() - report["bytes_resumed"].as_u64().unwrap(), 16);
    assert_eq!(std::fs::read(room.path("inbox/tree/d7/f700")).unwrap(), b"file 007");
    assert_eq!(std::fs::read(room.path("inbox/tree/d9/f999")).unwrap(), b"file 999");
}

#[test]
fn a_tree_with_something_new_goes_on_beside_what_is_there() {
    let (room, _a, _b) = copy_pair();
    let tree = room.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for (name, seed) in [("b", 1), ("c", 2), ("d", 3)] {
        write(&tree.join(name), &noise(2 << 20, seed));
    }
    let copy = || {
        let ran =
            room.ctl(&["--node", "a", "copy", "-r", tree.to_str().unwrap(), "b:", "-o", "json"]);
        ran.ok().json()
    };
    copy();
    // It comes first, and while it is sent the receiver says what it has of the others.
    let new = noise(9 << 20, 4);
    write(&tree.join("a"), &new);
    let report = copy();
    assert_eq!(report["bytes_resumed"], 6 << 20, "{report:#}");
    assert!(std::fs::read(room.path("inbox/tree/a")).unwrap() == new);
}

#[test]
fn a_very_deep_tree_is_named_and_harms_nobody() {
    let (room, mut a, _b) = copy_pair();
    let tree = room.path("tree");
    std::fs::create_dir(&tree).unwrap();
    write(&tree.join("good"), b"good");
    let mut deep = std::fs::File::open(&tree).unwrap();
    for _ in 0..3_000 {
        use rustix::fs::{Mode, OFlags, mkdirat, openat};
        mkdirat(&deep, "d", Mode::RWXU).unwrap();
        deep = openat(&deep, "d", OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    let ran = room.ctl(&["--node", "a", "copy", "-r", tree.to_str().unwrap(), "b:"]);
    assert!(ran.code == 1 && ran.stderr.contains("deeper than 32 directories"), "{ran:#?}");
    assert_eq!(std::fs::read(room.path("inbox/tree/good")).unwrap(), b"good");
    assert!(a.is_running());
}

#[test]
fn links_and_permissions_arrive_and_what_cannot_be_sent_is_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (room, _a, _b) = copy_pair();
    let tree = room.path("tree");
    std::fs::create_dir_all(tree.join("deep")).unwrap();
    for (name, mode) in [("plain", 0o640), ("program", 0o4755), ("open", 0o666)] {
        write(&tree.join(name), name.as_bytes());
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    symlink("../plain", tree.join("deep/link")).unwrap();
    symlink("/etc/passwd", tree.join("far")).unwrap();
    let source = tree.to_str().unwrap();
    let ran = room.ctl(&["--node", "a", "copy", "-r", "--verify", source, "b:"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("skipped: ") && ran.stderr.contains("/etc/passwd"), "{ran:#?}");
    assert!(ran.stdout.contains("1 link") && ran.stdout.contains("; 1 skipped"), "{ran:#?}");
    let inbox = room.path("inbox/tree");
    for (name, mode) in [("plain", 0o640), ("program", 0o755), ("open", 0o644)] {
        let found = std::fs::metadata(inbox.join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(std::fs::read(inbox.join("deep/link")).unwrap(), b"plain");
    assert_eq!(names(&inbox), ["deep", "open", "plain", "program"]);
    // One that the receiver refuses does not keep the rest.
    std::fs::remove_file(tree.join("far")).unwrap();
    std::fs::remove_file(inbox.join("open")).unwrap();
    std::fs::create_dir_all(inbox.join("open/now-a-directory")).unwrap();
    write(&tree.join("zz-last"), b"last");
    let ran = room.ctl(&["--node", "a", "copy", "-r", source, "b:"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("NOT copied: tree/open: "), "{ran:#?}");
    assert!(ran.stdout.contains("; 1 NOT copied"), "{ran:#?}");
    assert_eq!(std::fs::read(inbox.join("zz-last")).unwrap(), b"last");
}

#[test]
fn copies_of_one_tree_at_once_are_all_whole() {
    let (room, _a, _b) = copy_pair();
    let tree = room.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let content = |index: u64| noise(256 << 10, index + 1);
    (0..20).for_each(|index| write(&tree.join(format!("f{index}")), &content(index)));
    let source = tree.to_str().unwrap();
    std::thread::scope(|scope| {
        let copies: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| room.ctl(&["--node", "a", "copy", "-r", source, "b:"])))
            .collect();
        copies.into_iter().for_each(|copy| drop(copy.join().unwrap().ok()));
    });
    let inbox = room.path("inbox/tree");
    assert_eq!(names(&inbox).len(), 20);
    for index in 0..20 {
        assert!(std::fs::read(inbox.join(format!("f{index}"))).unwrap() == content(index));
    }
}

#[test]
fn a_limit_holds() {
    let (room, _a, _b) = copy_pair();
    let file = room.path("file");
    write(&file, &noise(900_000, 5));
    let began = std::time::Instant::now();
    let names = [file.to_str().unwrap(), "b:"];
    room.ctl(&[&["--node", "a", "copy", "--limit", "300KB"], &names[..]].concat()).ok();
    // All but the first piece has to wait for those before it.
    assert!(began.elapsed() > Duration::from_millis(2_500), "{:?}", began.elapsed());
}

#[test]
fn a_file_that_is_written_while_it_is_sent_is_not_kept() {
    let (room, _a, _b) = copy_pair();
    let (file, other) = (room.path("log"), room.path("other"));
    // At the limit it would take a minute and a half. That it is given up is seen at the next piece.
    write(&file, &noise(27_000_000, 5));
    write(&other, b"other");
    let ran = std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let names = [file.to_str().unwrap(), other.to_str().unwrap()];
            room.ctl(&["--node", "a", "copy", "--limit", "300KB", names[0], names[1], "b:"])
        });
        // Not before it is read: until then it is sent as it is.
        wait_for("a piece of it", || {
            let has_come = |part: &PathBuf| part.metadata().is_ok_and(|found| found.len() > 0);
            parts(&room.path("inbox")).iter().any(has_come).then_some(())
        });
        let mut log = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        log.write_all(b"one line more").unwrap();
        copying.join().unwrap()
    });
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("NOT copied: log: was written while"), "{ran:#?}");
    assert_eq!(names(&room.path("inbox")), ["other"]);
}

#[test]
fn more_names_than_a_command_takes_are_refused_before_anything_is_sent() {
    let (room, _a, _b) = copy_pair();
    let name = room.text(&format!("deep/{}", "x".repeat(200)));
    let names = vec![name.as_str(); 6_000];
    let words = [&["--node", "a", "copy"], &names[..], &["b:"]].concat();
    let ran = room.ctl(&words);
    assert!(ran.code == 2 && ran.stderr.contains("--recursive"), "{}: {}", ran.code, ran.stderr);
}

#[test]
fn a_full_disk_is_named_and_what_was_confirmed_stays() {
    let room = Room::new(&["a", "b"]);
    let inbox = room.path("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let Some(disk) = common::own_disk(&inbox, "size=1m") else {
        return common::skip("a full disk", "a small file system needs a mount namespace");
    };
    room.config("b", "peers: [{nodeId: a}]\nfiles: {receiveDirectory: inbox, keepFree: 0B}\n");
    let b = room.start_in(&disk, "b");
    let address = room.address("b");
    room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let _a = room.start("a");
    let seen = format!("/proc/{}/root{}", b.id(), inbox.display());
    // More than there is room for is refused before a byte of it is sent.
    write(&room.path("large"), &noise(2 << 20, 3));
    let ran = room.ctl(&["--node", "a", "copy", &room.text("large"), "b:"]);
    assert!(ran.code == 1 && ran.stderr.contains("2 097 152 bytes would come"), "{ran:#?}");
    assert!(names(Path::new(&seen)).is_empty());
    // Each of these takes a page, and there are 256 of them: the disk is full in the middle.
    let tree = room.path("tree");
    std::fs::create_dir(&tree).unwrap();
    (0..400).for_each(|index| write(&tree.join(format!("f{index:03}")), b"x"));
    let ran = room.ctl(&["--node", "a", "copy", "-r", tree.to_str().unwrap(), "b:"]);
    assert!(ran.code == 1 && ran.stderr.contains("disk is full"), "{ran:#?}");
    let here = Path::new(&seen).join("tree");
    let kept = names(&here);
    assert!(kept.len() > 100 && kept.iter().all(|name| name.starts_with('f')), "{kept:?}");
    assert!(kept.iter().all(|name| std::fs::read(here.join(name)).unwrap() == b"x"));
    // The node goes on, and with room again so does the copy: what is there counts as that, and does not come twice.
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    kept.iter().skip(20).for_each(|name| std::fs::remove_file(here.join(name)).unwrap());
    let (room_left, first) = (700 << 10, room.text("tree/first"));
    write(Path::new(&first), &noise(room_left, 9));
    room.ctl(&["--node", "a", "copy", &first, "b:"]).ok();
    // More than is free now, and most of it is there.
    let both = room.path("both");
    std::fs::create_dir(&both).unwrap();
    for name in ["first", "second"] {
        write(&both.join(name), &noise(room_left, 9));
    }
    let ran = room.ctl(&["--node", "a", "copy", "-r", both.to_str().unwrap(), "b:"]);
    assert!(ran.code == 1 && ran.stderr.contains("bytes would come"), "{ran:#?}");
    assert!(!Path::new(&seen).join("both").exists(), "nothing of it was sent");
    write(Path::new(&room.text("second")), b"small");
    let ran = room.ctl(&["--node", "a", "copy", &first, &room.text("second"), "b:"]).ok();
    assert!(ran.stdout.contains("was there"), "{ran:#?}");
}
