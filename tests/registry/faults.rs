//! Registries that fail: at every request in turn, in the middle of a blob, by silence.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use treering::image::{Base, DiffOptions, Image, UnpackOptions, diff_tree};
use treering::registry::{
    Copied, CopyOptions, Credential, PullOptions, Pulled, PushOptions, Pushed, copy, login, pull,
    pull_and_unpack, push, tags,
};
use treering::{Control, Error, ErrorKind, Event, Events};

use treering::store::{FsckLevel, PruneOptions};

use crate::fake::{Act, Answer, Door, Fake};
use crate::world::World;
use support::sh;

fn push_to(world: &World, name: &str) -> Result<Pushed, Error> {
    push(&world.store, &world.registries(""), name, name, &PushOptions::default(), &world.control)
}

fn pull_from(world: &World, name: &str) -> Result<Pulled, Error> {
    pull(&world.store, &world.registries(""), name, &PullOptions::default(), &world.control)
}

fn copy_to(world: &World, from: &str, to: &str) -> Result<Copied, Error> {
    copy(&world.registries(""), from, to, &CopyOptions::default(), &world.control)
}

/// Returns faults that happen to one request.
fn faults() -> Vec<(&'static str, Act)> {
    vec![
        ("500", Act::Say(Answer::error(500, "UNKNOWN"))),
        ("503", Act::Say(Answer::new(503).with("retry-after", "0").body("<html>busy</html>"))),
        ("429", Act::Say(Answer::error(429, "TOOMANYREQUESTS"))),
        ("closed", Act::Close),
        ("forgotten", Act::Forget),
        ("cut", Act::Cut(7)),
    ]
}

#[test]
fn a_push_survives_a_failure_at_every_request_in_turn() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    // A layer that goes in chunks, and a small one.
    let world = World::with_image(&name, 3 << 20);
    for (fault, act) in faults() {
        let mut at = 0;
        loop {
            fake.with(|state| {
                state.blobs.clear();
                state.manifests.clear();
            });
            let act = act.clone();
            fake.rule(move |seen| (seen.number == at).then(|| act.clone()));
            let pushed = push_to(&world, &name).unwrap_or_else(|error| panic!("{fault} at {at}: {error}"));
            assert_eq!(
                fake.tag("app", "v1").unwrap(),
                Image::open(&world.store, &name, None).unwrap().manifest_bytes()
            );
            assert_eq!(fake.with(|state| state.blobs.len()), 3, "{fault} at {at}");
            assert!(pushed.sent + pushed.present == 3);
            if fake.log().len() <= at {
                break;
            }
            at += 1;
        }
        assert!(at > 8, "{at}");
    }
}

#[test]
fn a_pull_survives_a_failure_at_every_request_in_turn() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 1 << 20);
    push_to(&origin, &name).unwrap();
    for (fault, act) in faults() {
        let mut at = 0;
        loop {
            let act = act.clone();
            fake.rule(move |seen| (seen.number == at).then(|| act.clone()));
            let world = World::new();
            pull_from(&world, &name).unwrap_or_else(|error| panic!("{fault} at {at}: {error}"));
            let image = Image::open(&world.store, &name, None).unwrap();
            assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
            assert_eq!(image.layers().len(), 2);
            if fake.log().len() <= at {
                break;
            }
            at += 1;
        }
        assert!(at >= 4, "{at}");
    }
}

#[test]
fn a_copy_survives_a_failure_at_every_request_in_turn_on_either_side() {
    let (from, to) = (Fake::start(), Fake::start());
    let name = from.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    push_to(&world, &name).unwrap();
    let target = to.name("app:v1");
    for source_fails in [true, false] {
        let failing = if source_fails { &from } else { &to };
        for (fault, act) in faults() {
            let mut at = 0;
            loop {
                to.with(|state| {
                    state.blobs.clear();
                    state.manifests.clear();
                });
                let act = act.clone();
                failing.rule(move |seen| (seen.number == at).then(|| act.clone()));
                let copied = copy_to(&world, &name, &target);
                let copied = copied.unwrap_or_else(|error| panic!("{fault} at {at}: {error}"));
                assert_eq!(to.tag("app", "v1"), from.tag("app", "v1"), "{fault} at {at}");
                assert!(copied.sent + copied.present == 3, "{fault} at {at}: {copied:?}");
                if failing.log().len() <= at {
                    break;
                }
                at += 1;
            }
            assert!(at >= 4, "{at}");
        }
        failing.rule(|_| None);
    }
}

