//! Settings: where registries are, by which name their credentials are kept, and what vouches for them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use treering::ErrorKind;
use treering::registry::{Credential, PullOptions, PushOptions, login, logout, pull, push};

use crate::debian::certificates;
use crate::fake::{Act, Answer, Door, Fake};
use crate::world::World;
use support::tools::need;

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// Runs the program with these variables and no others.
fn run(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(world, arguments, variables).output().unwrap()
}

fn command(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(support::program());
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.scratch.path());
    command.env("TREERING_ROOT", world.store.root_path()).envs(variables.iter().copied());
    command.current_dir(world.scratch.path()).stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeds(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns what a run that failed printed.
#[track_caller]
fn fails(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn credentials_are_kept_for_the_place_that_took_them() {
    let fake = Fake::start();
    for prefix in ["docker.io", "registry.example", "registry.example:5000"] {
        let world = World::with_image("local:v1", 1000);
        let config = format!("[[registry]]\nprefix = '{prefix}'\nlocation = '{}'\n", fake.url("/team"));
        let registries = world.registries(&config);
        fake.with(|state| state.door = Door::Basic(BASIC.into()));
        let credential = Credential::basic("user", "secret");
        let done = login(&registries, prefix, &credential, &world.control).unwrap();
        assert_eq!(done.registry, prefix);
        let text = std::fs::read_to_string(world.scratch.join("auth.json")).unwrap();
        assert!(text.contains(&format!("127.0.0.1:{}", fake.port)), "{text}");
        assert!(!text.contains("docker.io") && !text.contains("registry.example"), "{text}");
        let name = format!("{prefix}/app:v1");
        push(&world.store, &registries, "local:v1", &name, &PushOptions::default(), &world.control).unwrap();
        pull(&World::new().store, &registries, &name, &PullOptions::default(), &world.control).unwrap();
        assert!(fake.tag("team/app", "v1").is_some() || fake.tag("team/library/app", "v1").is_some());
        // Without the entry the name is another registry's, for which there is nothing.
        assert!(!logout(&world.registries(""), prefix).unwrap());
        assert!(logout(&registries, prefix).unwrap() && !logout(&registries, prefix).unwrap());
        fake.with(|state| state.manifests.clear());
    }
}

#[test]
fn blobs_are_mounted_by_the_name_that_the_registry_has_for_them() {
    let fake = Fake::start();
    let (name, other) = ("registry.example/app:v1", "hub.example/copy:v1");
    let world = World::with_image(name, 100_000);
    let config = format!(
        "[[registry]]\nprefix = 'registry.example'\nlocation = '{}'\n[[registry]]\nprefix = 'hub.example'\nlocation = '{}'\n",
        fake.url("/team"),
        fake.url("/hub")
    );
    let registries = world.registries(&config);
    let to = |target: &str| {
        push(&world.store, &registries, name, target, &PushOptions::default(), &world.control).unwrap()
    };
    assert_eq!(to(name).sent, 3);
    fake.rule(|_| None);
    assert_eq!((to(other).mounted, to("registry.example/third:v1").mounted), (3, 3));
    let log = fake.log();
    let mounts: Vec<&str> = log.iter().filter_map(|seen| Some(seen.target.split_once("from=")?.1)).collect();
    assert!(mounts.len() == 6 && mounts.iter().all(|from| *from == "team%2Fapp"), "{mounts:?}");
}

#[test]
fn names_below_localhost_are_this_machine() {
    let fake = Fake::start();
    let world = World::with_image("local:v1", 1000);
    let registries = world.registries("");
    for host in ["localhost", "registry.localhost", "a.b.localhost"] {
        let name = format!("{host}:{}/app:v1", fake.port);
        push(&world.store, &registries, "local:v1", &name, &PushOptions::default(), &world.control).unwrap();
        pull(&World::new().store, &registries, &name, &PullOptions::default(), &world.control).unwrap();
    }
}

/// Makes a certificate authority and a server with a certificate of it.
fn with_tls(world: &World) -> Fake {
    certificates(world.scratch.path());
    let read = |name: &str| std::fs::read_to_string(world.scratch.join(name)).unwrap();
    Fake::start_with(Some((&read("server.pem"), &read("server.key"))))
}

/// Puts what one registry has into another.
fn same(from: &Fake, to: &Fake) {
    let (blobs, manifests) = from.with(|state| (state.blobs.clone(), state.manifests.clone()));
    to.with(|state| (state.blobs, state.manifests) = (blobs, manifests));
}

#[test]
fn places_that_a_registry_names_are_trusted_as_their_own_entries_say() {
    if !need("openssl", &["version"]) {
        return;
    }
    let world = World::new();
    // Two servers, each with an authority of its own.
    let elsewhere = World::new();
    let (fake, other) = (with_tls(&world), with_tls(&elsewhere));
    let ca = |world: &World| format!("ca = '{}'\n", world.scratch.join("ca.pem").display());
    let entry = |fake: &Fake, text: &str| format!("[[registry]]\nprefix = '127.0.0.1:{}'\n{text}", fake.port);
    let origin = World::with_image("local:v1", 100_000);
    let ours = entry(&fake, &ca(&world));
    let name = fake.name("app:v1");
    let registries = origin.registries(&ours);
    push(&origin.store, &registries, "local:v1", &name, &PushOptions::default(), &origin.control).unwrap();
    same(&fake, &other);
    let insecure_here = entry(&fake, "insecure = true\n");
    let cases = [
        (ours.clone(), false),
        (insecure_here.clone(), false),
        (format!("{ours}{}", entry(&other, &ca(&elsewhere))), true),
        (format!("{ours}{}", entry(&other, "insecure = true\n")), true),
        (format!("{ours}{}", entry(&other, &ca(&world))), false),
        (format!("{insecure_here}{}", entry(&other, &ca(&elsewhere))), true),
    ];
    for (config, reached) in cases {
        // Where a blob is, and where an upload goes on.
        let to = other.url("");
        fake.rule(move |seen| {
            let to = format!("{to}{}", seen.target);
            seen.is("GET", "/blobs/").then(|| Act::Say(Answer::new(307).with("location", to)))
        });
        let reader = World::new();
        let registries = reader.registries(&config);
        let pulled = pull(&reader.store, &registries, &name, &PullOptions::default(), &reader.control);
        assert_eq!(pulled.is_ok(), reached, "{config}: {:?}", pulled.err());
        // And where tokens are, which are given without credentials.
        let realm = other.url("/token");
        let door = Door::Bearer { realm, basic: String::new() };
        fake.rule(|_| None);
        for one in [&fake, &other] {
            let door = door.clone();
            one.with(|state| state.door = door);
        }
        let reader = World::new();
        let registries = reader.registries(&config);
        let pulled = pull(&reader.store, &registries, &name, &PullOptions::default(), &reader.control);
        assert_eq!(pulled.is_ok(), reached, "{config}: {:?}", pulled.err());
        for one in [&fake, &other] {
            one.with(|state| state.door = Door::Open);
        }
    }
}

#[test]
fn certificates_of_the_environment_are_trusted_and_a_missing_file_is_named() {
    if !need("openssl", &["version"]) {
        return;
    }
    let world = World::with_image("local:v1", 1000);
    let fake = with_tls(&world);
    let name = fake.name("app:v1");
    let ca = world.scratch.join("ca.pem");
    let push = |file: &str| run(&world, &["push", "local:v1", &name], &[("SSL_CERT_FILE", file)]);
    succeeds(push(ca.to_str().unwrap()));
    let text = fails(push("/nowhere/ca.pem"));
    assert!(text.contains("/nowhere/ca.pem") && text.contains("SSL_CERT_FILE"), "{text}");
    std::fs::write(world.scratch.join("empty.pem"), "").unwrap();
    fails(push(world.scratch.join("empty.pem").to_str().unwrap()));
    // Where a registry is called insecure, nobody has to vouch for it.
    let text = fails(run(&world, &["pull", &name], &[]));
    assert!(text.contains("TLS: "), "{text}");
    let config = world.file(
        "registries.toml",
        &format!("[[registry]]\nprefix = '127.0.0.1:{}'\ninsecure = true\n", fake.port),
    );
    succeeds(run(&world, &["pull", &name], &[("TREERING_REGISTRIES", config.to_str().unwrap())]));
}

#[test]
fn the_file_of_registries_is_found_where_it_belongs_and_nowhere_else() {
    let fake = Fake::start();
    let world = World::with_image("local:v1", 1000);
    let to = fake.name("app:v1");
    push(&world.store, &world.registries(""), "local:v1", &to, &PushOptions::default(), &world.control)
        .unwrap();
    let text = format!("[[registry]]\nprefix = 'registry.example'\nlocation = '{}'\n", fake.url(""));
    let put = |path: &str, text: &str| {
        let path = world.scratch.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let name = "registry.example/app:v1";
    let proxied = ("HTTPS_PROXY", "http://127.0.0.1:1");
    // No name is looked up: what is not found in a file goes to a proxy that is not there.
    let pull = |variables: &[(&str, &str)]| run(&world, &["pull", name], &[variables, &[proxied]].concat());
    let xdg = world.scratch.dir("xdg");
    let xdg = xdg.to_str().unwrap();
    for path in [
        ".config/containers/registries.conf",
        "etc/treering/registries.toml",
        "registries.toml",
        ".treering/registries.toml",
    ] {
        put(path, &text);
    }
    fails(pull(&[]));
    fails(pull(&[("XDG_CONFIG_HOME", xdg)]));
    put(".config/treering/registries.toml", &text);
    succeeds(pull(&[]));
    // One comes before the other, and only one of them is read.
    fails(pull(&[("XDG_CONFIG_HOME", xdg)]));
    put("xdg/treering/registries.toml", &text);
    put(".config/treering/registries.toml", "broken");
    succeeds(pull(&[("XDG_CONFIG_HOME", xdg)]));
    let error = fails(pull(&[]));
    assert!(error.contains(".config/treering/registries.toml"), "{error}");
    let named = put("named.toml", &text);
    put("xdg/treering/registries.toml", "broken");
    succeeds(pull(&[("XDG_CONFIG_HOME", xdg), ("TREERING_REGISTRIES", named.as_str())]));
    let error = fails(pull(&[("TREERING_REGISTRIES", "/nowhere/r.toml")]));
    assert!(error.contains("/nowhere/r.toml"), "{error}");
}

/// Puts a credential helper on the path of the program; gives the value of that.
fn helper(world: &World, name: &str, script: &str) -> String {
    let dir = world.scratch.dir("bin");
    let path = dir.join(format!("docker-credential-{name}"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", dir.display())
}

#[test]
fn credential_helpers_are_programs_that_are_waited_for_until_a_cancel() {
    let fake = Fake::start();
    let world = World::with_image("local:v1", 1000);
    let name = fake.name("app:v1");
    let pushed =
        push(&world.store, &world.registries(""), "local:v1", &name, &PushOptions::default(), &world.control);
    pushed.unwrap();
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    let docker = world.scratch.dir("docker");
    let uses = |store: &str| {
        std::fs::write(docker.join("config.json"), json!({ "credsStore": store }).to_string()).unwrap();
    };
    let answer = "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n";
    let path = helper(&world, "good", answer);
    helper(&world, "slow", "#!/bin/sh\necho $$ >started\nexec sleep 300\n");
    let variables = [("PATH", path.as_str()), ("DOCKER_CONFIG", docker.to_str().unwrap())];
    uses("good");
    succeeds(run(&world, &["pull", &name], &variables));
    uses("gone");
    let text = fails(run(&world, &["--json", "pull", &name], &variables));
    assert!(text.contains("\"unauthorized\"") && text.contains("docker-credential-gone"), "{text}");
    // A signal ends the wait for one that does not answer.
    uses("slow");
    let mut child = command(&world, &["pull", &name], &variables).stderr(Stdio::null()).spawn().unwrap();
    let (began, started) = (Instant::now(), world.scratch.join("started"));
    while std::fs::read_to_string(&started).unwrap_or_default().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "the helper does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    support::tools::run(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert!(!child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let helper = std::fs::read_to_string(&started).unwrap();
    assert!(!std::path::Path::new("/proc").join(helper.trim()).exists(), "the helper is left behind");
}

#[test]
fn a_mirror_gets_no_credentials_of_the_registry() {
    let (mirror, fake) = (Fake::start(), Fake::start());
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 100_000);
    let host = format!("127.0.0.1:{}", fake.port);
    let config = format!("[[registry]]\nprefix = '{host}'\nmirrors = ['{}']\n", mirror.url("/hub"));
    let registries = world.registries(&config);
    fake.with(|state| state.door = Door::Basic(BASIC.into()));
    login(&registries, &host, &Credential::basic("user", "secret"), &world.control).unwrap();
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    assert!(mirror.log().is_empty(), "nothing is pushed to a mirror");
    let pull = |what: &str| {
        let reader = World::new();
        std::fs::copy(world.scratch.join("auth.json"), reader.scratch.join("auth.json")).unwrap();
        let registries = reader.registries(&config);
        let pulled = pull(&reader.store, &registries, &name, &PullOptions::default(), &reader.control);
        pulled.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!mirror.log().is_empty(), "{what}");
        assert_eq!(mirror.credentials_seen(), 0, "{what}");
    };
    let challenges = [
        "Basic realm=\"hub\"".to_string(),
        format!("Bearer realm=\"{}\",service=\"x\"", mirror.url("/token")),
        format!("Bearer realm=\"{}\",service=\"x\"", fake.url("/token")),
    ];
    for challenge in challenges {
        let said = challenge.clone();
        mirror.rule(move |seen| {
            let refused = Answer::error(401, "UNAUTHORIZED").with("www-authenticate", said.clone());
            seen.target.starts_with("/v2/").then_some(Act::Say(refused))
        });
        pull(&challenge);
    }
    // One that leads to the registry, and one that has the image.
    let to = fake.url("");
    mirror.rule(move |seen| {
        let to = format!("{to}{}", seen.target.replace("/hub/", "/"));
        Some(Act::Say(Answer::new(307).with("location", to)))
    });
    pull("redirect");
    same(&fake, &mirror);
    mirror.with(|state| {
        state.blobs = state.blobs.drain().map(|((_, d), bytes)| (("hub/app".into(), d), bytes)).collect();
        state.manifests = state.manifests.drain().map(|((_, r), m)| (("hub/app".into(), r), m)).collect();
    });
    mirror.rule(|_| None);
    fake.rule(|_| None);
    pull("itself");
    assert!(fake.log().is_empty());
    // Without the registry's credentials there is nothing to be had from it.
    fake.rule(|_| None);
    mirror.rule(|_| Some(Act::Close));
    let reader = World::new();
    let registries = reader.registries(&config);
    let pulled =
        treering::registry::pull(&reader.store, &registries, &name, &PullOptions::default(), &reader.control);
    assert_eq!(pulled.unwrap_err().kind(), ErrorKind::Unauthorized);
}
