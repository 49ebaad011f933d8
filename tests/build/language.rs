//! The language of Dockerfiles where it is BuildKit's: which variables count, here-documents, commands that are inherited, and names of
//! stages.

use super::*;

fn with(options: BuildOptions, args: &[(&str, &str)]) -> BuildOptions {
    let build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    BuildOptions { build_args, ..options }
}

impl Place {
    fn env(&self, name: &str) -> Option<String> {
        let env = self.image().config().run().env.clone().unwrap_or_default();
        env.iter().find_map(|item| item.strip_prefix(&format!("{name}=")).map(String::from))
    }

    fn command(&self) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let image = self.image();
        let run = image.config().run();
        (run.entrypoint.clone(), run.cmd.clone())
    }
}

#[test]
fn of_env_and_arg_the_later_one_counts() {
    let place = Place::new();
    place.build("FROM scratch\nENV X=of-the-base\n");
    place.store.tag(&"base".parse().unwrap(), &place.store.entries().unwrap()[0].descriptor).unwrap();
    // Each line ends in what SEEN is, where X is given as a build argument and where it is not.
    for (text, given, not_given) in [
        ("FROM scratch\nENV X=20\nARG X\nENV SEEN=$X\n", "18", "20"),
        ("FROM scratch\nENV X=20\nARG X=19\nENV SEEN=$X\n", "18", "19"),
        ("FROM scratch\nARG X=19\nENV X=20\nENV SEEN=$X\n", "20", "20"),
        ("FROM scratch\nENV X=20\nARG X=19\nENV X=21\nENV SEEN=$X\n", "21", "21"),
        ("FROM scratch\nENV X=20\nARG X=19\nENV X=a$X\nENV SEEN=$X\n", "a18", "a19"),
        ("FROM base\nARG X\nENV SEEN=$X\n", "18", "of-the-base"),
        ("FROM base\nARG X=19\nENV SEEN=$X\n", "18", "19"),
        // An argument before the first stage is the value of one without a default.
        ("ARG X=global\nFROM base\nARG X\nENV SEEN=$X\n", "18", "global"),
        ("ARG X=global\nFROM base\nENV SEEN=$X\n", "of-the-base", "of-the-base"),
        // A stage begins with the environment of the one below it, and what else that has declared.
        ("FROM base AS a\nARG X=19\nFROM a\nENV SEEN=$X\n", "of-the-base", "of-the-base"),
        ("FROM scratch AS a\nARG X=19\nFROM a\nENV SEEN=$X\n", "18", "19"),
    ] {
        for (args, expected) in [(&[("X", "18")][..], given), (&[], not_given)] {
            build(&place.store, &with(place.options(text), args), &Control::default()).unwrap();
            assert_eq!(place.env("SEEN").as_deref(), Some(expected), "{args:?} {text}");
        }
    }
    // The image keeps what ENV says.
    let text = "FROM scratch\nENV X=20\nARG X\n";
    build(&place.store, &with(place.options(text), &[("X", "18")]), &Control::default()).unwrap();
    assert_eq!(place.env("X").as_deref(), Some("20"));
}

#[test]
fn a_default_that_does_not_count_is_not_expanded() {
    let place = Place::new();
    for text in [
        "ARG P=${NOPE:?bad}\nFROM scratch\nARG P\nENV SEEN=$P\n",
        "FROM scratch\nARG P=${NOPE:?bad}\nENV SEEN=$P\n",
        "FROM scratch\nARG A=1 P=${NOPE:?bad}\nENV SEEN=$P\n",
    ] {
        build(&place.store, &with(place.options(text), &[("P", "x")]), &Control::default()).unwrap();
        assert_eq!(place.env("SEEN").as_deref(), Some("x"), "{text}");
        let error = place.try_build(text).unwrap_err();
        assert!(error.kind() == ErrorKind::Syntax && error.to_string().contains("bad"), "{text}: {error}");
    }
}