/// Whatever the source does, the target is not what is named.
#[test]
fn a_copy_names_the_side_that_fails() {
    let (from, to) = (Fake::start(), Fake::start());
    let name = from.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    push_to(&world, &name).unwrap();
    let target = to.name("app:v1");
    let registries =
        world.registries("").with_patience(Duration::from_millis(400), 2, Duration::from_millis(10));
    let cases: Vec<(&str, Act, &str)> = vec![
        ("cut at once", Act::Cut(0), "ended too early"),
        ("cut", Act::Cut(7), "ended too early"),
        ("500", Act::Say(Answer::error(500, "UNKNOWN")), "answered 500"),
        ("closed", Act::Close, ""),
        ("silent", Act::Stall, "nothing moved"),
        ("silent in the midst", Act::Hold(7), "nothing moved"),
    ];
    for (method, source_fails) in [("GET", true), ("PUT", false)] {
        let (failing, other) = if source_fails { (&from, &to) } else { (&to, &from) };
        for (what, act, reason) in &cases {
            let answers_nothing = act.clone();
            failing.rule(move |seen| seen.is(method, "/blobs/").then(|| answers_nothing.clone()));
            let error = copy(&registries, &name, &target, &CopyOptions::default(), &world.control);
            // An answer to an upload has nothing in it that could be cut.
            let Err(error) = error else {
                assert!(!source_fails && what.contains("cut") || what.contains("midst"), "{method} {what}");
                to.with(|state| {
                    state.blobs.clear();
                    state.manifests.clear();
                });
                continue;
            };
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Network, "{method} {what}: {text}");
            assert!(text.contains(&failing.port.to_string()) && text.contains(reason), "{what}: {text}");
            assert!(!text.contains(&other.port.to_string()), "{what}: {text}");
            assert!(to.tag("app", "v1").is_none(), "{what}");
        }
        failing.rule(|_| None);
    }
}

/// The registry would keep what has arrived for as long as it likes.
#[test]
fn an_upload_that_is_refused_for_good_is_cancelled() {
    let world = World::with_image("app:v1", 3 << 20);
    let large = Image::open(&world.store, "app:v1", None).unwrap().layers()[0].digest.hex();
    for (method, status, code) in [
        ("PUT", 400, "DIGEST_INVALID"),
        ("PUT", 413, "SIZE_INVALID"),
        ("PATCH", 409, "CONFLICT"),
        ("PATCH", 422, "UNPROCESSABLE"),
    ] {
        let fake = Fake::start();
        let basic = "Basic dXNlcjpzZWNyZXQ=".to_string();
        fake.with(|state| state.door = Door::Basic(basic.clone()));
        login(&world.registries(""), &fake.name(""), &Credential::basic("user", "secret"), &world.control)
            .unwrap();
        let digest = large.clone();
        fake.rule(move |seen| {
            let large = seen.method == "PATCH" || seen.target.contains(&digest);
            (seen.is(method, "/uploads/") && large).then(|| Act::Say(Answer::error(status, code)))
        });
        let options = PushOptions::default();
        let (to, registries) = (fake.name("app:v1"), world.registries(""));
        let error = push(&world.store, &registries, "app:v1", &to, &options, &world.control).unwrap_err();
        assert!(error.message().contains(code), "{error}");
        let log = fake.log();
        let is_refused = |seen: &&crate::fake::Seen| {
            seen.is(method, "/uploads/") && (method == "PATCH" || seen.target.contains(&large))
        };
        let refused = log.iter().find(is_refused).unwrap();
        let dropped: Vec<_> = log.iter().filter(|seen| seen.method == "DELETE").collect();
        let path = |target: &str| target.split('?').next().unwrap().to_string();
        assert_eq!(dropped.len(), 1, "{method} {status}");
        assert_eq!(path(&dropped[0].target), path(&refused.target), "{method} {status}");
        assert_eq!(dropped[0].header("authorization"), basic);
        assert_eq!(fake.with(|state| state.open_uploads()), 0, "{method} {status}");
        // Where that is refused as well, or never answered, the first error is what is reported.
        for act in [Act::Say(Answer::error(405, "UNSUPPORTED")), Act::Close] {
            let digest = large.clone();
            fake.rule(move |seen| {
                let large = seen.method == "PATCH" || seen.target.contains(&digest);
                match seen.method.as_str() {
                    "DELETE" => Some(act.clone()),
                    _ if seen.is(method, "/uploads/") && large => Some(Act::Say(Answer::error(status, code))),
                    _ => None,
                }
            });
            let error = push(&world.store, &registries, "app:v1", &to, &options, &world.control).unwrap_err();
            assert!(error.message().contains(code), "{error}");
            assert_eq!(fake.log().iter().filter(|seen| seen.method == "DELETE").count(), 1);
        }
    }
    // What the next push goes on with stays.
    let fake = Fake::start();
    fake.rule(|seen| (seen.method == "PATCH").then(|| Act::Say(Answer::error(500, "UNKNOWN"))));
    let to = fake.name("app:v1");
    push(&world.store, &world.registries(""), "app:v1", &to, &PushOptions::default(), &world.control)
        .unwrap_err();
    assert!(fake.log().iter().all(|seen| seen.method != "DELETE"));
}

