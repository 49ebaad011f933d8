//! Tables of cases from the Dockerfile reference, what bad files get, and properties against plain statements of the rules.

use proptest::prelude::*;

use super::instruction::{self, CopySource, Instruction};
use super::*;
use crate::{Error, ErrorKind};

mod checks;
mod ignore;

fn parse(text: &str) -> crate::Result<Dockerfile> {
    Dockerfile::parse(b"Dockerfile", text.as_bytes())
}

fn only(text: &str) -> Instruction {
    let file = parse(&format!("FROM a\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(file.stages[0].statements.len(), 1, "{text}");
    file.stages[0].statements[0].instruction.clone()
}

fn place(error: &Error) -> (u32, u32) {
    let location = error.location().expect("a place");
    (location.line, location.column)
}

#[test]
fn comments_continuations_and_line_ends() {
    let run = |text: &str| match only(text) {
        Instruction::Run(run) => run.command,
        other => panic!("{other:?}"),
    };
    let shell = |text: &str| CommandLine::Shell(text.into());
    assert_eq!(run("RUN a \\\n  b"), shell("a   b"));
    assert_eq!(run("  run a \\  \t\n# note\n   # note\n  b"), shell("a   b"));
    assert_eq!(run("RUN a \\\r\n  b\r\n"), shell("a   b"));
    assert_eq!(run("RUN a \\\n\n  b"), shell("a   b"));
    // Two escape characters at the end are no continuation, and the end of the file ends one.
    assert_eq!(run("RUN a \\\\"), shell("a \\\\"));
    assert_eq!(run("RUN a \\"), shell("a"));
    assert_eq!(run("RUN echo # no comment"), shell("echo # no comment"));
    assert_eq!(run("RUN [\"a\", \"b c\"]"), CommandLine::Exec(vec!["a".into(), "b c".into()]));
    assert_eq!(run("RUN [\"a\", b]"), shell("[\"a\", b]"));
    let ticks = parse("# escape=`\nFROM a\nRUN a `\n b\nCOPY c:\\x d").unwrap();
    assert_eq!(ticks.directives.escape, '`');
    let Instruction::Copy(copy) = &ticks.stages[0].statements[1].instruction else { panic!() };
    assert_eq!(copy.sources, [CopySource::Path("c:\\x".into())]);
    // The byte order mark, and what is not UTF-8 in a comment.
    assert!(Dockerfile::parse(b"D", b"\xef\xbb\xbf# \xff\nFROM a\n").is_ok());
}

#[test]
fn directives_stand_at_the_top_only() {
    let file = parse("#syntax = docker/dockerfile:1\n# ESCAPE=`\n# check=skip=all\nFROM a").unwrap();
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(file.directives.escape, '`');
    for text in ["# note\n# escape=`\nFROM a", "# unknown=1\n# escape=`\nFROM a", "\n# escape=`\nFROM a"] {
        assert_eq!(parse(text).unwrap().directives.escape, '\\', "{text}");
    }
    assert!(parse("# escape=\\\n# escape=\\\nFROM a").is_err());
    assert!(parse("# escape=x\nFROM a").is_err());
}

#[test]
fn heredocs() {
    let run = |text: &str| match only(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    };
    let one = run("RUN <<EOF\n a\n# kept\n\nb \\\nEOF\n");
    assert_eq!(one.heredocs[0].body, " a\n# kept\n\nb \\\n");
    assert!(one.heredocs[0].expand);
    let two = run("RUN <<A cat - <<-'B'\na\nA\n\t\tb\n\tB");
    assert_eq!(two.heredocs.len(), 2);
    assert!(!two.heredocs[1].expand && two.heredocs[1].chomp);
    assert_eq!((two.heredocs[1].body.as_str(), two.heredocs[1].content().as_str()), ("\t\tb\n", "b\n"));
    assert!(run("RUN echo '<<EOF'").heredocs.is_empty());
    assert!(run("RUN [\"cat\", \"<<EOF\"]").heredocs.is_empty());
    // The number of a descriptor may stand before one. What stands between two `<`, or is part of a word, is none.
    let names = |run: &instruction::Run| run.heredocs.iter().map(|doc| doc.name.clone()).collect::<Vec<_>>();
    let three = run("RUN <<EOF 3<<IN1 42<<-'IN2' awk -f -\nBEGIN {}\nEOF\nIN\nIN1\n\tin\n\tIN2\n");
    assert_eq!(names(&three), ["EOF", "IN1", "IN2"]);
    assert_eq!((three.heredocs[2].content().as_str(), three.heredocs[2].expand), ("in\n", false));
    assert_eq!(three.command, CommandLine::Shell("<<EOF 3<<IN1 42<<-'IN2' awk -f -".into()));
    assert_eq!(names(&run("RUN echo 0<<A\na\nA\n")), ["A"]);
    for text in ["RUN echo a3<<EOF", "RUN echo 3<<<EOF", "RUN echo -3<<EOF", "RUN echo 3<", "RUN echo << EOF"]
    {
        assert!(run(text).heredocs.is_empty(), "{text}");
    }
    // A backslash takes away no expansion, as quotes do.
    let words = run("RUN cat <<A\\B <<\"C D\" <<E'F'\nAB\nC D\nEF\n").heredocs;
    let words: Vec<_> = words.iter().map(|doc| (doc.name.as_str(), doc.expand)).collect();
    assert_eq!(words, [("AB", true), ("C D", false), ("EF", false)]);
    // What stands behind one is a command, which the shell reads it for.
    for (text, alone) in
        [("<<EOF", true), ("3<<-EOF", true), ("<<'a b'", true), ("<<EOF sh", false), ("<<A <<B", false)]
    {
        assert_eq!(lines::heredoc(text).is_some(), alone, "{text}");
    }
    let Instruction::Copy(copy) = only("COPY 3<<x /d\na\nx\n") else { panic!() };
    assert!(matches!(&copy.sources[..], [CopySource::Inline(doc)] if doc.body == "a\n"));
    let Instruction::Copy(copy) = only("COPY --chmod=755 <<x y <<\"z\" /d/\n$a\nx\nb\nz\n") else { panic!() };
    let inline: Vec<_> = copy
        .sources
        .iter()
        .map(|source| match source {
            CopySource::Inline(doc) => (doc.name.as_str(), doc.expand),
            CopySource::Path(path) => (path.as_str(), true),
        })
        .collect();
    assert_eq!(inline, [("x", true), ("y", true), ("z", false)]);
    let Instruction::Change(Change::Onbuild(text)) = only("ONBUILD RUN <<E\n a\nE\n") else { panic!() };
    assert_eq!(text, "RUN <<E\n a\nE");
    let error = parse("FROM a\nRUN <<EOF\nx\n").unwrap_err();
    assert_eq!((error.kind(), place(&error)), (ErrorKind::Syntax, (2, 0)));
}

#[test]
fn every_instruction_with_its_flags() {
    let good = "ARG V=1\n\
        FROM --platform=$BUILDPLATFORM debian:$V AS Base\n\
        RUN --mount=type=cache,target=/c,sharing=locked,id=x,mode=0755,uid=1,gid=2 --network=none --security=sandbox make\n\
        RUN --mount=target=/src,from=base,source=x,rw --mount=type=tmpfs,dst=/t,size=64m true\n\
        RUN --mount=type=secret,id=s,env=S,required=true --mount=type=ssh true\n\
        RUN --mount=\"type=bind,target=/a b,from=base\" [\"true\"]\n\
        COPY --from=0 --chown=a:b --chmod=u+rwX,go-w --link --parents --exclude=*.x --exclude=y a ./b/ /c/\n\
        COPY [\"a b\", \"c\"]\n\
        ADD --keep-git-dir=true --checksum=sha256:00 --unpack=false --link=false https://x/y /z\n\
        ARG A B=2 C=\"x y\"\n\
        ENV A=1 B=\"2 3\"\nENV old value here\nLABEL a=b\nMAINTAINER me\nEXPOSE 80/tcp 90\nVOLUME /a /b\n\
        USER u\nWORKDIR /w\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/bash\", \"-c\"]\nONBUILD COPY . /app\n\
        HEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD x\n\
        CMD [\"a\"]\nENTRYPOINT b\n";
    let file = parse(good).unwrap();
    assert_eq!((file.globals.len(), file.stages.len(), file.stages[0].statements.len()), (1, 1, 22));
    assert_eq!(file.stage("BASE", 1), Some(0));
    let Instruction::Copy(copy) = &file.stages[0].statements[4].instruction else { panic!() };
    assert!(copy.link && copy.parents && copy.exclude == ["*.x", "y"] && copy.sources.len() == 2);
    let Instruction::Add(add) = &file.stages[0].statements[6].instruction else { panic!() };
    assert_eq!((add.keep_git_dir, add.unpack, add.link), (Some(true), Some(false), false));
    let Instruction::Run(run) = &file.stages[0].statements[0].instruction else { panic!() };
    let mount = run.mounts[0].resolve(&|text| Ok(text.into())).unwrap();
    assert_eq!(
        (mount.kind, mount.sharing, mount.mode),
        (MountKind::Cache, CacheSharing::Locked, Some(0o755))
    );
    let seen: std::collections::BTreeSet<String> = good
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_string())
        .filter(|word| instruction::KEYWORDS.contains(&word.as_str()))
        .collect();
    assert_eq!(seen.len(), 18);
}

#[test]
fn mounts_take_what_buildkit_takes() {
    let mount = |text: &str| {
        let Instruction::Run(run) = only(&format!("RUN --mount={text} true")) else { panic!("{text}") };
        assert_eq!(run.flags, format!("--mount={text}"));
        run.mounts[0]
            .resolve(&|text| Ok(text.into()))
            .unwrap_or_else(|fault| panic!("{text}: {}", fault.message))
    };
    let locked = mount("TYPE=Cache,target=/c,Sharing=LOCKED");
    assert_eq!((locked.kind, locked.sharing), (MountKind::Cache, CacheSharing::Locked));
    for (text, kind, read_only) in [
        ("type=BIND,target=/x", MountKind::Bind, true),
        ("type=bind,target=/x,id=a,rw", MountKind::Bind, false),
        ("type=tmpfs,target=/x", MountKind::Tmpfs, false),
        ("type=tmpfs,target=/x,id=a,ro", MountKind::Tmpfs, true),
        ("type=secret,id=s,ro", MountKind::Secret, true),
        ("type=Secret,id=s,readwrite=true", MountKind::Secret, false),
        ("type=ssh,readonly=0", MountKind::Ssh, false),
        ("type=ssh,rw", MountKind::Ssh, false),
    ] {
        let mount = mount(text);
        assert_eq!((mount.kind, mount.read_only), (kind, read_only), "{text}");
    }
}

#[test]
fn a_name_of_a_source_is_one_of_a_stage_before() {
    let file = parse("FROM a AS One\nFROM 0 AS b\nRUN --network=none --mount=from=x,target=/x --mount=from=b,target=/b true\nFROM c\n").unwrap();
    assert_eq!(
        (file.base_stage("0", 1), file.base_stage("one", 1), file.base_stage("b", 1)),
        (None, Some(0), None)
    );
    assert_eq!(file.stage("0", 1), Some(0));
    for (name, is_copy, expected) in [
        ("one", true, Some(Some(0))),
        ("0", true, Some(Some(0))),
        ("0", false, Some(Some(0))),
        ("c", true, Some(None)),
        ("2", true, Some(Some(2))),
        ("2", false, Some(None)),
        ("9", false, Some(None)),
        ("9", true, None),
        ("-1", true, None),
        ("3", true, None),
        ("1", true, None),
        ("B", true, None),
        ("b", false, None),
    ] {
        assert_eq!(file.source_stage(name, 1, is_copy).ok(), expected, "{name} {is_copy}");
    }
    let statement = &file.stages[1].statements[0];
    assert_eq!(&statement.line.text[statement.flag("mount", 1)..], "--mount=from=b,target=/b true");
}

#[test]
fn errors_have_a_place_and_a_hint() {
    let table = [
        ("FROM a\nCPOY a b", (2, 1), Some("did you mean COPY?")),
        ("FROM a\n  FORM b", (2, 3), Some("did you mean FROM?")),
        ("FROM a\nENV a=1 \\\n  b", (3, 3), Some("quote values that hold spaces")),
        ("FROM a\nCOPY --form=x a b", (2, 6), Some("did you mean --from?")),
        ("FROM a\nCOPY --link --link a b", (2, 13), None),
        (
            "FROM a\nCOPY --from=$x a b",
            (2, 6),
            Some("name the image in a stage of its own: FROM …$VERSION AS name"),
        ),
        ("FROM a\nCOPY a", (2, 6), Some("as in COPY . /app")),
        ("FROM a\nCOPY <<E <<F\nE\nF", (2, 6), None),
        ("FROM a\nRUN --mount=type=bnd,target=/x a", (2, 5), Some("one of: bind, cache, tmpfs, secret, ssh")),
        ("FROM a\nRUN --mount=typ=bind a", (2, 5), Some("did you mean type?")),
        ("FROM a\nRUN --mount=type=bind a", (2, 5), None),
        ("FROM a\nRUN --mount=target=/,type=tmpfs a", (2, 5), None),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,mode=700 a", (2, 5), None),
        (
            "FROM a\nRUN --mount=type=CASH,target=/x a",
            (2, 5),
            Some("one of: bind, cache, tmpfs, secret, ssh"),
        ),
        ("FROM a\nRUN --network=bridge a", (2, 5), None),
        ("FROM a\nRUN --device=gpu a", (2, 5), None),
        ("FROM a\nRUN", (2, 4), None),
        ("FROM a AS 1x", (1, 11), Some("a letter, then letters, digits, - _ .")),
        ("FROM a b", (1, 6), None),
        ("FROM", (1, 5), None),
        ("RUN a", (1, 1), Some("only ARG may stand before FROM")),
        ("FROM a\nSHELL sh -c", (2, 7), Some("as in SHELL [\"/bin/bash\", \"-c\"]")),
        ("FROM a\nONBUILD ONBUILD RUN x", (2, 9), None),
        ("FROM a\nONBUILD RNU x", (2, 9), Some("did you mean RUN?")),
        ("FROM a\nCMD --x", (2, 5), Some("CMD has no options")),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", (2, 13), None),
        ("FROM a\nARG =x", (2, 5), None),
        ("FROM a\nENV =x", (2, 5), None),
        ("FROM a\nVOLUME []", (2, 8), None),
        ("FROM a\nENV a=\"b", (2, 5), None),
    ];
    for (text, at, hint) in table {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax, "{text}: {error}");
        assert_eq!(
            (place(&error), error.hint().map(ToString::to_string).as_deref()),
            (at, hint),
            "{text}: {error}"
        );
        let location = error.location().unwrap();
        assert_eq!(location.text, text.lines().nth(location.line as usize - 1).unwrap());
    }
}