#[test]
fn bodies_of_here_documents_are_expanded_as_text() {
    let place = Place::new();
    let text = "FROM scratch\nARG name=world\n\
        COPY <<EOF /quotes\n\"quotes\" and it's ${name} '$name' \"${none:-\"a b\"}\"\nEOF\n\
        COPY <<EOF /slash1\n\\\nEOF\nCOPY <<EOF /slash2\n\\\\\nEOF\nCOPY <<EOF /slash3\n\\$name \\n\nEOF\n\
        COPY <<\"EOF\" /raw1\n\\\nEOF\nCOPY <<'EOF' /raw2\n\\\\ $name\nEOF\nADD <<E\\OF /added\n\\$name $name\nEOF\n";
    let expected = [
        ("quotes", "\"quotes\" and it's world 'world' \"\"a b\"\"\n"),
        ("slash1", "\n"),
        ("slash2", "\\\n"),
        ("slash3", "$name n\n"),
        ("raw1", "\\\n"),
        ("raw2", "\\\\ $name\n"),
        ("added", "$name world\n"),
    ];
    // The escape of a here-document is a backslash, whatever that of the file is.
    for directive in ["", "# escape=`\n"] {
        place.build(&format!("{directive}{text}"));
        for (path, content) in expected {
            assert_eq!(place.read(path), content, "{directive}{path}");
        }
    }
    place.build("# escape=`\nFROM scratch\nCOPY <<E /f\n`a ``\nE\n");
    assert_eq!(place.read("f"), "`a ``\n");
}

#[test]
fn an_entrypoint_clears_the_command_that_is_inherited() {
    let place = Place::new();
    let list = |word: &str| Some(vec![word.to_string()]);
    for (text, entrypoint, cmd) in [
        ("FROM scratch AS base\nCMD [\"x\"]\nFROM base\nENTRYPOINT [\"e\"]\n", list("e"), None),
        ("FROM scratch AS base\nCMD [\"x\"]\nFROM base\nENTRYPOINT []\n", None, None),
        ("FROM scratch AS base\nCMD [\"x\"]\nFROM base\n", None, list("x")),
        (
            "FROM scratch AS base\nCMD [\"x\"]\nFROM base\nCMD [\"y\"]\nENTRYPOINT [\"e\"]\n",
            list("e"),
            list("y"),
        ),
        (
            "FROM scratch AS base\nCMD [\"x\"]\nFROM base\nENTRYPOINT [\"e\"]\nCMD [\"y\"]\n",
            list("e"),
            list("y"),
        ),
        ("FROM scratch\nCMD [\"x\"]\nENTRYPOINT [\"e\"]\n", list("e"), list("x")),
        ("FROM scratch\nCMD [\"x\"]\nENTRYPOINT []\n", None, list("x")),
        ("FROM scratch AS a\nONBUILD CMD [\"x\"]\nFROM a\nENTRYPOINT [\"e\"]\n", list("e"), list("x")),
    ] {
        place.build(text);
        assert_eq!(place.command(), (entrypoint, cmd), "{text}");
    }
}

/// Returns the line, the text below the caret and the hint of an error that came before anything was carried out.
fn refused(place: &Place, text: &str) -> (ErrorKind, u32, String, bool) {
    let (events, seen) = observed();
    let control = Control { events, ..Control::default() };
    let error = build(&place.store, &place.options(text), &control).unwrap_err();
    let started = seen.lock().unwrap().iter().any(|event| matches!(event, Event::Started { .. }));
    assert!(!started, "{text}: {error}");
    let at = error.location().unwrap_or_else(|| panic!("{text}: {error}"));
    let word = at.text[at.column as usize - 1..].split(' ').next().unwrap();
    (error.kind(), at.line, word.to_string(), error.hint().is_some())
}