#[test]
fn a_registry_that_stays_broken_is_an_error_and_nothing_half_is_published() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 1 << 20);
    let requests = {
        push_to(&origin, &name).unwrap();
        fake.log().len()
    };
    for from in 0..requests {
        fake.with(|state| {
            state.blobs.clear();
            state.manifests.clear();
        });
        fake.rule(move |seen| (seen.number >= from).then(|| Act::Say(Answer::error(500, "UNKNOWN"))));
        let error = push_to(&origin, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{from}: {error}");
        assert!(error.to_string().contains("answered 500"), "{error}");
        assert!(fake.tag("app", "v1").is_none(), "{from}");
    }
    fake.rule(|_| None);
    push_to(&origin, &name).unwrap();
    let to = Fake::start();
    for from in 0..4 {
        fake.rule(move |seen| (seen.number >= from).then(|| Act::Say(Answer::error(500, "UNKNOWN"))));
        let error = copy_to(&origin, &name, &to.name("app:v1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{from}: {error}");
        assert!(error.to_string().contains("answered 500"), "{error}");
        assert!(to.tag("app", "v1").is_none(), "{from}");
        to.with(|state| state.blobs.clear());
    }
    for from in 0..4 {
        fake.rule(move |seen| (seen.number >= from).then_some(Act::Close));
        let world = World::new();
        let error = pull_from(&world, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{from}: {error}");
        assert!(world.store.entries().unwrap().is_empty());
        assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
    }
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let size = 3 << 20;
    let origin = World::with_image(&name, size);
    push_to(&origin, &name).unwrap();
    let large = Image::open(&origin.store, &name, None).unwrap().layers()[0].clone();
    let digest = large.digest.to_string();
    let of_layer = digest.clone();
    fake.rule(move |seen| seen.is("GET", &of_layer).then_some(Act::Cut(1 << 20)));
    let world = World::new();
    pull_from(&world, &name).unwrap();
    let ranges: Vec<String> = fake
        .log()
        .iter()
        .filter(|seen| seen.is("GET", &digest))
        .map(|seen| seen.header("range").into())
        .collect();
    // Every request begins where the one before was cut.
    let expected: Vec<String> = (0..ranges.len())
        .map(|n| if n == 0 { String::new() } else { format!("bytes={}-", n << 20) })
        .collect();
    assert_eq!(ranges, expected);
    assert_eq!(ranges.len() as u64, large.size.div_ceil(1 << 20));

    // A registry without ranges sends all of it again, and the right part is taken.
    let of_layer = digest.clone();
    fake.rule(move |seen| match seen.is("GET", &of_layer) {
        true if seen.header("range").is_empty() => Some(Act::Cut(1 << 20)),
        true => Some(Act::Change(|answer| answer)),
        false => None,
    });
    fake.with(|state| state.log.clear());
    pull_from(&World::new(), &name).unwrap();

    // One that sends another range than it was asked for is not believed.
    let of_layer = digest.clone();
    fake.rule(move |seen| match seen.is("GET", &of_layer) {
        true if seen.header("range").is_empty() => Some(Act::Cut(1 << 20)),
        true => Some(Act::Change(|answer| answer.with("content-range", "bytes 5-9/10"))),
        false => None,
    });
    let world = World::new();
    assert_eq!(pull_from(&world, &name).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(world.store.refs().unwrap().is_empty());
}

#[test]
fn a_download_that_ended_in_an_error_goes_on_in_the_next_pull() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 3 << 20);
    push_to(&origin, &name).unwrap();
    let digest = Image::open(&origin.store, &name, None).unwrap().layers()[0].digest;
    let world = World::new();
    let tmp = world.store.root_path().join("tmp");
    let partial = tmp.join(format!("partial-{}", digest.hex()));
    let cut = |world: &World| {
        let of_layer = digest.to_string();
        fake.rule(move |seen| {
            let first = seen.header("range").is_empty();
            seen.is("GET", &of_layer).then_some(if first { Act::Cut(2 << 20) } else { Act::Close })
        });
        assert_eq!(pull_from(world, &name).unwrap_err().kind(), ErrorKind::Network);
        assert!(world.store.refs().unwrap().is_empty());
        fake.rule(|_| None);
    };
    let asked = || {
        let log = fake.log();
        log.iter()
            .filter(|seen| seen.is("GET", &digest.to_string()))
            .map(|seen| seen.header("range").to_string())
            .collect::<Vec<_>>()
    };
    cut(&world);
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 2 << 20);
    assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
    let control = Control::default();
    let dir = world.scratch.join("unpacked");
    let (options, unpack) = (PullOptions::default(), UnpackOptions::default());
    pull_and_unpack(&world.store, &world.registries(""), &name, &dir, &options, &unpack, &control).unwrap();
    assert_eq!(asked(), ["bytes=2097152-"]);
    let (read, total) = (&control.counters.bytes_read, &control.counters.bytes_total);
    assert_eq!(read.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
    assert_eq!(std::fs::metadata(dir.join("data")).unwrap().len(), 3 << 20);

    // A prune takes what is left of it.
    let world = World::new();
    cut(&world);
    world.store.prune(&PruneOptions::default(), &world.control).unwrap();
    assert_eq!(std::fs::read_dir(world.store.root_path().join("tmp")).unwrap().count(), 0);
    pull_from(&world, &name).unwrap();
    assert_eq!(asked(), [""]);

    // What was damaged meanwhile is found out when all is there, and fetched from the beginning by the same pull: whether it is unpacked
    // meanwhile or not, nothing of what was damaged is looked at.
    for unpacked in [false, true] {
        let world = World::new();
        cut(&world);
        let partial = world.store.root_path().join(format!("tmp/partial-{}", digest.hex()));
        std::fs::write(&partial, vec![0; 2 << 20]).unwrap();
        let dir = world.scratch.join("unpacked");
        match unpacked {
            false => drop(pull_from(&world, &name).unwrap()),
            true => {
                let registries = world.registries("");
                pull_and_unpack(&world.store, &registries, &name, &dir, &options, &unpack, &world.control)
                    .unwrap();
                sh(
                    world.scratch.path(),
                    &format!("diff -r unpacked {}", origin.scratch.join("tree").display()),
                );
            }
        }
        assert_eq!(asked(), ["bytes=2097152-", ""]);
        assert!(!partial.exists());
        assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
    }
    // A registry that sends the wrong bytes is not asked for ever.
    let world = World::new();
    cut(&world);
    let of_layer = digest.to_string();
    fake.rule(move |seen| {
        let change: fn(Answer) -> Answer = |mut answer| {
            answer.body[7] ^= 1;
            answer
        };
        seen.is("GET", &of_layer).then_some(Act::Change(change))
    });
    assert_eq!(pull_from(&world, &name).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(world.store.refs().unwrap().is_empty());
    assert_eq!(asked(), ["bytes=2097152-", ""]);
}

/// Nothing is asked for twice, however a pull ends.
#[test]
fn a_pull_that_was_killed_is_gone_on_with_by_the_next() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 3 << 20);
    push_to(&origin, &name).unwrap();
    let digest = Image::open(&origin.store, &name, None).unwrap().layers()[0].digest;
    for unpacked in [false, true] {
        let world = World::new();
        let partial = world.store.root_path().join(format!("tmp/partial-{}", digest.hex()));
        let of_layer = digest.to_string();
        fake.rule(move |seen| seen.is("GET", &of_layer).then_some(Act::Hold(2 << 20)));
        let mut command = Command::new(support::program());
        command.args(["pull", "-q", &name]).env("TREERING_ROOT", world.store.root_path());
        if unpacked {
            command.arg("--unpack").arg(world.scratch.join("unpacked"));
        }
        let mut child = command.env("HOME", world.scratch.path()).spawn().unwrap();
        let began = Instant::now();
        while std::fs::metadata(&partial).map_or(0, |meta| meta.len()) < 2 << 20 {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing arrives");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(world.store.refs().unwrap().is_empty());
        assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
        fake.rule(|_| None);
        pull_from(&world, &name).unwrap();
        let ranges: Vec<String> = fake
            .log()
            .iter()
            .filter(|seen| seen.is("GET", &digest.to_string()))
            .map(|seen| seen.header("range").to_string())
            .collect();
        assert_eq!(ranges, ["bytes=2097152-"]);
        assert!(!partial.exists());
        assert!(world.store.fsck(FsckLevel::Bytes, &world.control).unwrap().problems.is_empty());
    }
}

#[test]
fn a_cut_upload_goes_on_where_it_was() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    fake.rule(move |seen| seen.is("PATCH", "/uploads/").then_some(Act::CutRequest(1 << 20)));
    // Each try brings a mebibyte, and what came last was the end.
    push_to(&world, &name).unwrap();
    fake.with(|state| {
        state.blobs.clear();
        state.manifests.clear();
    });
    fake.rule(move |seen| {
        let start = seen.header("content-range").split('-').next()?.parse::<u64>().ok()?;
        (start < 2 << 20).then_some(Act::CutRequest(1 << 20))
    });
    push_to(&world, &name).unwrap();
    let starts: Vec<String> = fake
        .log()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").split('-').next().unwrap().to_string())
        .collect();
    assert_eq!(starts, ["0", "1048576", "2097152"]);
}

