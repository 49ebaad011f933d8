//! Builds that would wait for ever, or be led to where the Dockerfile does not say.

use super::*;

/// Builds, and cancels a build that does not end.
fn bounded(store: &Store, options: &BuildOptions) -> Result<Built, Error> {
    let control = Control::default();
    let (cancel, (done, wait)) = (control.cancel.clone(), std::sync::mpsc::channel::<()>());
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(std::time::Duration::from_secs(20)).is_err() {
            cancel.cancel();
        }
    });
    let result = build(store, options, &control);
    let _ = done.send(());
    watch.join().unwrap();
    result
}

#[test]
fn a_stage_may_be_named_by_a_variable() {
    let place = Place::new();
    place.write("x", "1");
    let text = "ARG BASE=one\nFROM scratch AS one\nCOPY x /one\nFROM scratch AS two\nCOPY x /two\nFROM ${BASE}\nCOPY x /last\n";
    bounded(&place.store, &place.options(text)).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 last", "f 644 0:0 one"]);
    let given = BuildOptions { build_args: vec![("BASE".into(), "two".into())], ..place.options(text) };
    bounded(&place.store, &given).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 last", "f 644 0:0 two"]);
    // The platform is such a variable, too.
    let text = "FROM scratch AS on-linux\nCOPY x /x\nFROM on-$TARGETOS\n";
    bounded(&place.store, &place.options(text)).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 x"]);
    let error =
        bounded(&place.store, &place.options("FROM scratch AS a\nFROM ${NOTHING:?unset}\n")).unwrap_err();
    assert!(error.to_string().contains("unset") && error.location().is_some(), "{error}");
}

