use super::*;

/// A receiver that answers by `answer`, in `version`: what it was sent, and what failed. In place of data: how
/// much it was.
fn converse(
    version: u32,
    sources: Vec<Source>,
    room_bytes: Option<u64>,
    mut answer: impl FnMut(&Frame<'_>) -> Option<Reply>,
) -> (Result<(), ServiceError>, Vec<String>, Vec<LeftOut>) {
    let (to_network, mut from_disk) = mpsc::channel(1);
    let (to_disk, replies) = mpsc::unbounded_channel();
    let (notes, mut noted) = mpsc::unbounded_channel();
    let reader = SourceReader::new(version, 4, to_network, replies, notes);
    let reading = std::thread::spawn(move || reader.run(sources, room_bytes, "b:in"));
    let (mut said, mut file, mut hash) = (Vec::new(), None, Sha256::new());
    while let Some(message) = from_disk.blocking_recv() {
        let frame = Frame::decode(&message).unwrap();
        // As the receiver does: nothing but a file's own messages within it.
        let is_within = matches!(frame, Frame::Data(_) | Frame::End(_) | Frame::Abandon);
        assert_eq!(file.is_some(), is_within, "{frame:?} after {said:?}");
        said.push(match &frame {
            Frame::Offer(head) => format!("offer {}", head.name),
            Frame::Prefix(Prefix { head, held, .. }) => format!("prefix {} {held}", head.name),
            Frame::File(FileHead { name, from, mtime_ns, .. }) => {
                format!("file {name} {from}{}", if mtime_ns.is_some() { " kept" } else { "" })
            }
            Frame::Data(data) => format!("data {}", data.len()),
            Frame::End(_) => "end".into(),
            Frame::Directory(directory) => format!("directory {}", directory.name),
            other => format!("{other:?}"),
        });
        let mut replies: Vec<_> = answer(&frame).into_iter().collect();
        match &frame {
            Frame::File(head) => (file, hash) = (Some(head.clone()), Sha256::new()),
            Frame::Data(data) => hash.update(data),
            Frame::End(End { sha256 }) => {
                let FileHead { name, bytes, from, .. } = file.take().unwrap();
                assert!(from > 0 || *sha256 == hex(&hash.finalize_reset()));
                let sha256 = sha256.clone();
                replies.push(Reply::Saved { name, bytes, sha256 });
            }
            Frame::Abandon => file = None,
            Frame::Directory(Directory { name }) | Frame::Link(Link { name, .. }) => {
                replies.push(Reply::Made { name: name.clone() });
            }
            _ => {}
        }
        for reply in replies {
            let _ = to_disk.send(reply); // it may have given up
        }
    }
    let noted = std::iter::from_fn(|| noted.try_recv().ok());
    let left_out = noted.filter_map(|note| match note {
        Note::Failed(left_out) => Some(left_out),
        _ => None,
    });
    let left_out = left_out.collect();
    (reading.join().unwrap(), said, left_out)
}

fn source(room: &tempfile::TempDir, name: &str, content: &[u8]) -> Source {
    let path = room.path().join(name);
    fs::write(&path, content).unwrap();
    let kind = Kind::of_file(&fs::metadata(&path).unwrap());
    Source { path, name: name.into(), root: None, kind }
}

#[test]
fn a_receiver_of_version_1_is_asked_nothing() {
    let room = tempfile::tempdir().unwrap();
    let hollow = Source { path: "h".into(), name: "h".into(), root: None, kind: Kind::Directory };
    let sources = vec![source(&room, "a", b"hello"), hollow];
    let (result, said, failed) = converse(1, sources.clone(), None, |_| None);
    result.unwrap();
    assert_eq!(said, ["directory h", "file a 0", "data 4", "data 1", "end"]);
    assert!(failed.is_empty());
    // It knows no file that is given up.
    fs::remove_file(&sources[0].path).unwrap();
    let (result, _, _) = converse(1, sources, None, |_| None);
    assert!(result.unwrap_err().to_string().contains("cannot be sent"));
}

#[test]
fn the_end_is_said_before_the_last_confirmation() {
    let room = tempfile::tempdir().unwrap();
    let (to_network, mut from_disk) = mpsc::channel(1);
    let (to_disk, replies) = mpsc::unbounded_channel();
    let (notes, _noted) = mpsc::unbounded_channel();
    let reader = SourceReader::new(2, 4, to_network, replies, notes);
    let sources = vec![source(&room, "a", b"hello")];
    let reading = std::thread::spawn(move || reader.run(sources, None, "b:in"));
    from_disk.blocking_recv().expect("an offer");
    to_disk.send(Reply::Has { name: "a".into(), bytes: 0 }).unwrap();
    // The file, two pieces of it, its end.
    assert_eq!(std::iter::from_fn(|| from_disk.blocking_recv()).count(), 4);
    let sha256 = hex(&Sha256::digest(b"hello"));
    to_disk.send(Reply::Saved { name: "a".into(), bytes: 5, sha256 }).unwrap();
    reading.join().unwrap().unwrap();
}

#[test]
fn files_go_on_from_where_the_receiver_has_them() {
    let room = tempfile::tempdir().unwrap();
    let names = ["new", "begun", "there", "other", "refused"];
    let sources = names.map(|name| source(&room, name, b"hello")).to_vec();
    let name = |head: &FileHead| head.name.clone();
    let (result, said, failed) = converse(2, sources, Some(1_000), |frame| match frame {
        Frame::Offer(head) => Some(match &*head.name {
            "new" => Reply::Has { name: name(head), bytes: 0 },
            "begun" => Reply::Has { name: name(head), bytes: 3 },
            "refused" => Reply::Refused { name: name(head), message: "no".into() },
            _ => Reply::Has { name: name(head), bytes: 5 },
        }),
        Frame::Prefix(Prefix { head, sha256, .. }) => Some(match &*head.name {
            "begun" => {
                assert_eq!(*sha256, hex(&Sha256::digest(b"hel")));
                Reply::Same { name: name(head) }
            }
            "there" => Reply::Saved { name: name(head), bytes: 5, sha256: sha256.clone() },
            _ => Reply::Differs { name: name(head) },
        }),
        Frame::End(End { sha256 }) => {
            assert_eq!(*sha256, hex(&Sha256::digest(b"hello")), "it is that of the whole file");
            None
        }
        _ => None,
    });
    result.unwrap();
    assert!(failed.len() == 1 && failed[0].message == "no", "{failed:?}");
    let count = |word: &str| said.iter().filter(|said| said.starts_with(word)).count();
    assert_eq!((count("offer"), count("prefix"), count("file"), count("end")), (5, 3, 3, 3));
    let after = |what: &str| {
        let at = said.iter().position(|said| said == what).unwrap_or_else(|| panic!("{said:?}"));
        said[at + 1].clone()
    };
    assert_eq!(after("file begun 3 kept"), "data 2");
    for whole in ["new", "other"] {
        assert_eq!(after(&format!("file {whole} 0 kept")), "data 4");
    }
}

#[test]
fn many_are_asked_about_before_the_first_answer_is_needed() {
    let room = tempfile::tempdir().unwrap();
    let sources: Vec<_> =
        (0..AHEAD + 1).map(|index| source(&room, &format!("f{index}"), b"")).collect();
    let mut asked = VecDeque::new();
    let (result, said, _) = converse(2, sources, None, |frame| {
        if let Frame::Offer(head) = frame {
            asked.push_back(head.name.clone());
        }
        let is_time = asked.len() >= AHEAD || matches!(frame, Frame::End(_));
        let name = is_time.then(|| asked.pop_front()).flatten()?;
        Some(Reply::Has { name, bytes: 0 })
    });
    result.unwrap();
    assert!(said[..AHEAD].iter().all(|said| said.starts_with("offer")), "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "end").count(), AHEAD + 1);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_sent() {
    let room = tempfile::tempdir().unwrap();
    // Of the one that is written meanwhile there is more than is read ahead of what the network has taken.
    let contents = [("gone", &b"hello"[..]), ("written", &[7; 100]), ("good", b"hello")];
    let sources = contents.map(|(name, content)| source(&room, name, content)).to_vec();
    fs::remove_file(room.path().join("gone")).unwrap();
    let written = room.path().join("written");
    let (result, said, failed) = converse(2, sources, None, |frame| match frame {
        Frame::Offer(head) => Some(Reply::Has { name: head.name.clone(), bytes: 0 }),
        Frame::File(head) if head.name == "written" => {
            fs::write(&written, b"other").unwrap();
            File::open(&written).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
            None
        }
        _ => None,
    });
    result.unwrap();
    let names: Vec<_> = failed.iter().map(|failed| &*failed.name).collect();
    assert_eq!(names, ["gone", "written"]);
    assert!(said.contains(&"Abandon".into()), "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "end").count(), 1);
}

/// Who copies a directory of logs reads each of them long after it was offered.
#[test]
fn what_is_written_before_its_turn_is_sent_as_it_is_then() {
    let room = tempfile::tempdir().unwrap();
    let sources = ["log", "begun", "resumed"].map(|name| source(&room, name, b"hello")).to_vec();
    let append = |name: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(room.path().join(name)).unwrap();
        io::Write::write_all(&mut file, b", world").unwrap();
    };
    let (mut heads, mut same) = (Vec::new(), 0);
    let (result, said, failed) = converse(2, sources, None, |frame| match frame {
        Frame::Offer(head) => {
            let name = head.name.clone();
            if name != "resumed" {
                append(&name);
            }
            let bytes = if name == "log" { 0 } else { 3 };
            Some(Reply::Has { name, bytes })
        }
        // It was read up to there; what that is worth is seen when its turn comes.
        Frame::Prefix(Prefix { head, .. }) => {
            append(&head.name);
            same += 1;
            Some(Reply::Same { name: head.name.clone() })
        }
        Frame::File(head) => {
            heads.push((head.name.clone(), head.bytes, head.from));
            None
        }
        _ => None,
    });
    result.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    heads.sort();
    let whole = ["begun", "log", "resumed"].map(|name| (name.to_owned(), 12, 0));
    assert_eq!((heads.as_slice(), same), (&whole[..], 1), "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "data 4").count(), 9, "{said:?}");
}

/// A file of a tebibyte that the receiver says it has takes an hour to be read.
#[test]
fn what_the_receiver_has_is_read_no_further_when_nobody_waits_for_it() {
    let room = tempfile::tempdir().unwrap();
    let bytes = 1 << 40;
    File::create(room.path().join("huge")).unwrap().set_len(bytes).unwrap();
    let path = room.path().join("huge");
    let kind = Kind::of_file(&fs::metadata(&path).unwrap());
    let huge = Source { path, name: "huge".into(), root: None, kind };
    let (to_network, mut from_disk) = mpsc::channel(1);
    let (to_disk, replies) = mpsc::unbounded_channel();
    let (notes, mut noted) = mpsc::unbounded_channel();
    let reader = SourceReader::new(2, 4, to_network, replies, notes);
    let (over, is_over) = std::sync::mpsc::channel();
    std::thread::spawn(move || over.send(reader.run(vec![huge], None, "b:in").is_ok()));
    assert!(matches!(Frame::decode(&from_disk.blocking_recv().unwrap()), Ok(Frame::Offer(_))));
    to_disk.send(Reply::Has { name: "huge".into(), bytes }).unwrap();
    // It tells how far it has come, so that nobody takes it for dead.
    let note = noted.blocking_recv().unwrap();
    assert!(matches!(note, Note::Compared(read) if read > 0 && read < bytes), "{note:?}");
    drop((from_disk, to_disk));
    assert!(is_over.recv_timeout(std::time::Duration::from_secs(60)).expect("it ends"));
}

#[test]
fn more_than_there_is_room_for_is_found_out_before_anything_is_sent() {
    let room = tempfile::tempdir().unwrap();
    let sources = || ["a", "b", "c"].map(|name| source(&room, name, b"hello")).to_vec();
    let there = |frame: &Frame<'_>| match frame {
        Frame::Offer(head) if head.name == "c" => {
            Some(Reply::Refused { name: "c".into(), message: "no".into() })
        }
        Frame::Offer(head) => {
            let bytes = if head.name == "a" { 4 } else { 0 };
            Some(Reply::Has { name: head.name.clone(), bytes })
        }
        Frame::Prefix(prefix) => Some(Reply::Same { name: prefix.head.name.clone() }),
        _ => None,
    };
    let (result, said, _) = converse(2, sources(), Some(5), there);
    let refused = result.unwrap_err().to_string();
    assert!(refused.contains("b:in: 6 bytes would come, 5 bytes are free"), "{refused}");
    assert_eq!(said, ["offer a", "offer b", "offer c"]);
    let (result, said, _) = converse(2, sources(), Some(6), there);
    result.unwrap();
    assert!(said.contains(&"file a 4 kept".into()), "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "offer c").count(), 1, "once was enough");
}

#[test]
fn a_receiver_that_says_what_nobody_asked_is_not_believed() {
    let room = tempfile::tempdir().unwrap();
    let name = || "a".to_owned();
    let has = |bytes| Reply::Has { name: name(), bytes };
    type When = fn(&Frame<'_>) -> bool;
    let lies: [(&str, When, Reply); 7] = [
        ("longer", |frame| matches!(frame, Frame::Offer(_)), has(6)),
        ("unasked", |frame| matches!(frame, Frame::Offer(_)), Reply::Same { name: name() }),
        ("made", |frame| matches!(frame, Frame::Offer(_)), Reply::Made { name: name() }),
        ("twice", |frame| matches!(frame, Frame::File(_)), has(0)),
        (
            "other",
            |frame| matches!(frame, Frame::Offer(_)),
            Reply::Has { name: "b".into(), bytes: 0 },
        ),
        (
            "early",
            |frame| matches!(frame, Frame::Offer(_)),
            Reply::Saved { name: name(), bytes: 5, sha256: hex(&Sha256::digest(b"hello")) },
        ),
        (
            "another checksum",
            |frame| matches!(frame, Frame::End(_)),
            Reply::Saved { name: name(), bytes: 5, sha256: "00".repeat(32) },
        ),
    ];
    for (what, when, lie) in lies {
        let (result, ..) =
            converse(2, vec![source(&room, "a", b"hello")], None, |frame| match frame {
                frame if when(frame) => Some(lie.clone()),
                Frame::Offer(_) => Some(has(0)),
                _ => None,
            });
        assert!(matches!(result, Err(ServiceError::Malformed(_))), "{what}: {result:?}");
    }
}

#[test]
fn below_a_tree_no_link_is_followed_and_no_pipe_is_waited_for() {
    let room = tempfile::tempdir().unwrap();
    let root: std::sync::Arc<std::path::Path> = std::sync::Arc::from(room.path());
    let names = ["file", "pipe", "deep"];
    let sources = names.map(|name| {
        let source = source(&room, name, b"hello");
        Source { root: Some(root.clone()), ..source }
    });
    // What somebody may do between the walk and the reading.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("secret"), b"hello").unwrap();
    for name in names {
        fs::remove_file(room.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(elsewhere.path().join("secret"), room.path().join("file")).unwrap();
    rustix::fs::mkfifoat(CWD, room.path().join("pipe"), Mode::RUSR).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), room.path().join("deep")).unwrap();
    let mut sources = sources.to_vec();
    sources[2].path.push("secret");
    let (result, said, failed) = converse(2, sources, None, |_| None);
    result.unwrap();
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(failed.len(), 3, "{failed:?}");
}