/// The next push begins where the one before was, whether that was killed, cancelled or ended in an error.
#[test]
fn an_upload_that_ended_too_early_is_gone_on_with_by_the_next_push() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    let uploads = world.store.root_path().join("cache/uploads");
    let left = || std::fs::read_dir(&uploads).map_or(0, |list| list.count());
    let starts = || {
        let log = fake.log();
        log.iter()
            .filter(|seen| seen.method == "PATCH")
            .map(|seen| seen.header("content-range").split('-').next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    let forget = || {
        fake.with(|state| {
            state.blobs.clear();
            state.manifests.clear();
        });
    };
    // The registry has 2 MiB of it, and nothing else is ever answered.
    let in_the_midst = |seen: &crate::fake::Seen| match (seen.method.as_str(), seen.number) {
        ("PATCH", _) => Some(Act::CutRequest(2 << 20)),
        ("GET", _) if seen.target.contains("/uploads/") => Some(Act::Say(Answer::error(500, "UNKNOWN"))),
        _ => None,
    };
    let stuck = |seen: &crate::fake::Seen| match seen.method.as_str() {
        "PATCH" => Some(Act::CutRequest(2 << 20)),
        "GET" if seen.target.contains("/uploads/") => Some(Act::Stall),
        _ => None,
    };
    type End<'a> = Box<dyn Fn() + 'a>;
    let patient =
        || world.registries("").with_patience(Duration::from_secs(60), 5, Duration::from_millis(10));
    let waits = || {
        let began = Instant::now();
        while !fake.log().iter().any(|seen| seen.is("GET", "/uploads/")) {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing travels");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let ends: Vec<(&str, End)> = vec![
        (
            "an error",
            Box::new(|| {
                fake.rule(in_the_midst);
                assert_eq!(push_to(&world, &name).unwrap_err().kind(), ErrorKind::Network);
            }),
        ),
        (
            "a cancel",
            Box::new(|| {
                fake.rule(stuck);
                let control = Control::default();
                std::thread::scope(|scope| {
                    let pushing = scope.spawn(|| {
                        push(&world.store, &patient(), &name, &name, &PushOptions::default(), &control)
                    });
                    waits();
                    control.cancel.cancel();
                    assert_eq!(pushing.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
                });
            }),
        ),
        (
            "a kill",
            Box::new(|| {
                fake.rule(stuck);
                let mut command = Command::new(support::program());
                command.args(["push", "-q", &name]).env("TREERING_ROOT", world.store.root_path());
                let mut child = command.env("HOME", world.scratch.path()).spawn().unwrap();
                waits();
                child.kill().unwrap();
                child.wait().unwrap();
            }),
        ),
    ];
    for (what, end) in &ends {
        forget();
        end();
        assert!(left() >= 1, "{what}");
        fake.rule(|_| None);
        push_to(&world, &name).unwrap();
        assert_eq!((starts(), left()), (vec!["2097152".to_string()], 0), "{what}");
        assert_eq!(fake.with(|state| state.blobs.len()), 3, "{what}");
    }
    // Where the registry has nothing of it any more, refuses to say, or has something else: it begins anew.
    let lies: Vec<(&str, Act)> = vec![
        ("forgotten", Act::Say(Answer::error(404, "BLOB_UPLOAD_UNKNOWN"))),
        ("refused", Act::Say(Answer::error(403, "DENIED"))),
        ("invalid", Act::Say(Answer::error(400, "BLOB_UPLOAD_INVALID"))),
        ("elsewhere", Act::Change(|answer| answer.with("location", "ftp://x"))),
        ("too much", Act::Change(|answer| answer.with("range", "0-99999999"))),
    ];
    for (what, lie) in lies {
        forget();
        ends[0].1();
        fake.rule(move |seen| seen.is("GET", "/uploads/").then(|| lie.clone()));
        push_to(&world, &name).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((starts(), left()), (vec!["0".to_string()], 0), "{what}");
    }
    // Other bytes than were sent are found out at the end, and travel once more.
    forget();
    ends[0].1();
    fake.with(|state| state.spoil_uploads());
    fake.rule(|_| None);
    push_to(&world, &name).unwrap();
    assert_eq!((starts(), left()), (vec!["2097152".to_string(), "0".to_string()], 0));
    // What is written down is not believed: an address of another scheme, a place behind the end, anything else.
    for text in [
        "".to_string(),
        "{".to_string(),
        format!("{{\"location\":\"{}\",\"offset\":99999999,\"chunk\":67108864}}", fake.url("/x")),
        format!("{{\"location\":\"{}\",\"offset\":0,\"chunk\":1}}", fake.url("/x")),
        "{\"location\":\"file:///etc/passwd\",\"offset\":0,\"chunk\":67108864}".to_string(),
    ] {
        forget();
        ends[0].1();
        for entry in std::fs::read_dir(&uploads).unwrap() {
            std::fs::write(entry.unwrap().path(), &text).unwrap();
        }
        fake.rule(|_| None);
        push_to(&world, &name).unwrap();
        assert_eq!((starts(), left()), (vec!["0".to_string()], 0), "{text}");
    }
}

#[test]
fn an_upload_that_the_registry_has_lost_begins_anew() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    fake.rule(|seen| {
        let first = seen.target.contains("/uploads/u1?") && seen.method != "POST";
        first.then(|| Act::Say(Answer::error(404, "BLOB_UPLOAD_UNKNOWN")))
    });
    push_to(&world, &name).unwrap();
}

/// A registry that writes files in place does not see a blob while another client sends the same.
#[test]
fn a_manifest_is_sent_again_where_the_registry_loses_sight_of_a_blob() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let unseen = |seen: &crate::fake::Seen| seen.method == "PUT" && seen.target.contains("/manifests/");
    let times = std::sync::atomic::AtomicUsize::new(0);
    fake.rule(move |seen| {
        let first = unseen(seen) && times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        first.then(|| Act::Say(Answer::error(400, "MANIFEST_BLOB_UNKNOWN")))
    });
    push_to(&world, &name).unwrap();
    assert_eq!(fake.log().iter().filter(|seen| unseen(seen)).count(), 2);
    // Not without end, and not for another reason.
    fake.rule(move |seen| unseen(seen).then(|| Act::Say(Answer::error(400, "MANIFEST_BLOB_UNKNOWN"))));
    push_to(&world, &name).unwrap_err();
    fake.rule(move |seen| unseen(seen).then(|| Act::Say(Answer::error(400, "MANIFEST_INVALID"))));
    push_to(&world, &name).unwrap_err();
    assert_eq!(fake.log().iter().filter(|seen| unseen(seen)).count(), 1);
}

#[test]
fn registries_that_take_one_piece_or_large_chunks_are_served() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 3 << 20);
    fake.rule(|seen| (seen.method == "PATCH").then(|| Act::Say(Answer::error(405, "UNSUPPORTED"))));
    push_to(&world, &name).unwrap();
    assert_eq!(fake.log().iter().filter(|seen| seen.method == "PATCH").count(), 1);

    // A proxy in front of the registry takes no more than so much at once, and says so, or hangs up.
    let says_so = || Act::Say(Answer::new(413).body("<html>Request Entity Too Large</html>"));
    let world = World::with_image("large:v1", 70 << 20);
    for (what, act) in
        [("says so", says_so()), ("hangs up", Act::Close), ("hangs up later", Act::CutRequest(1000))]
    {
        let fake = Fake::start();
        let patient =
            world.registries("").with_patience(Duration::from_secs(60), 5, Duration::from_millis(10));
        let (to, options) = (fake.name("app:v1"), PushOptions::default());
        let large = |seen: &crate::fake::Seen| {
            seen.header("content-length").parse::<u64>().is_ok_and(|n| n > 64 << 20)
        };
        fake.rule(move |seen| large(seen).then(|| act.clone()));
        push(&world.store, &patient, "large:v1", &to, &options, &world.control)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let log = fake.log();
        let starts: Vec<&str> = log
            .iter()
            .filter(|seen| seen.method == "PATCH")
            .map(|seen| seen.header("content-range").split('-').next().unwrap())
            .collect();
        match what {
            "hangs up later" => assert!(starts.len() >= 3 && starts[0] == "0", "{what}: {starts:?}"),
            _ => assert_eq!(starts, ["0", "0", "67108864"], "{what}"),
        }
    }

    let fake = Fake::start();
    let name = fake.name("app:v1");
    fake.with(|state| state.min_chunk = 100 << 20);
    let patient = world.registries("").with_patience(Duration::from_secs(60), 5, Duration::from_millis(10));
    push(&world.store, &patient, "large:v1", &name, &PushOptions::default(), &world.control).unwrap();
    assert_eq!(fake.log().iter().filter(|seen| seen.method == "PATCH").count(), 1);
}