/// What a trigger asks for is found when its base is read, after the stages were chosen.
#[test]
fn a_trigger_may_ask_for_a_stage_that_nothing_else_needs() {
    let place = Place::new();
    place.write("x", "1");
    let base = |name: &str, trigger: &str| {
        let text = format!("FROM scratch\nONBUILD {trigger}\nCOPY x /{name}\n");
        let options = BuildOptions { tags: vec![name.into()], ..place.options(&text) };
        bounded(&place.store, &options).unwrap();
    };
    base("eager", "COPY --from=0 /x /from");
    let text = "FROM scratch AS zero\nCOPY x /x\nFROM eager AS a\nFROM eager AS b\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n";
    bounded(&place.store, &place.options(text)).unwrap();
    let expected = ["f 644 0:0 a/eager", "f 644 0:0 a/from", "f 644 0:0 b/eager", "f 644 0:0 b/from"];
    assert_eq!(place.files_now(), expected);
    // Triggers that ask for stages with triggers end, or are an error.
    let mut text = "FROM scratch\nCOPY x /x\n".to_string();
    for stage in 0..30 {
        base(&format!("eager{stage}"), &format!("COPY --from={stage} /x /x"));
        text += &format!("FROM eager{stage}\n");
    }
    let error = bounded(&place.store, &place.options(&text)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_command_does_not_wait_for_its_own_cache() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let run = |text: &str| {
        let text = format!("{SHELL}{text}");
        let options = BuildOptions { helper: Some(support::program().into()), ..place.options(&text) };
        bounded(&place.store, &options)
    };
    let twice = |sharing: &str| {
        let mount = |target| format!("--mount=type=cache,id=c,sharing={sharing},target={target}");
        format!("RUN {} {} echo {sharing} > /a/f\n", mount("/a"), mount("/b"))
    };
    let error = run(&twice("locked")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("/b") && error.hint().is_some(), "{error}");
    // Each has its own then.
    run(&twice("private")).unwrap();
    if let Err(error) = run(&twice("shared")) {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[cfg(feature = "registry")]
mod repositories {
    use std::collections::BTreeMap;

    use treering::build::{Git, GitCall};

    use super::*;
    use crate::server::Server;

    fn add(place: &Place, address: &str, git: Git) -> Result<Built, Error> {
        let options =
            BuildOptions { git: Some(git), ..place.options(&format!("FROM scratch\nADD {address} /src\n")) };
        bounded(&place.store, &options)
    }

    #[test]
    fn a_repository_without_encryption_leads_nowhere_else() {
        if std::process::Command::new("git").arg("version").output().is_err() {
            eprintln!("skipped: no git");
            return;
        }
        let place = Place::new();
        let (server, other) = (Server::start(place.scratch.path()), Server::start(place.scratch.path()));
        let path = "/p.git/info/refs?service=git-upload-pack";
        server.redirect(path, &other.url(path));
        place.write("Dockerfile", &format!("FROM scratch\nADD {}#main /src\n", server.url("/p.git")));
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_treering"))
            .args(["build", "."])
            .current_dir(&place.context)
            .env("TREERING_ROOT", place.scratch.join("store"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(!server.asked().is_empty());
        assert!(other.asked().is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What a server makes git write has the cap of everything that comes from servers.
    #[test]
    fn a_repository_without_end_is_not_waited_for() {
        let place = Place::new();
        let mut limits = treering::store::Limits::default();
        limits.blob_bytes = 1 << 20;
        let store = Store::open_with(place.scratch.join("store"), limits).unwrap();
        let place = Place { store, ..place };
        let git = Git(Arc::new(|call: &GitCall<'_>| {
            for number in 0.. {
                call.cancel.check("test")?;
                std::fs::write(call.directory.join(format!("{number}")), vec![7; 1 << 16]).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            unreachable!()
        }));
        let error = add(&place, "https://h.example/p.git", git).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }

    /// What git is given is all that it has: no keys of the user, no home, and from encryption no way back.
    #[test]
    fn git_has_the_keys_that_the_build_was_given_and_no_others() {
        let place = Place::new();
        for (address, protocols) in [
            ("https://h.example/p.git", "https:ssh"),
            ("ssh://git@h.example/p.git", "https:ssh"),
            ("git@h.example:p.git", "https:ssh"),
            ("http://h.example/p.git", "https:http:git:ssh"),
            ("git://h.example/p.git", "https:http:git:ssh"),
        ] {
            let seen: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
            let into = seen.clone();
            let git = Git(Arc::new(move |call: &GitCall<'_>| {
                let text = |text: &std::ffi::OsString| text.to_string_lossy().into_owned();
                *into.lock().unwrap() =
                    call.environment.iter().map(|(name, value)| (text(name), text(value))).collect();
                Err(Error::new(ErrorKind::Network, "test", "seen"))
            }));
            assert_eq!(add(&place, address, git).unwrap_err().kind(), ErrorKind::Network, "{address}");
            let seen = seen.lock().unwrap();
            assert_eq!(seen["GIT_ALLOW_PROTOCOL"], protocols, "{address}");
            assert_eq!(seen["HOME"], "/dev/null");
            for part in ["-F none", "-oIdentityFile=none", "-oPreferredAuthentications=publickey"] {
                assert!(seen["GIT_SSH_COMMAND"].contains(part), "{part}");
            }
            assert!(!seen.contains_key("SSH_AUTH_SOCK"));
            let follows = !seen.values().any(|value| value == "http.followRedirects");
            assert_eq!(follows, protocols == "https:ssh", "{address}");
        }
    }
}

/// A few bytes of an archive may stand for a terabyte of zeros: reading it takes minutes, and cancelling it none.
#[test]
fn an_archive_that_is_mostly_a_hole_can_be_left() {
    let place = Place::new();
    let sparse = std::fs::File::create(place.context.join("big")).unwrap();
    sparse.set_len(900 << 30).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["--sparse", "--hole-detection=seek", "-cf", "big.tar", "big"])
        .current_dir(&place.context)
        .status();
    assert!(tar.unwrap().success());
    std::fs::remove_file(place.context.join("big")).unwrap();
    let control = Control::default();
    let cancel = control.cancel.clone();
    let later = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        cancel.cancel();
    });
    let error = build(&place.store, &place.options("FROM scratch\nADD big.tar /\n"), &control).unwrap_err();
    later.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}