#[test]
fn names_of_stages_that_cannot_be_copied_from_are_refused_at_once() {
    let place = Place::new();
    place.write("x", "1");
    for (text, line, word) in [
        ("FROM scratch\nCOPY x /\nCOPY --from=9 /x /y\n", 3, "--from=9"),
        ("FROM scratch\nCOPY --chown=1 --from=-1 /x /y\n", 2, "--from=-1"),
        ("FROM scratch\nCOPY --from=0 /x /y\n", 2, "--from=0"),
        ("FROM scratch AS a\nCOPY --link --from=A /x /y\n", 2, "--from=A"),
        ("FROM scratch AS a\nFROM scratch\nCOPY --from=a / /\nCOPY --from=1 / /\n", 4, "--from=1"),
        (
            "FROM scratch AS a\nRUN --network=none --mount=from=a,target=/x true\n",
            2,
            "--mount=from=a,target=/x",
        ),
        // Each needs the other, through a third one, and where the target needs none of them.
        ("FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n", 2, "--from=b"),
        (
            "FROM scratch AS a\nCOPY --from=2 / /\nFROM scratch AS b\nCOPY --from=a / /\nFROM scratch AS c\nCOPY --from=b / /\n",
            2,
            "--from=2",
        ),
        (
            "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\nFROM scratch\nCOPY x /\n",
            2,
            "--from=b",
        ),
        ("FROM scratch AS a\nCOPY --from=9 / /\nFROM scratch\nCOPY x /\n", 2, "--from=9"),
        // One that is needed takes files from one after it.
        ("FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY x /\nFROM a\n", 2, "--from=b"),
        (
            "FROM scratch AS a\nRUN --mount=from=b,target=/x true\nFROM scratch AS b\nCOPY x /\nFROM a\n",
            2,
            "--mount=from=b,target=/x",
        ),
    ] {
        assert_eq!(refused(&place, text), (ErrorKind::Syntax, line, word.into(), true), "{text}");
    }
    // What nobody needs may wait for what comes later.
    place.build("FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY x /\n");
    // Numbers and names of stages before go on, and the last stage of a name counts.
    place.build("FROM scratch AS a\nCOPY x /1\nFROM scratch AS a\nCOPY x /2\nFROM scratch\nCOPY --from=0 / /\nCOPY --from=a / /\n");
    assert_eq!(place.files_now(), ["f 644 0:0 1", "f 644 0:0 2"]);
    // A context of this name is no stage.
    let text = "FROM scratch AS a\nCOPY --from=late /x /y\nFROM scratch AS late\nFROM a\n";
    let named_contexts = vec![("late".to_string(), place.context.to_str().unwrap().to_string())];
    build(&place.store, &BuildOptions { named_contexts, ..place.options(text) }, &Control::default())
        .unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 y"]);
    // Triggers are seen when their base is read.
    for (trigger, expected) in [("COPY --from=9 / /", "stage index"), ("COPY --from=late / /", "comes after")]
    {
        let options = BuildOptions {
            tags: vec!["eager".into()],
            ..place.options(&format!("FROM scratch\nCOPY x /\nONBUILD {trigger}\n"))
        };
        build(&place.store, &options, &Control::default()).unwrap();
        let error = place.try_build("FROM eager AS a\nFROM scratch AS late\nFROM a\n").unwrap_err();
        assert!(
            error.kind() == ErrorKind::Syntax && error.to_string().contains(expected),
            "{trigger}: {error}"
        );
    }
    // The number of a stage is the name of an image for FROM.
    let error = place.try_build("FROM scratch\nCOPY x /\nFROM 0\n").unwrap_err();
    assert_eq!((error.kind(), error.location().map(|at| at.line)), (ErrorKind::NotFound, Some(3)), "{error}");
}

