//! Contexts that change: while they are read, and between two builds.

use std::time::{Duration, SystemTime};

use super::*;

/// Builds, and does something to the context once the files of its COPY are hashed and before they are written.
fn disturbed(place: &Place, disturb: impl Fn() + Send + Sync + 'static) -> Result<Built, Error> {
    let events = Events::observed(Arc::new(move |event: &Event| {
        if matches!(event, Event::Started { text, .. } if text.starts_with("COPY")) {
            disturb();
        }
    }));
    let options = place.options("FROM scratch\nCOPY d /d\n");
    build(&place.store, &options, &Control { events, ..Control::default() })
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error_and_no_image() {
    type Disturb = fn(&Path);
    let cases: [(&str, Disturb); 7] = [
        ("shrinks", |dir| {
            std::fs::File::options().write(true).open(dir.join("f")).unwrap().set_len(7).unwrap()
        }),
        ("grows", |dir| {
            let mut file = std::fs::File::options().append(true).open(dir.join("f")).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        }),
        ("vanishes", |dir| std::fs::remove_file(dir.join("f")).unwrap()),
        ("becomes another", |dir| {
            std::fs::write(dir.join("g"), vec![b'y'; 300_000]).unwrap();
            std::fs::rename(dir.join("g"), dir.join("f")).unwrap();
        }),
        ("becomes a link", |dir| {
            std::fs::remove_file(dir.join("f")).unwrap();
            symlink("/etc/passwd", dir.join("f")).unwrap();
        }),
        ("is in a directory that becomes a link", |dir| {
            std::fs::rename(dir, dir.with_extension("away")).unwrap();
            symlink("/etc", dir).unwrap();
        }),
        ("is in a directory that vanishes", |dir| std::fs::remove_dir_all(dir).unwrap()),
    ];
    for (what, disturb) in cases {
        let place = Place::new();
        place.write("d/f", &"x".repeat(300_000));
        let dir = place.context.join("d");
        let error = disturbed(&place, move || disturb(&dir)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{what}: {error}");
        let path = String::from_utf8_lossy(error.path().unwrap_or_default()).into_owned();
        assert!(path.ends_with("d/f"), "{what}: {path}");
        assert_eq!(error.location().map(|at| at.line), Some(2), "{what}: {error}");
        assert!(place.store.entries().unwrap().is_empty(), "{what}");
        assert_eq!(place.store.usage(&Control::default()).unwrap().blobs, 0, "{what}: no blob is left");
    }
}

#[test]
fn a_change_of_the_same_size_within_a_clock_tick_is_seen() {
    let place = Place::new();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for round in 0..20 {
        let text = format!("{:02}", round % 7);
        place.write("a", &text);
        std::fs::File::options()
            .write(true)
            .open(place.context.join("a"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        place.build("FROM scratch\nCOPY a /a\n");
        assert_eq!(place.read("a"), text, "round {round}");
    }
}

#[test]
fn a_directory_that_becomes_a_link_is_copied_as_what_it_is_now() {
    let place = Place::new();
    place.write("d/f", "of the directory");
    place.write("other/f", "of the other one");
    let text = "FROM scratch\nCOPY . /c\nCOPY d/f /f\n";
    place.build(text);
    assert_eq!(place.read("f"), "of the directory");
    std::fs::remove_dir_all(place.context.join("d")).unwrap();
    symlink("other", place.context.join("d")).unwrap();
    place.build(text);
    assert_eq!(place.read("f"), "of the other one");
    assert!(place.entries().contains(&"l 777 0:0 c/d -> other".to_string()), "{:?}", place.entries());
    // One that leads out of the context is a link and no way out.
    std::fs::remove_file(place.context.join("d")).unwrap();
    symlink("/etc", place.context.join("d")).unwrap();
    let error = place.try_build("FROM scratch\nCOPY d/passwd /f\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_dockerfile_comes_from_a_stream() {
    let place = Place::new();
    place.write("a", "1");
    place.write("Dockerfile", "FROM scratch\nCOPY nothing /\n");
    let file = place.scratch.join("text");
    std::fs::write(&file, "FROM scratch\nCOPY a /b\n").unwrap();
    let dockerfile = DockerfileSource::Stream(Arc::new(std::fs::File::open(&file).unwrap()));
    build(&place.store, &BuildOptions { dockerfile, ..place.options("") }, &Control::default()).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 b"]);
    let built = std::process::Command::new(support::program())
        .args(["build", "-q", "-t", "t", "-f", "-", "."])
        .current_dir(&place.context)
        .env("TREERING_ROOT", place.scratch.join("store"))
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_eq!(place.files_now(), ["f 644 0:0 b"]);
}

/// The caret of an error stands below the word that is wrong, also behind characters of several bytes.
#[test]
fn a_caret_stands_under_the_text_that_is_wrong() {
    let place = Place::new();
    for (text, line, word) in [
        ("FROM scratch\nCOPXY a /\n", 2, "COPXY"),
        ("FROM scratch\n  COPY --form=x a /\n", 2, "--form"),
        ("FROM scratch\nRUN --network=é --mount=type=cache,tarjet=/x true\n", 2, "--mount"),
        ("FROM scratch\nRUN --mount=type=cache,tarjet=/x true\n", 2, "--mount"),
    ] {
        place.write("Dockerfile", text);
        let built = std::process::Command::new(support::program())
            .args(["build", "--progress=quiet", "."])
            .current_dir(&place.context)
            .env("TREERING_ROOT", place.scratch.join("store"))
            .output()
            .unwrap();
        let said = String::from_utf8(built.stderr).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let at = lines
            .iter()
            .position(|it| it.starts_with(&format!(" {line} | ")))
            .unwrap_or_else(|| panic!("{said}"));
        let column = |line: &str, what: &str| line.find(what).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[at + 1], "^"), column(lines[at], word), "{said}");
    }
}
