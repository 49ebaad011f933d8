//! Files at addresses and in git repositories: what is fetched, what is remembered, and what is never sent or followed.

use std::process::{Command, Output};

use treering::registry::{Config, Credentials, Registries};

use super::server::{Server, repository};
use super::*;

const DAY: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

fn online(place: &Place, text: &str) -> BuildOptions {
    let registries = Registries::new(Config::default(), Credentials::default());
    BuildOptions { registries: Some(registries), ..place.options(text) }
}

fn built(place: &Place, text: &str) -> Built {
    build(&place.store, &online(place, text), &Control::default())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn files(place: &Place) -> Vec<String> {
    place.entries().into_iter().filter(|line| !line.starts_with("d 755 0:0 ")).collect()
}

#[test]
fn a_file_at_an_address_is_fetched_when_it_is_needed() {
    let place = Place::new();
    let server = Server::start(place.scratch.path());
    server.put("/a/file.txt?x=1", b"content", &[("etag", "\"1\""), ("last-modified", DAY)]);
    let text = format!("FROM scratch\nADD {} /to/\n", server.url("/a/file.txt?x=1"));
    let first = built(&place, &text);
    assert_eq!(files(&place), ["f 600 0:0 to/file.txt"]);
    let list = contents(&place.store, &place.image(), &Control::default()).unwrap();
    assert_eq!(list.meta(list.lookup(b"to/file.txt").unwrap()).mtime.secs, 1_445_412_480);
    assert_eq!(server.asked().len(), 1);
    // Asked again, the server says that it is the same, and sends nothing.
    let again = built(&place, &text);
    assert_eq!((again.image_id, again.carried_out), (first.image_id, 0));
    let asked = server.asked();
    assert!(asked.len() == 1 && asked[0].1.contains("if-none-match: \"1\""), "{asked:?}");
    // What was the same is fetched after all where no step has it.
    let other = format!("{text}ADD --chmod=644 --chown=1:2 {} /b\n", server.url("/a/file.txt?x=1"));
    built(&place, &other);
    assert_eq!(files(&place), ["f 644 1:2 b", "f 600 0:0 to/file.txt"]);
    server.put("/a/file.txt?x=1", b"other", &[("etag", "\"2\"")]);
    let changed = built(&place, &text);
    assert_eq!((changed.cached, changed.carried_out), (0, 1));
    let out = place.scratch.join("out");
    treering::image::unpack(&place.store, "t", &out, &Default::default(), &Control::default()).unwrap();
    assert_eq!(std::fs::read(out.join("to/file.txt")).unwrap(), b"other");
}

#[test]
fn a_checksum_is_held_and_saves_asking() {
    let place = Place::new();
    let server = Server::start(place.scratch.path());
    server.put("/f", b"content", &[]);
    let digest = treering::Digest::of(b"content");
    let add = |digest: &str| format!("FROM scratch\nADD --checksum={digest} {} /f\n", server.url("/f"));
    built(&place, &add(&digest.to_string()));
    server.asked();
    assert_eq!(built(&place, &add(&digest.to_string())).carried_out, 0);
    assert!(server.asked().is_empty(), "the step is known by the digest");
    let wrong = build(
        &place.store,
        &online(&place, &add(&treering::Digest::of(b"x").to_string())),
        &Control::default(),
    );
    let wrong = wrong.unwrap_err();
    assert_eq!((wrong.kind(), wrong.location().unwrap().line), (ErrorKind::Corrupt, 2), "{wrong}");
    for bad in ["sha256:00", "md5:x", "1"] {
        let error = build(&place.store, &online(&place, &add(bad)), &Control::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}: {error}");
    }
}

#[test]
fn archives_from_addresses_are_unpacked_when_asked_for() {
    let place = Place::new();
    let server = Server::start(place.scratch.path());
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_size(2);
    builder.append_data(&mut header, "d/x", &b"hi"[..]).unwrap();
    server.put("/a.tar", &builder.into_inner().unwrap(), &[]);
    let url = server.url("/a.tar");
    built(&place, &format!("FROM scratch\nADD {url} /to/\n"));
    assert_eq!(files(&place), ["f 600 0:0 to/a.tar"]);
    built(&place, &format!("FROM scratch\nADD --unpack=true {url} /to/\n"));
    assert_eq!(files(&place), ["f 640 0:0 to/d/x"]);
}

#[test]
fn a_context_may_be_a_tar_or_a_dockerfile_at_an_address() {
    let place = Place::new();
    let server = Server::start(place.scratch.path());
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("Dockerfile", "FROM scratch\nCOPY . /c/\n"),
        ("a", "1"),
        (".dockerignore", "Dockerfile\n.docker*\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    server.put("/c.tar", &builder.into_inner().unwrap(), &[]);
    server.put("/Dockerfile", b"FROM scratch\nCOPY <<E /e\nE\n", &[]);
    let from = |path: &str| BuildOptions {
        context: ContextSource::Address(server.url(path)),
        dockerfile: DockerfileSource::Default,
        ..online(&place, "")
    };
    build(&place.store, &from("/c.tar"), &Control::default()).unwrap();
    assert_eq!(files(&place), ["f 644 0:0 c/a"]);
    build(&place.store, &from("/Dockerfile"), &Control::default()).unwrap();
    assert_eq!(files(&place), ["f 644 0:0 e"]);
    let missing = build(&place.store, &from("/nothing"), &Control::default()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // As a context of its own name, too.
    let named = BuildOptions {
        named_contexts: vec![("more".into(), server.url("/c.tar"))],
        ..online(&place, "FROM scratch\nCOPY --from=more a /m\n")
    };
    build(&place.store, &named, &Control::default()).unwrap();
    assert_eq!(files(&place), ["f 644 0:0 m"]);
}

#[cfg(feature = "sandbox")]
#[test]
fn a_secret_goes_to_its_own_server_and_stays_nowhere() {
    use treering::build::{Secret, SecretSource};
    let place = Place::new();
    let (server, other) = (Server::start(place.scratch.path()), Server::start(place.scratch.path()));
    other.put("/f", b"content", &[]);
    server.redirect("/f", &other.url("/f"));
    let token = "s3cr3t-t0k3n";
    let secret = Secret {
        id: format!("HTTP_AUTH_TOKEN_127.0.0.1:{}", server.port),
        source: SecretSource::Value(token.into()),
    };
    let (events, seen) = observed();
    let options = BuildOptions {
        secrets: vec![secret],
        ..online(&place, &format!("FROM scratch\nADD {} /f\n", server.url("/f")))
    };
    build(&place.store, &options, &Control { events, ..Control::default() }).unwrap();
    assert!(server.asked()[0].1.contains(&format!("authorization: bearer {token}")));
    assert!(!other.asked()[0].1.contains("authorization"), "what it leads to gets none");
    assert!(!format!("{:?}", seen.lock().unwrap()).contains(token));
    let found = Command::new("grep").args(["-ra", token]).arg(place.scratch.join("store")).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn addresses_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    let server = Server::start(place.scratch.path());
    for (path, to, kind) in [
        ("/metadata", "http://169.254.169.254/latest", ErrorKind::PermissionDenied),
        ("/anywhere", "http://0.0.0.0/", ErrorKind::PermissionDenied),
        ("/link", "http://[fe80::1]/", ErrorKind::PermissionDenied),
        ("/file", "file:///etc/passwd", ErrorKind::InvalidArgument),
        ("/loop", "/loop", ErrorKind::Limit),
        ("/login", "http://user:pass@127.0.0.1/", ErrorKind::InvalidArgument),
    ] {
        server.redirect(path, to);
        let text = format!("FROM scratch\nADD {} /f\n", server.url(path));
        let error = build(&place.store, &online(&place, &text), &Control::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert_eq!(error.location().unwrap().line, 2);
    }
    for text in ["COPY http://127.0.0.1/x /", "ADD http://user:secret@127.0.0.1/x /"] {
        let error =
            build(&place.store, &online(&place, &format!("FROM scratch\n{text}\n")), &Control::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
    }
}

/// Returns a server with a project of two commits, a tag, a branch and a part that is a repository of its own.
fn project(place: &Place) -> Option<Server> {
    if !Command::new("git").arg("http-backend").output().is_ok_and(|it| !it.stdout.is_empty()) {
        eprintln!("skipped: no git with its http-backend");
        return None;
    }
    let dir = place.scratch.dir("repositories");
    let server = Server::start(&dir);
    let url = server.url("/git");
    repository(
        &dir,
        &format!(
            "git init -q --bare part.git; git init -q --bare project.git; git init -q -b main p; cd p\n\
             echo part >file; git add .; git commit -qm p; git push -q ../part.git main; cd ..; rm -rf p\n\
             git --git-dir part.git symbolic-ref HEAD refs/heads/main; git init -q -b main w; cd w\n\
             echo one >a; echo two >b; chmod 755 b; ln -s a link; mkdir -p sub/deep; echo s >sub/deep/s\n\
             ln -s /etc out; ln -s ../../../../etc up; printf 'a export-ignore\\nb export-subst\\n' >.gitattributes\n\
             printf 'FROM scratch\\nCOPY . /c/\\n' >sub/Dockerfile\n\
             git add .; git commit -qm 1; git tag -am v1 v1; git push -q ../project.git main v1\n\
             git checkout -qb more; echo three >c; git submodule -q add ../part.git part\n\
             git config -f .gitmodules submodule.part.url {url}/part.git; git add .; git commit -qm 2; git push -q ../project.git more\n\
             git checkout -qb bad main; git submodule -q add ../part.git part; git config -f .gitmodules submodule.part.url file://$PWD/../part.git\n\
             git add .; git commit -qm 3; git push -q ../project.git bad\n\
             git --git-dir ../project.git symbolic-ref HEAD refs/heads/main"
        )
        .replace("submodule -q add ../part.git", &format!("submodule -q add {url}/part.git")),
    );
    server.asked();
    Some(server)
}

fn treering(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_treering"))
        .args(["build", "--progress=plain", "-t", "t"])
        .args(arguments)
        .current_dir(&place.context)
        .env("TREERING_ROOT", place.scratch.join("store"))
        .output()
        .unwrap()
}

/// Builds a Dockerfile of the context by the command, for its git.
fn command(place: &Place, text: &str) -> Result<(), String> {
    place.write("Dockerfile", text);
    let output = treering(place, &["."]);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn a_repository_is_added_at_the_commit_that_is_named() {
    let place = Place::new();
    let Some(server) = project(&place) else { return };
    let url = server.url("/git/project.git");
    let add =
        |address: &str, flags: &str| command(&place, &format!("FROM scratch\nADD {flags} {address} /src/\n"));
    add(&format!("{url}#v1"), "").unwrap();
    let whole = [
        "f 644 0:0 src/.gitattributes",
        "f 644 0:0 src/a",
        "f 755 0:0 src/b",
        "l 777 0:0 src/link -> a",
        "l 777 0:0 src/out -> /etc",
        "f 644 0:0 src/sub/Dockerfile",
        "f 644 0:0 src/sub/deep/s",
        "l 777 0:0 src/up -> ../../../../etc",
    ];
    assert_eq!(files(&place), whole);
    let list = contents(&place.store, &place.image(), &Control::default()).unwrap();
    for path in ["src/a", "src/link", "src/sub"] {
        assert_eq!(list.meta(list.lookup(path.as_bytes()).unwrap()).mtime.secs, 1_000_000_000, "{path}");
    }
    // The same commit by another name is known; only the name is looked up.
    let before = place.image().layers()[0].digest;
    server.asked();
    add(&format!("{url}#main"), "").unwrap();
    assert_eq!(place.image().layers()[0].digest, before);
    assert!(server.asked().iter().all(|(_, head)| !head.contains("command=fetch")));
    add(&format!("{url}#main:sub/deep"), "").unwrap();
    assert_eq!(files(&place), ["f 644 0:0 src/s"]);
    add(&format!("{url}?branch=more"), "").unwrap();
    assert!(files(&place).contains(&"f 644 0:0 src/part/file".into()), "{:?}", files(&place));
    assert!(!files(&place).iter().any(|line| line.contains(".git/") || line.ends_with(".git")));
    add(&format!("{url}?branch=more&submodules=false"), "").unwrap();
    assert!(!files(&place).contains(&"f 644 0:0 src/part/file".into()));
    // git's own directory has the same bytes each time.
    for address in [url.clone(), format!("{url}#v1")] {
        let text = format!("FROM scratch\nADD --keep-git-dir=true {address} /src/\n");
        place.write("Dockerfile", &text);
        let build = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
            command.args(["build", "-q", "--no-cache", "-t", "t", "."]).current_dir(&place.context);
            command.env("SOURCE_DATE_EPOCH", "1700000000");
            let output = command.env("TREERING_ROOT", place.scratch.join("store")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        build();
        assert!(files(&place).iter().any(|line| line.ends_with("src/.git/HEAD")));
        let layers = || place.image().layers().iter().map(|layer| layer.digest).collect::<Vec<_>>();
        let before = layers();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        build();
        assert_eq!(layers(), before, "{address}");
        let out = place.scratch.join("out");
        treering::image::unpack(&place.store, "t", &out, &Default::default(), &Control::default()).unwrap();
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "status", "--porcelain"]).current_dir(out.join("src"));
        let status = git.output().unwrap();
        assert!(status.status.success() && status.stdout.is_empty(), "{status:?}");
        std::fs::remove_dir_all(out).unwrap();
    }
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "rev-parse", "v1^{}"])
        .current_dir(place.scratch.join("repositories/project.git"));
    let commit = String::from_utf8(git.output().unwrap().stdout).unwrap();
    let commit = commit.trim();
    add(&format!("{url}#{commit}"), &format!("--checksum={commit}")).unwrap();
    add(&format!("{url}#main"), &format!("--checksum={}", &commit[..12])).unwrap();
    // Which branch that is or was need not be known.
    add(&format!("{url}?branch=gone&commit={commit}&fetch-by-commit=true&mtime=commit"), "").unwrap();
    assert_eq!(files(&place), whole);
    for (address, flags, said) in [
        (format!("{url}#main"), "--checksum=0123456789", "the commit is"),
        (format!("{url}#nothing"), "", "has no nothing"),
        (format!("{url}#main:nothing"), "", "o such file"),
        (format!("{url}#main:a"), "", "a directory"),
        (format!("{url}#main:out/ssl"), "", "symbolic links"),
        (format!("{url}#main:out"), "", "a directory"),
        (format!("{url}#main:up"), "", "a directory"),
        (format!("{url}#--upload-pack=touch"), "", "not the name of a branch"),
        (format!("{url}#bad"), "", "not allowed"),
        (server.url("/git/other.git"), "", "fatal: "),
        ("git@-oProxyCommand=x:y.git".into(), "", "no host"),
    ] {
        let error = add(&address, flags).unwrap_err();
        assert!(error.contains(said) && error.contains("Dockerfile:2"), "{address} {flags}: {error}");
    }
    assert_eq!(std::fs::read_dir(place.scratch.join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_repository_is_a_context() {
    let place = Place::new();
    let Some(server) = project(&place) else { return };
    let url = server.url("/git/project.git");
    let output = treering(&place, &[&format!("{url}#main:sub")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files(&place), ["f 644 0:0 c/Dockerfile", "f 644 0:0 c/deep/s"]);
    let output = treering(&place, &["-f", "sub/Dockerfile", &url]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(files(&place).contains(&"f 644 0:0 c/a".into()));
    place.write("Dockerfile", "FROM scratch\nCOPY --from=p a /a\n");
    let output = treering(&place, &["--build-context", &format!("p={url}"), "."]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files(&place), ["f 644 0:0 a"]);
    // Its time is that of its commit; a directory has none.
    let created = || place.image().config().created().map(String::from);
    let context = "SOURCE_DATE_EPOCH=context";
    let output = treering(&place, &["--build-arg", context, &format!("{url}#main:sub")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(created().as_deref(), Some("2001-09-09T01:46:40Z"));
    place.write("Dockerfile", &format!("ARG {context}\nFROM scratch\nLABEL a=b\n"));
    let output = treering(&place, &["."]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(created().as_deref(), Some("2001-09-09T01:46:40Z"));
    // The library starts no program that it was not given.
    let options = BuildOptions { context: ContextSource::Address(url), ..online(&place, "FROM scratch\n") };
    let error = build(&place.store, &options, &Control::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_token_opens_a_repository_and_stays_nowhere() {
    let place = Place::new();
    let Some(server) = project(&place) else { return };
    server.want("basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXQwazNu");
    std::fs::write(place.scratch.join("token"), "s3cr3t-t0k3n\n").unwrap();
    place.write("Dockerfile", &format!("FROM scratch\nADD {}#main /src\n", server.url("/git/project.git")));
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", place.scratch.join("token").display());
    let without = treering(&place, &["."]);
    assert!(!without.status.success());
    let with = treering(&place, &["--secret", &secret, "."]);
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    for text in ["s3cr3t-t0k3n", "eC1hY2Nlc3MtdG9rZW46czNjcjN0LXQwazNu"] {
        assert!(!String::from_utf8_lossy(&with.stderr).contains(text));
        let found =
            Command::new("grep").args(["-ra", text]).arg(place.scratch.join("store")).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}

#[test]
#[cfg(feature = "sandbox")]
fn a_secret_goes_to_no_host_in_the_clear_that_only_looks_like_this_machine() {
    use treering::build::{Git, GitCall, Secret, SecretSource};
    let place = Place::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let git = Git(Arc::new(move |call: &GitCall<'_>| {
        seen.lock().unwrap().push(format!("{:?}", call.environment));
        Ok(Default::default())
    }));
    for host in ["127.example.test", "127.0.0.1.example.test", "localhost.example.test", "[::1].example.test"]
    {
        let options = BuildOptions {
            secrets: vec![Secret {
                id: "GIT_AUTH_TOKEN".into(),
                source: SecretSource::Value(b"s3cr3t".into()),
            }],
            git: Some(git.clone()),
            ..online(&place, &format!("FROM scratch\nADD http://{host}/project.git#main /\n"))
        };
        let error = build(&place.store, &options, &Control::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{host}: {error}");
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn an_image_layout_is_a_named_context() {
    let place = Place::new();
    place.build("FROM scratch\nCOPY <<E /kept\nx\nE\n");
    let other = Place::new();
    let layout = place.scratch.join("store/oci");
    let with = |value: String| BuildOptions {
        named_contexts: vec![("base".into(), value)],
        ..other.options("FROM base\nCOPY --from=base /kept /copied\n")
    };
    let shown = layout.to_str().unwrap();
    for value in [format!("oci-layout://{shown}"), format!("oci-layout://{shown}:latest")] {
        build(&other.store, &with(value), &Control::default()).unwrap();
        assert_eq!(files(&other), ["f 644 0:0 copied", "f 644 0:0 kept"]);
    }
    let missing = build(&other.store, &with(format!("oci-layout://{shown}:other")), &Control::default());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