#[test]
fn directories_that_a_pattern_matches_merge_where_they_go() {
    let place = Place::new();
    for (path, content) in [
        ("dir1/a", "1"),
        ("dir1/both", "1"),
        ("dir2/b", "2"),
        ("dir2/both", "22"),
        ("mix1/c", "3"),
        ("mix2", "4"),
    ] {
        place.write(path, content);
    }
    assert_eq!(
        place.files("FROM scratch\nCOPY dir* /5\n"),
        ["f 644 0:0 5/a", "f 644 0:0 5/b", "f 644 0:0 5/both"]
    );
    assert_eq!(place.read("5/both"), "22");
    // A file behind a directory goes into it.
    assert_eq!(place.files("FROM scratch\nCOPY mix* /5\n"), ["f 644 0:0 5/c", "f 644 0:0 5/mix2"]);
    assert_eq!(
        place.files("FROM scratch\nCOPY --parents dir*/a mix2 /5/\n"),
        ["f 644 0:0 5/dir1/a", "f 644 0:0 5/mix2"]
    );
    assert_eq!(place.files("FROM scratch\nCOPY --parents dir*/b* /5\n").len(), 3);
    let error = place.try_build("FROM scratch\nCOPY mix2 dir1/* /5\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Syntax, "{error}");
    let error = place.try_build("FROM scratch\nCOPY dir1/* /5\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn add_gives_no_mode_to_what_it_unpacks() {
    let place = Place::new();
    for name in ["a.tar", "b.tar"] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o4751);
        header.set_size(2);
        tar.append_data(&mut header, format!("in-{name}"), &b"hi"[..]).unwrap();
        std::fs::write(place.context.join(name), tar.into_inner().unwrap()).unwrap();
    }
    place.write("plain", "1");
    assert_eq!(
        place.files("FROM scratch\nADD --chmod=700 --chown=3:4 a.tar plain /d/\n")[1..],
        ["f 4751 3:4 d/in-a.tar", "f 700 3:4 d/plain"][..]
    );
    assert_eq!(
        place.files("FROM scratch\nADD --unpack=false --chmod=700 a.tar /d/\n"),
        ["f 700 0:0 d/a.tar"]
    );
    assert_eq!(
        place.files("FROM scratch\nADD *.tar /d\n"),
        ["f 4751 0:0 d/in-a.tar", "f 4751 0:0 d/in-b.tar"]
    );
}

#[test]
fn a_signal_is_one_that_docker_takes() {
    let place = Place::new();
    for (text, hint) in
        [("SIGFOO", "a name such as"), ("SIGTREM", "did you mean SIGTERM?"), ("$S", "did you mean SIGKILL?")]
    {
        let error = place.try_build(&format!("FROM scratch\nENV S=KIL\nSTOPSIGNAL {text}\n")).unwrap_err();
        assert_eq!(
            (error.kind(), error.location().map(|at| at.line)),
            (ErrorKind::Syntax, Some(3)),
            "{error}"
        );
        assert!(
            error.hint().is_some_and(|said| said.to_string().contains(hint)),
            "{text}: {:?}",
            error.hint()
        );
    }
    place.build("FROM scratch\nENV S=min+3\nSTOPSIGNAL SIGRT$S\n");
    assert_eq!(place.image().config().run().stop_signal.as_deref(), Some("SIGRTmin+3"));
}

#[cfg(feature = "sandbox")]
#[test]
fn commands_get_the_variable_that_counts() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let run = |text: &str, args: &[(&str, &str)]| {
        build(&place.store, &with(place.run_options(text), args), &Control::default()).unwrap()
    };
    let text = "ENV X=20\nARG X\nRUN echo $X > /seen; busybox env | busybox grep -c ^X= >> /seen\n";
    for (args, expected) in [(&[("X", "18")][..], "18\n1\n"), (&[], "20\n1\n")] {
        run(text, args);
        assert_eq!(place.read("seen"), expected);
    }
    run("ARG X=1\nENV X=20\nRUN echo $X > /seen\n", &[("X", "18")]);
    assert_eq!(place.read("seen"), "20\n");
    // A value that does not count is in no key.
    let other = run("ARG X=1\nENV X=20\nRUN echo $X > /seen\n", &[("X", "17")]);
    assert_eq!(other.carried_out, 0);
}