#[test]
fn a_pause_that_the_registry_asks_for_is_kept() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    fake.rule(|seen| {
        (seen.number == 0).then(|| Act::Say(Answer::error(429, "TOOMANYREQUESTS").with("retry-after", "1")))
    });
    let began = Instant::now();
    push_to(&world, &name).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    fake.rule(|_| Some(Act::Say(Answer::error(429, "TOOMANYREQUESTS").with("retry-after", "86400"))));
    let error = push_to(&world, &name).unwrap_err();
    assert!(error.message().contains("86400 seconds"), "{error}");
}

#[test]
fn silence_ends_a_transfer_and_a_cancel_ends_a_wait() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let registries =
        world.registries("").with_patience(Duration::from_millis(300), 2, Duration::from_millis(10));
    fake.rule(|_| Some(Act::Stall));
    let began = Instant::now();
    let error =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(error.message().contains("nothing moved"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));

    let patient = world.registries("").with_patience(Duration::from_secs(60), 5, Duration::from_secs(30));
    for stall in [true, false] {
        // Waiting for an answer, and waiting between two tries.
        fake.rule(move |_| Some(if stall { Act::Stall } else { Act::Say(Answer::new(503)) }));
        let control = treering::Control::default();
        let mut cancelled = Instant::now();
        std::thread::scope(|scope| {
            let push =
                scope.spawn(|| push(&world.store, &patient, &name, &name, &PushOptions::default(), &control));
            std::thread::sleep(Duration::from_millis(700));
            cancelled = Instant::now();
            control.cancel.cancel();
            assert_eq!(push.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        });
        assert!(cancelled.elapsed() < Duration::from_millis(500), "{:?}", cancelled.elapsed());
    }
}

