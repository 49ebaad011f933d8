//! Builds: what goes where, what comes out of the cache, and what bad input gets.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;
use treering::build::{BuildOptions, Built, ContextSource, DockerfileSource, build, check, targets};
use treering::image::{CommitOptions, Image, commit, contents};
use treering::store::{CachePruneOptions, FsckLevel, PruneOptions, Store};
use treering::{Control, Error, ErrorKind, Event, Events};

mod attestations;
mod builtin;
mod changes;
#[cfg(feature = "sandbox")]
mod commands;
#[cfg(feature = "registry")]
mod elsewhere;
mod hostile;
mod language;
mod looks;
mod results;
mod rpm;
#[cfg(feature = "registry")]
mod server;
mod sources;
#[cfg(feature = "sandbox")]
mod stages;
mod traps;

use support::Scratch;

/// Events, and where they are collected.
fn observed() -> (Events, Arc<Mutex<Vec<Event>>>) {
    let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
    let copy = seen.clone();
    (Events::observed(Arc::new(move |event: &Event| copy.lock().unwrap().push(event.clone()))), seen)
}

struct Place {
    scratch: Scratch,
    store: Store,
    context: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let store = Store::open(scratch.join("store")).unwrap();
        let context = scratch.dir("context");
        Place { scratch, store, context }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.context.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| dir.starts_with(&self.context)) {
            std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
            above = dir.parent();
        }
    }

    fn options(&self, dockerfile: &str) -> BuildOptions {
        BuildOptions {
            context: ContextSource::Directory(self.context.clone()),
            dockerfile: DockerfileSource::Text(dockerfile.into()),
            tags: vec!["t".into()],
            ..BuildOptions::default()
        }
    }

    fn try_build(&self, dockerfile: &str) -> Result<Built, Error> {
        build(&self.store, &self.options(dockerfile), &Control::default())
    }

    fn build(&self, dockerfile: &str) -> Built {
        self.try_build(dockerfile).unwrap_or_else(|error| panic!("{dockerfile}: {error}: {:?}", error.hint()))
    }

    fn image(&self) -> Image {
        Image::open(&self.store, "t", None).unwrap()
    }

    /// Returns the content of a file of the image.
    fn read(&self, path: &str) -> String {
        let control = Control::default();
        let files = treering::image::ImageFiles::open(&self.store, &self.image(), &control).unwrap();
        let bytes = files.read(files.resolve(path).unwrap(), 16 << 20, &control).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the rows of the image's history.
    fn history(&self) -> Vec<String> {
        self.image().config().history().iter().filter_map(|row| row.created_by.clone()).collect()
    }

    /// Lists everything in the image but its directories of 0755 that root owns: mode, owner, path, and target or content.
    fn files(&self, dockerfile: &str) -> Vec<String> {
        self.build(dockerfile);
        self.files_now()
    }

    fn files_now(&self) -> Vec<String> {
        self.entries().into_iter().filter(|line| !line.starts_with("d 755 0:0 ")).collect()
    }

    fn entries(&self) -> Vec<String> {
        let list = contents(&self.store, &self.image(), &Control::default()).unwrap();
        list.walk()
            .map(|index| {
                let meta = list.meta(index);
                let kind = match meta.kind {
                    treering::fs::Kind::Directory => 'd',
                    treering::fs::Kind::Symlink => 'l',
                    _ => 'f',
                };
                let target = String::from_utf8_lossy(list.link_target(index)).into_owned();
                let target = if target.is_empty() { target } else { format!(" -> {target}") };
                let path = String::from_utf8_lossy(&list.path(index)).into_owned();
                format!("{kind} {:o} {}:{} {path}{target}", meta.mode, meta.uid, meta.gid)
            })
            .collect()
    }
}