#[cfg(feature = "sandbox")]
#[test]
fn here_documents_reach_the_shell_with_their_descriptors() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    // By chroot(2) alone there is no /proc.
    let Ok(_) = place.run("RUN busybox test -r /proc/self/fd\n") else {
        return println!("SKIP-PART proc: commands have no /proc here");
    };
    let text = "WORKDIR /dest\n\
        RUN busybox cat <<EOF1 | busybox tr '[:upper:]' '[:lower:]' > ./out1; \\\n  busybox cat <<EOF2 | busybox tr '[:lower:]' '[:upper:]' > ./out2\n\
        hello WORLD\nEOF1\nHELLO world\nEOF2\n\
        RUN <<EOF 3<<IN1 4<<IN2 busybox awk -f -\nBEGIN {\n\
        \twhile ((getline line < \"/proc/self/fd/3\") > 0)\n\t\tprint tolower(line) > \"./fd3\"\n\
        \twhile ((getline line < \"/proc/self/fd/4\") > 0)\n\t\tprint toupper(line) > \"./fd4\"\n}\nEOF\n\
        hello WORLD\nIN1\nHELLO world\nIN2\n\
        RUN <<EOF sh > ./out3\necho \"\n\tfoo\"\nEOF\nRUN <<-EOF sh > ./out4\n\techo \"\n\tbar\"\n\tEOF\n\
        RUN 3<<EOF\necho alone > ./out5\nEOF\n";
    place.run(text).unwrap();
    for (path, content) in [
        ("out1", "hello world\n"),
        ("out2", "HELLO WORLD\n"),
        ("fd3", "hello world\n"),
        ("fd4", "HELLO WORLD\n"),
        ("out3", "\n\tfoo\n"),
        ("out4", "\nbar\n"),
        ("out5", "alone\n"),
    ] {
        assert_eq!(place.read(&format!("dest/{path}")), content, "{path}");
    }
}

#[cfg(feature = "sandbox")]
#[test]
fn a_here_document_is_in_the_history_and_its_first_line_in_progress() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let (events, seen) = observed();
    let text = "RUN <<EOF\necho multi > /m\necho second\nEOF\nRUN --network=none <<EOF\n\n  echo alone > /a\nEOF\n\
        RUN --mount=type=tmpfs,target=/t  --network=none busybox cat <<A > /c\n1\nA\nRUN --network=none [\"/bin/busybox\", \"touch\", \"/e\"]\nRUN echo x > /x\n";
    build(&place.store, &place.run_options(text), &Control { events, ..Control::default() }).unwrap();
    let rows: Vec<String> = place.history().into_iter().filter(|row| row.starts_with("RUN")).collect();
    assert_eq!(
        rows,
        [
            "RUN <<EOF\necho multi > /m\necho second\nEOF # treering",
            "RUN <<EOF\n\n  echo alone > /a\nEOF # treering",
            "RUN busybox cat <<A > /c\n1\nA # treering",
            "RUN [\"/bin/busybox\",\"touch\",\"/e\"] # treering",
            "RUN echo x > /x # treering",
        ]
    );
    let seen = seen.lock().unwrap();
    let shown = seen.iter().filter_map(|event| match event {
        Event::Started { text, .. } => Some(text.as_str()).filter(|text| text.starts_with("RUN")),
        _ => None,
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "RUN <<EOF (echo multi > /m...)",
            "RUN --network=none <<EOF (echo alone > /a)",
            "RUN --mount=type=tmpfs,target=/t  --network=none busybox cat <<A > /c",
            "RUN --network=none [\"/bin/busybox\",\"touch\",\"/e\"]",
            "RUN echo x > /x",
        ]
    );
}

#[cfg(feature = "sandbox")]
#[test]
fn mounts_take_the_keys_of_buildkit() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let run = |mount: &str, command: &str| place.run(&format!("RUN --mount={mount} {command}\n")).unwrap();
    run("type=CACHE,target=/c,sharing=LOCKED,id=k", "echo 1 > /c/kept");
    run("type=cache,target=/c,id=k,ro", "busybox test -e /c/kept");
    run("type=tmpfs,target=/t,id=x", "echo 1 > /t/x");
    run("type=bind,target=/b,id=x,source=file", "busybox test -f /b");
    run("type=secret,id=none,ro", "true");
    run("type=ssh,rw", "true");
    // A file system in memory that is read-only has nothing in it, and gets nothing.
    let mounts = place.run("RUN --mount=type=tmpfs,target=/t,ro ! echo 1 > /t/x\n").is_ok();
    let others = place.run("RUN --mount=target=/b ! echo 1 > /b/x\n").is_ok();
    assert_eq!(mounts, others, "as a bind mount is");
}