#[test]
fn tokens_are_fetched_once_and_again_when_they_are_refused() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let basic = "Basic dXNlcjpzZWNyZXQ=".to_string();
    fake.with(|state| state.door = Door::Bearer { realm: fake_realm(fake.port), basic });
    let world = World::with_image(&name, 3 << 20);
    let registries = world.registries("");
    let host = fake.name("");
    let error = push_to(&world, &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let wrong = login(&registries, &host, &Credential::basic("user", "wrong"), &world.control).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthorized);
    login(&registries, &host, &Credential::basic("user", "secret"), &world.control).unwrap();
    fake.rule(|_| None);
    push_to(&world, &name).unwrap();
    assert_eq!(fake.log().iter().filter(|seen| seen.target.starts_with("/token")).count(), 1);
    let asked = fake.log().iter().find(|seen| seen.target.starts_with("/token")).unwrap().target.clone();
    assert!(
        asked.contains("scope=repository%3Aapp%3Apull%2Cpush") && asked.contains("service=fake"),
        "{asked}"
    );
    // A token that expires on the way is fetched anew.
    fake.with(|state| state.manifests.clear());
    fake.rule(|seen| {
        seen.is("PUT", "/manifests/").then_some(()).filter(|()| seen.number == 4)?;
        Some(Act::Say(Answer::error(401, "UNAUTHORIZED").with("www-authenticate", "Bearer realm=\"x\"")))
    });
    push_to(&world, &name).unwrap();

    // An identity token is exchanged, and sent to the token server alone.
    login(&registries, &host, &Credential::identity_token("good"), &world.control).unwrap();
    fake.rule(|_| None);
    push_to(&world, &name).unwrap();
    let log = fake.log();
    let exchanged = log.iter().find(|seen| seen.is("POST", "/token")).unwrap();
    assert!(String::from_utf8_lossy(&exchanged.body).contains("refresh_token=good"));
}