#[test]
fn files_that_are_none_are_refused_at_once() {
    let refused = |bytes: &[u8]| Dockerfile::parse(b"Dockerfile", bytes).unwrap_err();
    for bytes in
        [&b""[..], b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf", b"FROM a\nRUN \xff\n", b"FROM a\0\n"]
    {
        assert_eq!(refused(bytes).kind(), ErrorKind::Syntax, "{bytes:?}");
    }
    assert_eq!(refused(b"ARG a=1\n").message(), "there is no FROM");
    let started = std::time::Instant::now();
    assert_eq!(refused(&b"#".repeat(100 << 20)).kind(), ErrorKind::Limit);
    assert_eq!(refused(b"FROM a\n".repeat(10_000).as_slice()).kind(), ErrorKind::Limit);
    let many = [&b"FROM a\n"[..], &b"RUN a\n".repeat(70_000)].concat();
    assert_eq!(refused(&many).kind(), ErrorKind::Limit);
    // What is long without being wrong takes time in proportion: a line of a million continuations.
    assert!(Dockerfile::parse(b"D", &[b"FROM a\nRUN a", &b" \\\n b".repeat(1_000_000)[..]].concat()).is_ok());
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn variables_in_every_form() {
    let get = |name: &str| match name {
        "v" => Some("foobarbaz".to_string()),
        "p" => Some("/a/b/c.tar.gz".to_string()),
        "e" => Some(String::new()),
        _ => None,
    };
    let table = [
        ("${v#foo}", "barbaz"),
        ("${v#f*a}", "rbaz"),
        ("${v##f*a}", "z"),
        ("${v%ba?}", "foobar"),
        ("${v%b*}", "foobar"),
        ("${v%%b*}", "foo"),
        ("${p##*/}", "c.tar.gz"),
        ("${p%/*}", "/a/b"),
        ("${p%%.*}", "/a/b/c"),
        ("${v#x}", "foobarbaz"),
        ("${v/ba/X}", "fooXrbaz"),
        ("${v//ba/X}", "fooXrXz"),
        ("${v//ba?/}", "foo"),
        ("${p//\\//-}", "-a-b-c.tar.gz"),
        ("${p/\\/a\\/b/x}", "x/c.tar.gz"),
        ("${v/b*/$p}", "foo/a/b/c.tar.gz"),
        ("${v##*}", ""),
        ("${e:-${v%baz}}", "foobar"),
        ("${u#x}", ""),
    ];
    for (text, expected) in table {
        assert_eq!(words::expand(text, '\\', &get).unwrap(), expected, "{text}");
    }
    for text in ["${v:#x}", "${v#\\x}", "${v/x}", "${v#x", "${v#x\\}", "${:x}", "${v@x}"] {
        assert!(words::expand(text, '\\', &get).is_err(), "{text}");
    }
    assert_eq!(words::expand("a`$v \\$e", '`', &get).unwrap(), "a$v \\");
    // In the body of a here-document quotes are characters, and a backslash is dropped before any.
    for (text, expected) in [
        ("'$v' \"${e}\" it's\n", "'foobarbaz' \"\" it's\n"),
        ("\\\n", "\n"),
        ("\\\\\n", "\\\n"),
        ("\\$v \\n \\'\\\" `$p`\n", "$v n '\" `/a/b/c.tar.gz`\n"),
        ("${u:-\"a b\"} ${u:-it's}\n", "\"a b\" it's\n"),
    ] {
        assert_eq!(words::expand_body(text, &get).unwrap(), expected, "{text}");
    }
    assert!(words::expand_body("${v", &get).is_err());
    assert_eq!(words::expand_and_list("$u ${w:-x} ${y+z}$v", '\\', &get).unwrap().1, ["u"]);
}

/// Returns whether a pattern matches a whole text, by definition: one character of the pattern after the other.
fn glob_matches(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|n| glob_matches(rest, &text[n..])),
        Some(('?', rest)) => !text.is_empty() && glob_matches(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && glob_matches(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn trimming_takes_the_shortest_or_longest_match(value in "[abé]{0,8}", pattern in "[abé*?]{0,5}") {
        let (chars, tokens): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
        let get = |name: &str| (name == "v").then(|| value.clone());
        for (sign, start) in [("#", true), ("##", true), ("%", false), ("%%", false)] {
            let lengths = (0..=chars.len()).filter(|n| {
                let part = if start { &chars[..*n] } else { &chars[chars.len() - n..] };
                glob_matches(&tokens, part)
            });
            let taken = if sign.len() == 1 { lengths.min() } else { lengths.max() }.unwrap_or(0);
            let rest = if start { &chars[taken..] } else { &chars[..chars.len() - taken] };
            let got = words::expand(&format!("${{v{sign}{pattern}}}"), '\\', &get).unwrap();
            prop_assert_eq!(got, rest.iter().collect::<String>());
        }
    }

    #[test]
    fn replacing_takes_the_longest_match_at_each_place(value in "[ab]{0,8}", pattern in "[ab?][ab*?]{0,3}", with in "[xy]{0,2}") {
        let (chars, tokens): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
        let get = |name: &str| (name == "v").then(|| value.clone());
        for (sign, every) in [("/", false), ("//", true)] {
            let (mut out, mut at, mut left) = (String::new(), 0, true);
            while at < chars.len() {
                let longest = (at..=chars.len()).rev().find(|end| glob_matches(&tokens, &chars[at..*end]));
                match longest.filter(|_| left) {
                    Some(end) => {
                        out += &with;
                        at = end;
                        left = every;
                    }
                    None => {
                        out.push(chars[at]);
                        at += 1;
                    }
                }
            }
            prop_assert_eq!(words::expand(&format!("${{v{sign}{pattern}/{with}}}"), '\\', &get).unwrap(), out);
        }
    }

    #[test]
    fn defaults_alternatives_and_needs_go_by_what_is_set(
        value in proptest::option::of("[a}$\\\\]{0,3}"),
        word in "[b ]{0,3}",
        other in proptest::option::of("[c]{0,2}"),
        nested in proptest::bool::ANY,
    ) {
        let get = |name: &str| match name {
            "v" => value.clone(),
            "o" => other.clone(),
            _ => None,
        };
        let written = if nested { format!("{word}${{o}}") } else { word.clone() };
        let meant = if nested { format!("{word}{}", other.clone().unwrap_or_default()) } else { word };
        for colon in [true, false] {
            // The rule of the shell (POSIX, 2.6.2): with a colon an empty value is as good as none.
            let counts = value.as_ref().filter(|value| !colon || !value.is_empty());
            let sign = if colon { ":" } else { "" };
            let got = |operator: &str| words::expand(&format!("x${{v{sign}{operator}{written}}}y"), '\\', &get);
            let around = |text: &str| format!("x{text}y");
            prop_assert_eq!(got("-").unwrap(), around(counts.unwrap_or(&meant)));
            prop_assert_eq!(got("+").unwrap(), around(counts.map_or("", |_| &meant)));
            match (counts, got("?")) {
                (Some(value), Ok(text)) => prop_assert_eq!(text, around(value)),
                (None, Err(fault)) => {
                    prop_assert!(fault.message.contains("v") && fault.message.contains(meant.trim()), "{:?}", fault)
                }
                (_, other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn what_is_quoted_comes_out_as_it_was(text in "[ -~é\n]{0,20}") {
        let none = |_: &str| None;
        let single = format!("'{}'", text.replace('\'', "'\"'\"'"));
        prop_assert_eq!(&words::expand(&single, '\\', &none).unwrap(), &text);
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(&words::expand(&escaped, '\\', &none).unwrap(), &text);
        let words = format!("{single} x {single}");
        prop_assert_eq!(words::split(&words, '\\').unwrap(), [single.as_str(), "x", single.as_str()]);
    }

    #[test]
    fn any_text_is_parsed_or_refused_with_a_place_in_it(text in "(FROM a|RUN|COPY|ENV|<<E|--mount=|[ -~]|\\\\|\n|\t|é|\"|')*") {
        let location = parse(&text).err().and_then(|error| error.location().cloned());
        if let Some(location) = location {
            prop_assert!(location.line as usize <= text.split('\n').count());
            prop_assert!(location.column as usize <= location.text.len() + 1, "{:?}", location);
        }
    }
}

#[test]
fn values_in_changes_may_have_lines() {
    let read = |text: &str| -> crate::Result<Vec<Change>> {
        let lines = instruction::parse_changes(&[text], "commit")?;
        Ok(lines.into_iter().map(|(_, change)| change).collect())
    };
    let env = |name: &str, value: &str| Change::Env(vec![(name.into(), value.into())]);
    let text = "ENV A=\"one\n# two\n\nthree\"\r\nENV B=1\n";
    assert_eq!(read(text).unwrap(), [env("A", "\"one\n# two\n\nthree\""), env("B", "1")]);
    // A backslash that is escaped continues nothing.
    assert_eq!(read("env A=\"x\\\\\ny\"").unwrap(), [env("A", "\"x\\\\\ny\"")]);
    assert_eq!(read("ENV A=\"x \\\n y\"").unwrap(), [env("A", "\"x  y\"")]);
    // In the words of a shell a quote is one of the shell's.
    assert_eq!(read("CMD echo it's\nENV A=1").unwrap().len(), 2);
    assert_eq!(read("LABEL k='x\nENV A=1").unwrap_err().kind(), ErrorKind::InvalidArgument);
}