#[test]
fn copy_puts_files_where_docker_puts_them() {
    let place = Place::new();
    for (path, content) in [("a", "1"), ("b.txt", "2"), ("d/x", "3"), ("d/e/y", "4"), ("d/e/z.txt", "5")] {
        place.write(path, content);
    }
    symlink("a", place.context.join("link")).unwrap();
    symlink("e/y", place.context.join("d/inner")).unwrap();
    let base = "FROM scratch\nCOPY a /etc/real\nCOPY <<X /app/there\nX\n";
    let table: &[(&str, &[&str])] = &[
        ("COPY a /new", &["f 644 0:0 new"]),
        ("COPY a /dir/", &["f 644 0:0 dir/a"]),
        ("COPY a /app", &["f 644 0:0 app/a"]),
        ("COPY a .", &["f 644 0:0 a"]),
        ("WORKDIR /w\nCOPY a sub/", &["f 644 0:0 w/sub/a"]),
        ("WORKDIR /w\nCOPY a ./n", &["f 644 0:0 w/n"]),
        ("COPY a b.txt /m/", &["f 644 0:0 m/a", "f 644 0:0 m/b.txt"]),
        (
            "COPY d /q",
            &["f 644 0:0 q/e/y", "f 644 0:0 q/e/z.txt", "l 777 0:0 q/inner -> e/y", "f 644 0:0 q/x"],
        ),
        ("COPY d/e /q/", &["f 644 0:0 q/y", "f 644 0:0 q/z.txt"]),
        ("COPY *.txt /q/", &["f 644 0:0 q/b.txt"]),
        ("COPY d/*/z* /q/", &["f 644 0:0 q/z.txt"]),
        // A pattern may match nothing, and makes nothing then.
        ("COPY a yarn.lock* /q/", &["f 644 0:0 q/a"]),
        ("COPY nothing* /q/", &[]),
        ("COPY --parents **/nothing /q/", &[]),
        ("COPY --from=more nothing? /q/\nCOPY a /q", &["f 644 0:0 q"]),
        // Several matches go into a directory that is there, whether it is said to be one or not.
        ("COPY [ab]* /app", &["f 644 0:0 app/a", "f 644 0:0 app/b.txt"]),
        ("WORKDIR /w\nCOPY [ab]* /w", &["f 644 0:0 w/a", "f 644 0:0 w/b.txt"]),
        ("COPY ../../a /q", &["f 644 0:0 q"]),
        ("COPY link /q", &["f 644 0:0 q"]),
        ("COPY link /q/", &["f 644 0:0 q/link"]),
        ("COPY [\"a\", \"/s p/\"]", &["f 644 0:0 s p/a"]),
        ("COPY --chmod=600 a /q", &["f 600 0:0 q"]),
        ("COPY --chmod=u+x,go= d/e /q/", &["f 700 0:0 q/y", "f 700 0:0 q/z.txt"]),
        ("COPY --chown=7:8 a /o/p", &["d 755 7:8 o", "f 644 7:8 o/p"]),
        ("COPY --chown=7 a /q", &["f 644 7:7 q"]),
        ("USER 7:8\nWORKDIR /w/d\nCOPY a .", &["d 755 7:8 w", "d 755 7:8 w/d", "f 644 0:0 w/d/a"]),
        ("USER 7\nWORKDIR /w\nUSER 9\nWORKDIR /w", &["d 755 7:7 w"]),
        ("USER nobody-there\nWORKDIR /w\nCOPY a .", &["f 644 0:0 w/a"]),
        ("COPY --exclude=*.txt d/e /q/", &["f 644 0:0 q/y"]),
        ("COPY --exclude=e d /q/", &["l 777 0:0 q/inner -> e/y", "f 644 0:0 q/x"]),
        ("COPY --exclude=** --exclude=!e/y d /q/", &["f 644 0:0 q/e/y"]),
        ("COPY --parents d/e/y /q/", &["f 644 0:0 q/d/e/y"]),
        ("COPY --parents d/./e/y /q/", &["f 644 0:0 q/e/y"]),
        ("COPY --parents **/*.txt /q/", &["f 644 0:0 q/b.txt", "f 644 0:0 q/d/e/z.txt"]),
        ("COPY --link a /l/k", &["f 644 0:0 l/k"]),
        ("ARG P=q\nCOPY ${P:+a} /$P", &["f 644 0:0 q"]),
        ("ENV P=x y=1\nCOPY a /${P#x}q", &["f 644 0:0 q"]),
        ("COPY <<one <<\"two\" /h/\nhi\none\n$hi\ntwo\n", &["f 644 0:0 h/one", "f 644 0:0 h/two"]),
        ("COPY --chmod=755 <<-E /h\n\t#!/bin/sh\nE\n", &["f 755 0:0 h"]),
    ];
    for (text, expected) in table {
        let options = BuildOptions {
            named_contexts: vec![("more".into(), place.context.to_str().unwrap().into())],
            ..place.options(&format!("{base}{text}"))
        };
        build(&place.store, &options, &Control::default())
            .unwrap_or_else(|error| panic!("{text}: {error}: {:?}", error.hint()));
        let mut found = place.files_now();
        found.retain(|line| !["f 644 0:0 etc/real", "f 644 0:0 app/there"].contains(&line.as_str()));
        let mut expected: Vec<String> = expected.iter().map(|line| line.to_string()).collect();
        let path = |line: &String| line.splitn(4, ' ').nth(3).unwrap().to_string();
        found.sort_by_key(path);
        expected.sort_by_key(path);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn destinations_are_resolved_through_links_of_the_base() {
    let place = Place::new();
    place.write("a", "1");
    place.write("tree/usr/lib/keep", "k");
    symlink("usr/lib", place.context.join("tree/lib")).unwrap();
    symlink("/usr/lib/conf", place.context.join("tree/conf")).unwrap();
    symlink("../../../../usr", place.context.join("tree/up")).unwrap();
    symlink("loop", place.context.join("tree/loop")).unwrap();
    let base = "FROM scratch\nCOPY tree/ /\n";
    let files = place.files(&format!("{base}COPY a /lib/\nCOPY a /conf\nCOPY a /up/x\n"));
    for path in ["usr/lib/a", "usr/lib/conf", "usr/x"] {
        assert!(files.contains(&format!("f 644 0:0 {path}")), "{path}: {files:?}");
    }
    assert!(files.contains(&"l 777 0:0 lib -> usr/lib".to_string()), "{files:?}");
    for text in ["COPY a /loop/x", "COPY a /usr/lib/keep/x", "COPY tree /usr/lib/keep", "COPY a b /x"] {
        assert!(place.try_build(&format!("{base}{text}")).is_err(), "{text}");
    }
    // With --link the layer says nothing of what is below it.
    let linked = place.files(&format!("{base}COPY --link a /opt/a\n"));
    assert!(linked.contains(&"f 644 0:0 opt/a".to_string()));
}

#[test]
fn stages_images_and_contexts_can_be_copied_from() {
    let place = Place::new();
    place.write("a", "from the context");
    std::fs::set_permissions(place.context.join("a"), PermissionsExt::from_mode(0o711)).unwrap();
    let other = place.scratch.dir("other");
    std::fs::write(other.join("o"), "from the other").unwrap();
    std::fs::set_permissions(other.join("o"), PermissionsExt::from_mode(0o644)).unwrap();
    let passwd = "COPY <<P /etc/passwd\nroot:x:0:0::/:/bin/sh\napp:x:31:32::/:/bin/sh\nP\nCOPY <<G /etc/group\nstaff:x:50:\nG\n";
    let mut options = place.options(&format!(
        "FROM scratch AS One\nCOPY --chown=5:6 a /d/a\nFROM scratch\n{passwd}\
         COPY --from=one /d /one/\nCOPY --from=0 /d/a /zero\nCOPY --from=more o /\nCOPY --from=base /kept /image/\n\
         COPY --chown=app a /app\nCOPY --chown=app:staff a /staff\n"
    ));
    options.named_contexts = vec![("more".into(), other.to_str().unwrap().into())];
    let tree = place.scratch.dir("tree");
    std::fs::create_dir(tree.join("kept")).unwrap();
    std::fs::write(tree.join("kept/file"), vec![7; 100_000]).unwrap();
    std::fs::set_permissions(tree.join("kept/file"), PermissionsExt::from_mode(0o600)).unwrap();
    commit(&place.store, &tree, Some("base"), &CommitOptions::default(), &Control::default()).unwrap();
    build(&place.store, &options, &Control::default()).unwrap();
    let found = place.entries();
    for line in [
        "f 711 5:6 one/a",
        "f 711 5:6 zero",
        "f 644 0:0 o",
        "f 600 0:0 image/file",
        "f 711 31:32 app",
        "f 711 31:50 staff",
    ] {
        assert!(found.contains(&line.to_string()), "{line}: {found:#?}");
    }
    let out = place.scratch.join("out");
    treering::image::unpack(&place.store, "t", &out, &Default::default(), &Control::default()).unwrap();
    assert_eq!(std::fs::read(out.join("image/file")).unwrap(), vec![7; 100_000]);
    assert_eq!(std::fs::read(out.join("one/a")).unwrap(), b"from the context");
    for text in ["FROM scratch\nCOPY --from=nothing a b", "FROM scratch\nCOPY --chown=nobody a b"] {
        assert_eq!(place.try_build(text).unwrap_err().kind(), ErrorKind::NotFound, "{text}");
    }
}

/// Returns every file below a directory, by what would change if it were written.
fn state_of(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            out.insert(entry.path(), (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()));
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    out
}

#[test]
fn a_rebuild_where_nothing_changed_writes_nothing_and_gives_the_same_image() {
    let place = Place::new();
    for i in 0..50 {
        place.write(&format!("src/{i}"), &"x".repeat(i));
    }
    // Files of the last tick are hashed again.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let text = "FROM scratch AS a\nARG N=1\nENV N=$N\nCOPY src /src\nWORKDIR /w\nFROM scratch\nLABEL a=b\n\
                COPY --from=a /src /copied\nCOPY <<E /e\nx\nE\nCMD [\"/e\"]\n";
    let first = place.build(text);
    assert_eq!((first.cached, first.carried_out), (0, 4));
    let before = state_of(&place.scratch.join("store"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = place.build(text);
    assert_eq!((second.cached, second.carried_out), (4, 0));
    assert_eq!((second.image_id, second.manifest), (first.image_id, first.manifest));
    assert_eq!(state_of(&place.scratch.join("store")), before);
    // Nor does it matter to the cache the owner of the context, or when its files were made.
    place.write("src/7", &"x".repeat(7));
    assert_eq!(place.build(text).image_id, first.image_id);
    place.write("src/7", "other");
    let changed = place.build(text);
    assert_eq!((changed.cached, changed.carried_out), (0, 4), "all of it stands on src");
    std::fs::set_permissions(place.context.join("src/7"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_ne!(place.build(text).image_id, changed.image_id);
    let mut options = place.options(text);
    options.no_cache = true;
    let again = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!((again.cached, again.carried_out), (0, 4));
    let options = BuildOptions { no_cache_filter: vec!["A".into()], ..place.options(text) };
    let again = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!((again.cached, again.carried_out), (2, 2));
}

#[test]
fn a_step_is_found_again_only_while_its_layer_is_there() {
    let place = Place::new();
    place.write("a", "1");
    let text = "FROM scratch\nCOPY a /a\n";
    let first = place.build(text);
    place.store.remove(&first.manifest).unwrap();
    place.store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(place.build(text).cached, 1, "its record keeps the layer");
    place.store.remove(&first.manifest).unwrap();
    let cache = Some(CachePruneOptions::default());
    let all = PruneOptions { cache, ..PruneOptions::default() };
    let report = place.store.prune(&all, &Control::default()).unwrap();
    assert_eq!(report.records, 1);
    assert_eq!(place.store.usage(&Control::default()).unwrap().blobs, 0);
    assert_eq!(place.build(text).carried_out, 1);
    assert_eq!(place.files(text), ["f 644 0:0 a"]);
    let report = place.store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[test]
fn builds_that_meet_the_same_step_carry_it_out_once() {
    let place = Place::new();
    let mut seed = 1u64;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    });
    std::fs::write(place.context.join("large"), noise.take(12 << 20).collect::<Vec<u8>>()).unwrap();
    let text = "FROM scratch\nCOPY large /large\nCOPY <<E /e\nx\nE\n";
    let built: Vec<Built> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| place.build(text))).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert_eq!(built.iter().map(|built| built.carried_out).sum::<u64>(), 2);
    assert!(built.iter().all(|other| other.image_id == built[0].image_id));
}

#[test]
fn a_damaged_record_is_a_step_to_carry_out_and_no_error() {
    let place = Place::new();
    place.write("a", "1");
    let text = "FROM scratch\nENV A=b\nCOPY a /a\n";
    place.build(text);
    let records = place.scratch.join("store/cache/records");
    let mut count = 0;
    for record in std::fs::read_dir(&records).unwrap() {
        std::fs::write(record.unwrap().path(), "x").unwrap();
        count += 1;
    }
    assert_eq!(count, 2);
    let report = place.store.fsck(FsckLevel::Reachability, &Control::default()).unwrap();
    assert_eq!(report.problems.len(), 2, "{report:?}");
    assert_eq!(place.build(text).carried_out, 1);
    assert_eq!(place.build(text).carried_out, 0);
}

#[test]
fn source_date_epoch_makes_builds_equal_wherever_they_run() {
    let text = "ARG SOURCE_DATE_EPOCH=86400\nFROM scratch\nCOPY d /d\nWORKDIR /made/here\nENV a=b\n";
    let one = || {
        let place = Place::new();
        place.write("d/x", "1");
        place.write("d/y/z", "2");
        (place.build(text).image_id, place)
    };
    let (first, place) = one();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (second, _other) = one();
    assert_eq!(first, second);
    assert_eq!(place.image().config().created(), Some("1970-01-02T00:00:00Z"));
    let list = contents(&place.store, &place.image(), &Control::default()).unwrap();
    assert!(list.walk().all(|index| list.meta(index).mtime.secs <= 86_400));
    let options = BuildOptions { source_date_epoch: Some(5), ..place.options(text) };
    build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(
        place.image().config().created(),
        Some("1970-01-01T00:00:05Z"),
        "the option stands before the file"
    );
    assert!(place.try_build("ARG SOURCE_DATE_EPOCH=soon\nFROM scratch\n").is_err());
}

#[test]
fn the_configuration_is_what_the_instructions_say() {
    let place = Place::new();
    place.write("a", "1");
    place.build(
        "FROM scratch AS base\nENV A=1\nARG HIDDEN=x\nONBUILD LABEL triggered=yes\nONBUILD COPY a /triggered\n\
         CMD [\"base\"]\nUSER 5\n",
    );
    let id = place.image().id().to_string();
    let mut options = place.options(
        "ARG IMAGE\nFROM $IMAGE AS one\nARG VERSION=1\nARG HIDDEN\nENV B=$A$VERSION C=${HIDDEN:-none}\n\
         LABEL v=$VERSION\nEXPOSE 80\nVOLUME /data\nSTOPSIGNAL SIGUSR1\nMAINTAINER me\nSHELL [\"/bin/bash\", \"-c\"]\n\
         CMD run $A\nENTRYPOINT [\"/e\"]\nHEALTHCHECK --retries=2 CMD true\nWORKDIR /x\nWORKDIR y\n"
    );
    options.build_args =
        vec![("IMAGE".into(), id), ("VERSION".into(), "2".into()), ("UNUSED".into(), "1".into())];
    options.labels = vec![("given".into(), "1".into())];
    options.annotations = vec![("note".into(), "n".into())];
    options.tags = vec!["t".into(), "u:2".into()];
    let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
    let keep = seen.clone();
    let events = Events::observed(Arc::new(move |event: &Event| keep.lock().unwrap().push(event.clone())));
    let built = build(&place.store, &options, &Control { events, ..Control::default() }).unwrap();
    assert_eq!(built.names.len(), 2);
    assert_eq!(Image::open(&place.store, "u:2", None).unwrap().id(), &built.image_id);
    let image = place.image();
    assert_eq!(
        image.config().value()["config"],
        json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=12", "C=none"],
            "WorkingDir": "/x/y", "Cmd": ["/bin/bash", "-c", "run $A"], "User": "5",
            "Labels": { "given": "1", "triggered": "yes", "v": "2" }, "ExposedPorts": { "80/tcp": {} },
            "Volumes": { "/data": {} }, "StopSignal": "SIGUSR1", "Shell": ["/bin/bash", "-c"], "Entrypoint": ["/e"],
            "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Retries": 2 },
        })
    );
    assert_eq!(image.config().author(), Some("me"));
    assert!(image.annotations().any(|pair| pair == ("note", "n")));
    assert!(place.entries().contains(&"f 644 0:0 triggered".to_string()));
    let rows: Vec<String> =
        image.config().history().iter().filter_map(|row| row.created_by.clone()).collect();
    assert!(
        rows.contains(&"ENV B=12 C=none".to_string())
            && rows.contains(&"WORKDIR /x/y # treering".to_string()),
        "{rows:?}"
    );
    let with_layer = image.config().history().iter().filter(|row| !row.empty_layer).count();
    assert_eq!(with_layer, image.layers().len());
    let seen = seen.lock().unwrap();
    let warned: Vec<&str> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Warning { rule, message, .. } if rule.is_empty() => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert!(warned.len() == 1 && warned[0].contains("UNUSED"), "{warned:?}");
    let started = seen.iter().filter(|event| matches!(event, Event::Started { .. })).count();
    let finished = seen.iter().filter(|event| matches!(event, Event::Finished { .. })).count();
    assert_eq!((started, finished), (4, 4));
}

/// Arguments reach the stages that are built on the one that declares them, and no others.
#[test]
fn arguments_are_inherited_by_stages_built_on_theirs() {
    let place = Place::new();
    let file = "ARG G=g\nFROM scratch AS a\nARG V=1\nARG G\nFROM a AS b\nENV B=$V$G\nFROM b\nENV C=$V$G\nFROM scratch AS other\nENV D=$V$G\n";
    for (value, target, expected) in [(None, "2", "1g"), (Some("7"), "2", "7g"), (Some("7"), "other", "")] {
        let mut options = place.options(file);
        options.target = Some(target.into());
        options.build_args = value.map(|value| ("V".into(), value.into())).into_iter().collect();
        build(&place.store, &options, &Control::default()).unwrap();
        let env = place.image().config().run().env.clone().unwrap_or_default();
        let name = if target == "other" { "D" } else { "C" };
        assert!(env.contains(&format!("{name}={expected}")), "{value:?} {target}: {env:?}");
    }
}

#[test]
fn only_what_the_target_needs_is_built_and_read() {
    let place = Place::new();
    place.write("a", "1");
    let text = "FROM scratch AS a\nCOPY a /a\nFROM scratch AS broken\nCOPY missing /\nRUN true\nFROM a AS b\nCOPY a /b\n\
                FROM broken AS c\n";
    let options = BuildOptions { target: Some("B".into()), ..place.options(text) };
    build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(place.entries(), ["f 644 0:0 a", "f 644 0:0 b"]);
    let options = BuildOptions { target: Some("nothing".into()), ..place.options(text) };
    assert_eq!(build(&place.store, &options, &Control::default()).unwrap_err().kind(), ErrorKind::NotFound);
    // What is ignored or not asked for is not read: it could not be.
    if !support::is_root() {
        place.write("secret/x", "1");
        place.write("other", "1");
        place.write(".dockerignore", "secret\n");
        for name in ["secret", "other"] {
            std::fs::set_permissions(place.context.join(name), PermissionsExt::from_mode(0o000)).unwrap();
        }
        place.build("FROM scratch\nCOPY a /\n");
        std::fs::set_permissions(place.context.join("other"), PermissionsExt::from_mode(0o600)).unwrap();
        place.build("FROM scratch\nCOPY . /\n");
        std::fs::set_permissions(place.context.join("secret"), PermissionsExt::from_mode(0o700)).unwrap();
    }
}

#[test]
fn ignore_files_hold_for_directories_and_for_tars() {
    let place = Place::new();
    for path in ["a", "b.log", "n/m/c.log", "n/m/keep.log", "n/x"] {
        place.write(path, "1");
    }
    place.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    place.write(".dockerignore", "**/*.log\n!n/m/keep.log\nDockerfile\n.dockerignore\n");
    let expected = ["f 644 0:0 a", "f 644 0:0 n/m/keep.log", "f 644 0:0 n/x"];
    let plain = BuildOptions { dockerfile: DockerfileSource::Default, ..place.options("") };
    build(&place.store, &plain, &Control::default()).unwrap();
    let files = |place: &Place| -> Vec<String> {
        place.entries().into_iter().filter(|line| !line.starts_with('d')).collect()
    };
    assert_eq!(files(&place), expected);
    let tar = place.scratch.join("context.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all("", &place.context).unwrap();
    builder.finish().unwrap();
    let stream = |path: &Path| ContextSource::Stream(Arc::new(std::fs::File::open(path).unwrap()));
    let from_tar = BuildOptions { context: stream(&tar), ..plain.clone() };
    build(&place.store, &from_tar, &Control::default()).unwrap();
    let owners_left = |line: &String| {
        line.split(' ').enumerate().filter(|(i, _)| *i != 2).map(|(_, w)| w.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        files(&place).iter().map(owners_left).collect::<Vec<_>>(),
        expected.map(String::from).iter().map(owners_left).collect::<Vec<_>>()
    );
    // A file of its own stands before that of the context.
    std::fs::write(place.scratch.join("my"), "FROM scratch\nCOPY . /\n").unwrap();
    std::fs::write(place.scratch.join("my.dockerignore"), "n\nDockerfile\n.dockerignore\n").unwrap();
    let own = BuildOptions { dockerfile: DockerfileSource::Path(place.scratch.join("my")), ..plain.clone() };
    build(&place.store, &own, &Control::default()).unwrap();
    assert_eq!(files(&place), ["f 644 0:0 a", "f 644 0:0 b.log"]);
    // A Dockerfile alone on standard input.
    let text = place.scratch.join("text");
    std::fs::write(&text, "FROM scratch\nCOPY <<E /e\nE\n").unwrap();
    build(&place.store, &BuildOptions { context: stream(&text), ..plain }, &Control::default()).unwrap();
    assert_eq!(files(&place), ["f 644 0:0 e"]);
    let missing = place.try_build("FROM scratch\nCOPY b.log /\n").unwrap_err();
    assert_eq!(missing.hint(), Some(&"the ignore file leaves it out".into()));
}

#[test]
fn add_unpacks_archives_by_their_content() {
    let place = Place::new();
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode) in [("d/x", 0o640), ("y", 0o4755)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(9);
        header.set_gid(10);
        header.set_size(2);
        builder.append_data(&mut header, path, &b"hi"[..]).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    std::fs::write(place.context.join("plain"), &tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    std::fs::write(place.context.join("a.tgz"), gzip.finish().unwrap()).unwrap();
    let mut names = vec!["plain", "a.tgz"];
    for program in ["xz", "bzip2"] {
        let Some(packed) = support::tools::packed(program, &tar) else { continue };
        std::fs::write(place.context.join(program), &packed).unwrap();
        names.push(program);
        // A context comes so, too.
        let context = place.scratch.join(&format!("context.{program}"));
        std::fs::write(&context, &packed).unwrap();
        let options = BuildOptions {
            context: ContextSource::Stream(Arc::new(std::fs::File::open(&context).unwrap())),
            ..place.options("FROM scratch\nCOPY y /to/\n")
        };
        build(&place.store, &options, &Control::default()).unwrap();
        assert_eq!(place.files_now(), ["f 4755 9:10 to/y"], "{program}");
        // What is compressed and no tar is a file.
        let text = support::tools::packed(program, b"some text\n").unwrap();
        std::fs::write(place.context.join("text"), &text).unwrap();
        std::fs::set_permissions(place.context.join("text"), PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(place.files("FROM scratch\nADD text /to\n"), ["f 644 0:0 to"], "{program}");
    }
    for name in names {
        let files = place.files(&format!("FROM scratch\nADD {name} /to\n"));
        assert_eq!(files, ["f 640 9:10 to/d/x", "f 4755 9:10 to/y"], "{name}");
    }
    std::fs::set_permissions(place.context.join("plain"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(place.files("FROM scratch\nADD --unpack=false plain /to\n"), ["f 644 0:0 to"]);
    assert_eq!(place.files("FROM scratch\nCOPY plain /to\n"), ["f 644 0:0 to"]);
    assert_eq!(
        place.files("FROM scratch\nADD --chown=1:2 plain /to\n")[1..],
        ["d 755 1:2 to/d", "f 640 1:2 to/d/x", "f 4755 1:2 to/y"][..]
    );
}

#[test]
fn hard_links_and_times_go_along() {
    let place = Place::new();
    place.write("d/a", "one");
    std::fs::hard_link(place.context.join("d/a"), place.context.join("d/b")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    std::fs::File::options().write(true).open(place.context.join("d/a")).unwrap().set_modified(old).unwrap();
    place.build("FROM scratch\nCOPY d /d\n");
    let list = contents(&place.store, &place.image(), &Control::default()).unwrap();
    let (a, b) = (list.lookup(b"d/a").unwrap(), list.lookup(b"d/b").unwrap());
    assert_eq!(list.leader(a), list.leader(b));
    assert_eq!(list.meta(a).mtime.secs, 1_000_000);
}

#[test]
fn errors_name_the_place_in_the_dockerfile() {
    let place = Place::new();
    place.write("a", "1");
    place.write("b", "1");
    let table = [
        ("FROM scratch\nCOPY nothing /\n", 2, ErrorKind::NotFound),
        ("FROM scratch\nCOPY a* nothing /x/\n", 2, ErrorKind::NotFound),
        ("FROM scratch\nCOPY [ab]* /new\n", 2, ErrorKind::InvalidArgument),
        ("FROM scratch\nCOPY a /new\nCOPY [ab]* /new\n", 3, ErrorKind::InvalidArgument),
        ("FROM scratch\nCOPY a /x\nCOPY a /x/y\n", 3, ErrorKind::InvalidArgument),
        ("FROM nothing:1\n", 1, ErrorKind::NotFound),
        ("ARG B\nFROM $B\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nENV a=${b:?needed}\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nUSER $nobody\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nCOPY a a /x\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nCOPY --chmod=9 a /x\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nADD https://example.org/x /\n", 2, ErrorKind::Unsupported),
        ("FROM scratch\nADD --checksum=sha256:00 a /\n", 2, ErrorKind::Syntax),
        ("FROM scratch\nCOPY <<E /.wh.x\nE\n", 2, ErrorKind::InvalidArgument),
        ("# check=error=true\nFROM scratch\nMAINTAINER x\n", 3, ErrorKind::Syntax),
    ];
    for (text, line, kind) in table {
        let error = place.try_build(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert_eq!(error.location().map(|at| at.line), Some(line), "{text}: {error}");
    }
    assert!(place.store.refs().unwrap().is_empty(), "nothing is named");
    let control = Control::default();
    control.cancel.cancel();
    let cancelled = build(&place.store, &place.options("FROM scratch\nCOPY a /\n"), &control).unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_dockerfile_can_be_looked_at() {
    let place = Place::new();
    let text = "# V is the version\nARG V=1\n# one makes it\nFROM scratch as one\nRUN --mount=type=secret,id=s --mount=type=ssh x\n\
                FROM one\nARG W\n";
    let options = BuildOptions { build_args: vec![("W".into(), "2".into())], ..place.options(text) };
    let control = Control::default();
    let (warnings, fails) = check(&place.store, &options, &control).unwrap();
    assert_eq!(warnings.iter().map(|w| w.rule).collect::<Vec<_>>(), ["FromAsCasing"]);
    assert!(!fails);
    let all = targets(&place.store, &options, &control).unwrap();
    let all: Vec<_> = all.iter().map(|t| (t.name.as_str(), t.description.as_str(), t.default)).collect();
    assert_eq!(all, [("one", "makes it", false), ("1", "", true)]);
}

#[test]
fn no_file_of_the_base_is_made_or_read() {
    use std::process::{Command, Stdio};
    let strace =
        Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no usable strace");
        return;
    }
    let place = Place::new();
    // As many entries as a distribution's image with a few programs has.
    const DIRECTORIES: usize = 290;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    for i in 0..DIRECTORIES {
        let dir = format!("of-the-base-{i}");
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        tar.append_data(&mut header, &dir, std::io::empty()).unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        for j in 0..99 {
            tar.append_data(&mut header, format!("{dir}/file-of-the-base-{j}"), std::io::empty()).unwrap();
        }
    }
    let tar = std::io::Cursor::new(tar.into_inner().unwrap());
    let options = treering::archive::ImportOptions::default();
    let name = treering::store::Reference::parse("base").unwrap();
    treering::archive::import(&place.store, Box::new(tar), Some(&name), &options, &Control::default())
        .unwrap();
    let base = Image::open(&place.store, "base", None).unwrap();
    contents(&place.store, &base, &Control::default()).unwrap();
    place.write("new", "1");
    place
        .write("Dockerfile", "FROM base\nCOPY new /of-the-base-7/\nWORKDIR /made\nCOPY new .\nCMD [\"x\"]\n");
    let log = place.scratch.join("log");
    let built = Command::new("strace")
        .args(["-f", "-qq", "-s", "4096", "-e", "trace=%file,%desc", "-o"])
        .arg(&log)
        .arg(support::program())
        .args(["--quiet", "build", "-t", "t"])
        .arg(&place.context)
        .env("TREERING_ROOT", place.scratch.join("store"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(built.success());
    let log = std::fs::read(&log).unwrap();
    let log = String::from_utf8_lossy(&log);
    let calls = |names: &[&str]| -> Vec<&str> {
        let of = |line: &&str| {
            names
                .iter()
                .any(|name| line.split_once(' ').is_some_and(|(_, call)| call.trim_start().starts_with(name)))
        };
        log.lines().filter(of).collect()
    };
    let named: Vec<&str> = calls(&[
        "open", "mkdir", "link", "symlink", "mknod", "rename", "unlink", "stat", "fchmod", "utimens",
    ])
    .into_iter()
    .filter(|line| line.contains("of-the-base"))
    .collect();
    assert!(named.is_empty(), "{named:#?}");
    let blob = base.layers()[0].digest.hex();
    let read: Vec<&str> = calls(&["open"])
        .into_iter()
        .filter(|line| line.contains(&blob) && !line.contains("O_DIRECTORY"))
        .collect();
    assert!(read.is_empty(), "the layer of the base is not read: {read:#?}");
    assert_eq!(place.entries().len(), DIRECTORIES * 100 + 3);
}

/// Returns a context with a static shell, if this machine has one.
#[cfg(feature = "sandbox")]
fn with_shell() -> Option<Place> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())?;
    let place = Place::new();
    std::fs::copy(busybox, place.context.join("busybox")).unwrap();
    place.write("file", "1");
    Some(place)
}

#[cfg(feature = "sandbox")]
const SHELL: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY --chmod=755 busybox /bin/sh\n\
    COPY <<P /etc/passwd\nroot:x:0:0::/root:/bin/sh\napp:x:31:32::/home/app:/bin/sh\nP\n";

#[cfg(feature = "sandbox")]
impl Place {
    fn run_options(&self, text: &str) -> BuildOptions {
        BuildOptions {
            helper: Some(support::program().into()),
            source_date_epoch: Some(1_000_000_000),
            ..self.options(&format!("{SHELL}{text}"))
        }
    }

    fn run(&self, text: &str) -> Result<Built, Error> {
        build(&self.store, &self.run_options(text), &Control::default())
    }

    /// Returns whether commands can be run here at all.
    fn can_run(&self) -> bool {
        match self.run("RUN true\n") {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("skipped: {error}");
                false
            }
            result => {
                result.unwrap();
                true
            }
        }
    }
}

#[cfg(feature = "sandbox")]
#[test]
fn commands_run_and_what_they_change_is_a_layer() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let text = "ARG V=7\nENV W=$V\nRUN busybox mkdir /d && busybox chown 31:32 /d && echo x > /d/set && busybox chmod 4755 /d/set\n\
                COPY file /d/\nUSER app\nWORKDIR /w\n\
                RUN echo $V $W $HOME `busybox id -u` `busybox pwd` > /d/said; busybox env > /d/env; busybox rm /d/file || true\n\
                RUN <<E\necho one > /d/script\nE\nRUN [\"/bin/busybox\", \"touch\", \"/d/exec\"]\n";
    let first = place.run(text).unwrap();
    let found = place.entries();
    for line in [
        "d 755 31:32 d",
        "f 4755 0:0 d/set",
        "f 644 31:32 d/said",
        "f 644 31:32 d/script",
        "f 644 31:32 d/exec",
        "d 755 31:32 w",
    ] {
        assert!(found.contains(&line.to_string()), "{line}: {found:#?}");
    }
    assert!(!found.iter().any(|line| line.ends_with("d/file")), "what a command removes is gone: {found:#?}");
    let out = place.scratch.join("out");
    treering::image::unpack(&place.store, "t", &out, &Default::default(), &Control::default()).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("d/said")).unwrap(), "7 7 /home/app 31 /w\n");
    let env = std::fs::read_to_string(out.join("d/env")).unwrap();
    let mut env: Vec<&str> = env.lines().map(|line| line.split('=').next().unwrap()).collect();
    env.sort();
    env.retain(|name| !["SHLVL", "PWD"].contains(name));
    assert_eq!(env, ["HOME", "PATH", "V", "W"], "nothing of the host's environment");
    let again = place.run(text).unwrap();
    assert_eq!((again.image_id, again.carried_out), (first.image_id, 0));
    // Without the cache the same bytes come out.
    let other = with_shell().unwrap();
    assert_eq!(other.run(text).unwrap().image_id, first.image_id);
    let left = std::fs::read_dir(place.scratch.join("store/tmp")).unwrap().count();
    assert_eq!(left, 0, "no tree is left");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_command_that_fails_is_an_error_with_its_code_and_leaves_nothing() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let error = place.run("RUN exit 7\n").unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::CommandFailed, Some(7)));
    assert_eq!(error.location().unwrap().text, "RUN exit 7");
    assert_eq!(std::fs::read_dir(place.scratch.join("store/tmp")).unwrap().count(), 0);
    for text in ["RUN --network=other true", "RUN --security=insecure true", "RUN --mount=target=/ true"] {
        assert_eq!(place.run(text).unwrap_err().kind(), ErrorKind::Syntax, "{text}");
    }
    // The mounts and variables of a step decide whether it is carried out again; a proxy does not.
    place.run("ARG A=1\nRUN echo $A > /a\n").unwrap();
    let same = place.run("ARG http_proxy=x\nARG A=1\nRUN echo $A > /a\n").unwrap();
    assert_eq!(same.carried_out, 0);
    assert_eq!(place.run("ARG A=2\nRUN echo $A > /a\n").unwrap().carried_out, 1);
}

/// The list of a tree is as long as the tree: it is kept where it saves more than that, and made again where it is not.
#[test]
fn a_list_is_kept_where_it_saves_more_than_it_takes() {
    let place = Place::new();
    for number in 0..1500 {
        place.write(&format!("d/{number}"), "");
    }
    place.write("small", "1");
    // What does not get smaller by compression, and more of it than the list has.
    let mut seed = 7u64;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(b'0' + (seed >> 60) as u8)
    });
    place.write("large", &noise.take(1 << 20).collect::<String>());
    let dockerfile = "FROM scratch AS a\nCOPY d /d\nCOPY small /s\nCOPY large /l\nCOPY small /t\nWORKDIR /w\nFROM scratch\nCOPY --from=a / /\n\
                      FROM a\nCOPY --from=1 /s /u\n";
    place.build(dockerfile);
    let image = place.image();
    let chains = treering::image::chain_ids(image.config().diff_ids());
    let kept = |chains: &[treering::Digest]| -> Vec<bool> {
        chains.iter().map(|chain| place.store.open_chain_list(chain).unwrap().is_some()).collect()
    };
    // Those of `d` and `large`; and what the next stage copies of has been looked at.
    assert_eq!(kept(&chains), [true, false, true, false, true, false]);
    let read = |image: &Image| {
        let list = contents(&place.store, image, &Control::default()).unwrap();
        let paths = list.walk().map(|at| String::from_utf8(list.path(at)).unwrap());
        let found: Vec<_> = paths.filter(|path| !path.starts_with("d/")).collect();
        (found, list.digest(list.lookup(b"u").unwrap()), list.digest(list.lookup(b"s").unwrap()))
    };
    let (paths, u, s) = read(&image);
    assert_eq!(paths, ["d", "l", "s", "t", "u", "w"]);
    assert!(u.is_some() && u == s);
}

/// Layers that a build writes have their indexes, and lists in which each content has its place, before anything looks at the image.
#[test]
fn layers_of_a_build_are_indexed_when_they_are_written() {
    let place = Place::new();
    place.write("d/x", "1");
    place.write("d/y", &"y".repeat(300_000));
    place.build(
        "FROM scratch AS first\nCOPY d /d\nFROM scratch\nCOPY d /d\nCOPY d/y /d/x\nCOPY --from=first /d/y /again\n\
         COPY <<E /text\nwords\nE\n",
    );
    let image = place.image();
    assert_eq!(image.layers().len(), 4);
    let control = Control::default();
    for layer in image.layers() {
        assert!(place.store.layer_index(&layer.digest, layer.size).unwrap().is_some(), "{}", layer.digest);
    }
    let chains = treering::image::chain_ids(image.config().diff_ids());
    for chain in &chains {
        assert!(place.store.open_chain_list(chain).unwrap().is_some());
    }
    // The list is there without a layer, and a file comes out of the layer that wrote it alone.
    let blob =
        |layer: usize| place.store.layout().join("blobs/sha256").join(image.layers()[layer].digest.hex());
    std::fs::remove_file(blob(0)).unwrap();
    let files = treering::image::ImageFiles::open(&place.store, &image, &control).unwrap();
    let read = |path: &str| files.read(files.resolve(path).unwrap(), 1 << 20, &control);
    assert_eq!(read("d/x").unwrap(), "y".repeat(300_000).as_bytes());
    assert_eq!(read("again").unwrap(), "y".repeat(300_000).as_bytes());
    assert_eq!(read("text").unwrap(), b"words\n");
    assert!(read("d/y").is_err(), "its layer is gone");
}