fn fake_realm(port: u16) -> String {
    format!("http://127.0.0.1:{port}/token")
}

#[test]
fn lists_of_tags_are_followed_to_their_end_and_no_further() {
    let fake = Fake::start();
    for n in 0..25 {
        fake.manifest("app", &format!("v{n:02}"), "application/x", b"{}");
    }
    fake.with(|state| state.page = 10);
    let world = World::new();
    let all = tags(&world.registries(""), &fake.name("app"), &world.control).unwrap();
    assert_eq!((all.len(), all[0].as_str(), all[24].as_str()), (25, "v00", "v24"));
    // The link that is a page among others, in a header of its own or in one; and one that cannot be read.
    for (links, count) in [
        (vec!["</x>; rel=prev", "</v2/app/tags/list?last=a,b>;rel=next"], Some(2)),
        (vec!["</x>; rel=prev, <list?last=a,b>; title=\"x, y\"; rel = \"next\""], Some(2)),
        (vec!["<../tags/./list?last=a,b>; rel=next"], Some(2)),
        (vec!["what is not a link"], Some(1)),
        (vec!["</v2/app/tags/list?last=a,b>; rel=\"next"], None),
    ] {
        fake.rule(move |seen| match seen.target.as_str() {
            "/v2/app/tags/list?last=a,b" => Some(Act::Say(Answer::new(200).body("{\"tags\":[\"b\"]}"))),
            "/v2/app/tags/list?n=1000" => {
                let body = Answer::new(200).body("{\"tags\":[\"a\"]}");
                Some(Act::Say(links.iter().fold(body, |body, link| body.with("link", *link))))
            }
            _ => Some(Act::Say(Answer::error(404, "NAME_UNKNOWN"))),
        });
        let listed = tags(&world.registries(""), &fake.name("app"), &world.control);
        match count {
            Some(count) => assert_eq!(listed.unwrap().len(), count),
            None => assert_eq!(listed.unwrap_err().kind(), ErrorKind::Corrupt),
        }
    }
    // A page that leads to itself.
    fake.rule(|seen| {
        let body = Answer::new(200).body("{\"tags\":[\"a\"]}");
        Some(Act::Say(body.with("link", format!("<{}>; rel=\"next\"", seen.target))))
    });
    assert!(tags(&world.registries(""), &fake.name("app"), &world.control).unwrap().len() <= 2);
    assert!(tags(&world.registries(""), &fake.name("app:v1"), &world.control).is_err());
}

#[test]
fn warnings_and_transfers_are_events() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let mut world = World::with_image(&name, 3 << 20);
    world.control.events = Events::queue(1 << 20);
    fake.rule(|_| {
        Some(Act::Change(|answer| answer.with("warning", "299 - \"this registry closes\\\"soon\\\"\"")))
    });
    push_to(&world, &name).unwrap();
    let mut warnings = Vec::new();
    let (mut started, mut finished, mut last) = (0, 0, std::collections::HashMap::new());
    while let Some(event) = world.control.events.poll() {
        match event {
            Event::Warning { message, .. } => warnings.push(message),
            Event::Started { text, .. } => {
                assert!(text.starts_with("push "), "{text}");
                started += 1;
            }
            Event::Finished { size, .. } => {
                assert!(size > 3 << 20);
                finished += 1;
            }
            Event::Transfer { digest, done, total, .. } => {
                assert!(done <= total);
                last.insert(digest, (done, total));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(warnings.len(), 1, "once each");
    assert!(warnings[0].ends_with("this registry closes\"soon\""), "{warnings:?}");
    assert_eq!((started, finished, last.len()), (1, 1, 3));
    assert!(last.values().all(|(done, total)| done == total));
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let (mirror, fake) = (Fake::start(), Fake::start());
    let name = fake.name("team/app:v1");
    let origin = World::with_image(&name, 1000);
    push_to(&origin, &name).unwrap();
    let host = fake.name("");
    let host = host.trim_end_matches('/');
    let config = format!("[[registry]]\nprefix = '{host}'\nmirrors = ['{}']\n", mirror.url("/hub"));
    let world = World::new();
    let from = |world: &World| {
        pull(&world.store, &world.registries(&config), &name, &PullOptions::default(), &world.control)
            .unwrap()
    };
    from(&world);
    assert_eq!(mirror.log()[0].target, "/v2/hub/team/app/manifests/v1");
    // With the image in it, the mirror is all that is asked.
    let moved = fake.with(|state| (state.blobs.clone(), state.manifests.clone()));
    mirror.with(|state| {
        state.blobs = moved.0.into_iter().map(|((_, d), b)| (("hub/team/app".into(), d), b)).collect();
        state.manifests = moved.1.into_iter().map(|((_, r), m)| (("hub/team/app".into(), r), m)).collect();
    });
    fake.rule(|_| None);
    from(&World::new());
    assert!(fake.log().is_empty());
}

#[test]
fn an_image_is_unpacked_while_it_arrives() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let origin = World::with_image(&name, 3 << 20);
    push_to(&origin, &name).unwrap();
    let arrive = |world: &World, dir: &str| {
        let (options, unpack) = (PullOptions::default(), UnpackOptions::default());
        let (registries, dir) = (world.registries(""), world.scratch.join(dir));
        pull_and_unpack(&world.store, &registries, &name, &dir, &options, &unpack, &world.control)
    };
    // Cut again and again, it still is the tree that was committed, and a bound one.
    fake.rule(|seen| seen.is("GET", "/blobs/").then_some(Act::Cut(1 << 20)));
    let world = World::new();
    let (pulled, unpacked) = arrive(&world, "work").unwrap();
    assert_eq!((pulled.layers_fetched, unpacked.manifest), (2, pulled.manifest));
    let work = world.scratch.join("work");
    sh(world.scratch.path(), &format!("diff -r work {}", origin.scratch.join("tree").display()));
    let diff =
        diff_tree(Some(&world.store), &work, &Base::Auto, &DiffOptions::default(), &world.control).unwrap();
    assert_eq!(diff.listed().count(), 0);
    for layer in Image::open(&world.store, &name, None).unwrap().layers() {
        assert_eq!(world.store.diff_id_for_blob(&layer.digest).unwrap(), Some(layer.diff_id));
    }
    // All of it is there: nothing travels any more.
    fake.rule(|_| None);
    assert_eq!(arrive(&world, "again").unwrap().0.layers_fetched, 0);
    assert!(fake.log().iter().all(|seen| !seen.target.contains("/blobs/")));

    // A layer that does not come, one that is another, and a directory that is in the way.
    let flip: fn(Answer) -> Answer = |mut answer| {
        let middle = answer.body.len() / 2;
        answer.body[middle] ^= 1;
        answer
    };
    let large = Image::open(&origin.store, &name, None).unwrap().layers()[0].digest.to_string();
    for (act, kind) in [(Act::Close, ErrorKind::Network), (Act::Change(flip), ErrorKind::Corrupt)] {
        let of_layer = large.clone();
        fake.rule(move |seen| seen.is("GET", &of_layer).then(|| act.clone()));
        let world = World::new();
        assert_eq!(arrive(&world, "work").unwrap_err().kind(), kind);
        assert!(!world.scratch.join("work").exists() && world.store.refs().unwrap().is_empty());
        fake.rule(|_| None);
        arrive(&world, "work").unwrap();
    }
    let world = World::new();
    std::fs::write(world.scratch.dir("work").join("mine"), "").unwrap();
    assert_eq!(arrive(&world, "work").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(world.scratch.join("work/mine").exists());
}
