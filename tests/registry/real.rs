//! Others pull our pushes, and the other way round; nothing travels twice.

use std::process::Command;

use treering::ErrorKind;
use treering::compress::{Compression, Profile};
use treering::image::{CommitOptions, Image, commit};
use treering::registry::{Credential, PullOptions, PushOptions, login, pull, push, tags};

use crate::debian::{Debian, Setup};
use crate::world::World;
use support::sh;
use support::tools::{need, run};

#[test]
fn what_is_pushed_comes_back_the_same() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let name = registry.name("team/app:v1");
    let world = World::with_image(&name, 3_000_000);
    let registries = world.registries("");
    let pushed =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    assert_eq!((pushed.sent, pushed.present, pushed.mounted), (3, 0, 0));
    let repository = registry.name("team/app");
    assert_eq!(tags(&registries, &repository, &world.control).unwrap(), ["v1"]);

    let other = World::new();
    let options = PullOptions::default();
    let first = pull(&other.store, &registries, &name, &options, &other.control).unwrap();
    assert_eq!((first.digest, first.layers_fetched, first.up_to_date), (pushed.digest, 2, false));
    let image = Image::open(&other.store, &name, None).unwrap();
    assert_eq!(image.manifest_bytes(), Image::open(&world.store, &name, None).unwrap().manifest_bytes());
    // What the store has seen decode once is not decoded again.
    for layer in image.layers() {
        assert_eq!(other.store.diff_id_for_blob(&layer.digest).unwrap(), Some(layer.diff_id));
    }
    let second = pull(&other.store, &registries, &name, &options, &other.control).unwrap();
    assert_eq!((second.layers_fetched, second.up_to_date), (0, true));
    let by_digest = format!("{repository}@{}", first.digest);
    let third = pull(&World::new().store, &registries, &by_digest, &options, &other.control).unwrap();
    assert_eq!((third.digest, third.name), (first.digest, None));
    let missing = pull(&other.store, &registries, &registry.name("team/app:v2"), &options, &other.control);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_small_change_takes_ten_requests_whatever_lies_below() {
    let Some(registry) = Debian::start(Setup { passwords: true, ..Setup::default() }) else { return };
    let name = registry.name("app:v1");
    let world = World::with_image(&name, 200_000);
    for _ in 0..10 {
        world.change(&name);
    }
    let registries = world.registries("");
    let credential = Credential::basic("user", "secret");
    login(&registries, &registry.name(""), &credential, &world.control).unwrap();
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    world.change(&name);
    let before = registry.requests().len();
    let pushed =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    assert_eq!((pushed.sent, pushed.present), (2, 12));
    let requests = registry.requests().split_off(before);
    assert!(!requests.is_empty() && requests.len() <= 10, "{requests:#?}");
}

#[test]
fn blobs_of_another_repository_are_mounted() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let (name, other) = (registry.name("team/app:v1"), registry.name("copy:v1"));
    let world = World::with_image(&name, 1_500_000);
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let pushed =
        push(&world.store, &registries, &name, &other, &PushOptions::default(), &world.control).unwrap();
    assert_eq!((pushed.mounted, pushed.sent), (3, 0));
    let without = PushOptions { no_mount: true, ..PushOptions::default() };
    let third = registry.name("third:v1");
    let pushed = push(&world.store, &registries, &name, &third, &without, &world.control).unwrap();
    assert_eq!((pushed.mounted, pushed.sent), (0, 3));
}

#[test]
fn large_blobs_travel_in_chunks() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let world = World::new();
    sh(world.scratch.path(), "mkdir tree; truncate -s 520M tree/zeros");
    let options =
        CommitOptions { profile: Profile::new(Compression::None, None).unwrap(), ..CommitOptions::default() };
    let name = registry.name("app:v1");
    commit(&world.store, &world.scratch.join("tree"), Some(&name), &options, &world.control).unwrap();
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let chunks = registry.requests().iter().filter(|line| line.starts_with("PATCH ")).count();
    assert_eq!(chunks, 2, "{:#?}", registry.requests());
    // The registry has compared the digest of all of it with what it was said to be.
    let digest = Image::open(&world.store, &name, None).unwrap().layers()[0].digest;
    let there =
        registry.requests().iter().any(|line| line.starts_with("PUT ") && line.contains(&digest.hex()));
    assert!(there, "{:#?}", registry.requests());
}

#[test]
fn logging_in_by_the_command_with_tls_and_a_password() {
    let Some(registry) = Debian::start(Setup { tls: true, passwords: true }) else { return };
    let name = registry.name("app:v1");
    let world = World::with_image(&name, 100_000);
    let host = registry.name("").trim_end_matches('/').to_string();

    // No authority vouches for the server yet.
    let out = world.run(&["push", &name], "");
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && message.contains("TLS: ") && message.contains(&host), "{message}");

    let config = format!("[[registry]]\nprefix = '{host}'\nca = '{}'\n", registry.ca().display());
    world.file("registries.toml", &config);
    let out = world.run(&["--json", "push", &name], "");
    let error: serde_json::Value = serde_json::from_slice(&out.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "unauthorized");

    let login = ["login", "-u", "user", "--password-stdin", &host];
    let out = world.run(&login, "wrong\n");
    assert!(!out.status.success() && !world.scratch.join("docker/config.json").exists());
    assert_eq!(world.ok(&login, "secret\n"), "Login Succeeded\n");
    let text = world.ok(&["push", &name], "");
    assert!(
        text.starts_with(&format!("The push refers to repository [{host}/app]\nv1: digest: sha256:")),
        "{text}"
    );
    let text = world.ok(&["pull", &name], "");
    assert!(text.contains(&format!("\nStatus: Image is up to date for {name}\n{name}\n")), "{text}");
    assert_eq!(world.ok(&["-q", "pull", &name], ""), format!("{name}\n"));
    assert_eq!(world.ok(&["tags", &registry.name("app")], ""), "v1\n");

    // Docker's file is one that other tools read.
    if need("skopeo", &["--version"]) {
        let file = world.scratch.join("docker/config.json");
        let certs = world.scratch.dir("certs");
        std::fs::copy(registry.ca(), certs.join("ca.crt")).unwrap();
        let found = run(Command::new("skopeo")
            .args(["inspect", "--format", "{{.Digest}}"])
            .arg(format!("--authfile={}", file.display()))
            .arg(format!("--cert-dir={}", certs.display()))
            .arg(format!("docker://{name}")));
        assert!(text.contains(found.trim()), "{found} {text}");
    }
    assert_eq!(world.ok(&["logout", &host], ""), format!("Removing login credentials for {host}\n"));
    assert_eq!(world.ok(&["logout", &host], ""), format!("Not logged in to {host}\n"));
    assert!(!world.run(&["pull", &name], "").status.success());
}

#[test]
fn skopeo_takes_what_we_push_and_we_what_it_pushes() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    if !need("skopeo", &["--version"]) {
        return;
    }
    let name = registry.name("app:v1");
    let world = World::with_image(&name, 300_000);
    let registries = world.registries("");
    let pushed =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let skopeo = |from: &str, to: &str, more: &[&str]| {
        let insecure =
            ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        run(Command::new("skopeo").args(insecure).args(more).args([from, to]));
    };
    let layout = format!("oci:{}:x", world.scratch.join("layout").display());
    skopeo(&format!("docker://{name}"), &layout, &[]);
    let blob = format!("layout/blobs/sha256/{}", pushed.digest.hex());
    assert_eq!(std::fs::read(world.scratch.join(&blob)).unwrap().len() as u64, pushed.size);

    for (format, tag) in [("oci", "back"), ("v2s2", "docker")] {
        let back = registry.name(&format!("app:{tag}"));
        skopeo(&layout, &format!("docker://{back}"), &["--format", format]);
        let other = World::new();
        let pulled = pull(&other.store, &registries, &back, &PullOptions::default(), &other.control).unwrap();
        let image = Image::open(&other.store, &back, None).unwrap();
        assert_eq!(pulled.image_id, *Image::open(&world.store, &name, None).unwrap().id(), "{format}");
        // Exact bytes, Docker's media types among them, also on the way back.
        let again = registry.name(&format!("app:{tag}-again"));
        let pushed =
            push(&other.store, &registries, &back, &again, &PushOptions::default(), &other.control).unwrap();
        assert_eq!(pushed.digest, *image.digest(), "{format}");
    }
}

/// Pushes an image, lets `client` fetch it and send it back under another name, and compares what came back.
fn there_and_back(client: impl FnOnce(&World, &str, &str)) {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let (name, back) = (registry.name("app:v1"), registry.name("back/app:v2"));
    let world = World::with_image(&name, 300_000);
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    client(&world, &name, &back);
    let other = World::new();
    let pulled = pull(&other.store, &registries, &back, &PullOptions::default(), &other.control).unwrap();
    assert_eq!(pulled.image_id, *Image::open(&world.store, &name, None).unwrap().id());
    let report = other.store.fsck(treering::store::FsckLevel::Bytes, &other.control).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[test]
fn crane_takes_what_we_push_and_we_what_it_pushes() {
    if !need("crane", &["version"]) {
        return;
    }
    there_and_back(|world, name, back| {
        let ours = Image::open(&world.store, name, None).unwrap();
        assert_eq!(run(Command::new("crane").args(["digest", name])).trim(), ours.digest().to_string());
        run(Command::new("crane").args(["validate", "--remote", name]));
        let layout = world.scratch.join("layout");
        run(Command::new("crane").args(["pull", "--format=oci", name]).arg(&layout));
        run(Command::new("crane").arg("push").arg(&layout).arg(back));
        let again = run(Command::new("crane").args(["digest", back]));
        assert_eq!(again.trim(), ours.digest().to_string(), "exact bytes");
    });
}

#[test]
fn podman_takes_what_we_push_and_we_what_it_pushes() {
    if !need("podman", &["--version"]) {
        return;
    }
    there_and_back(|world, name, back| {
        let storage = world.scratch.dir("podman");
        let policy = world.file("policy.json", "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}");
        let storage_conf = world.file(
            "storage.conf",
            &format!(
                "[storage]\ndriver = 'vfs'\ngraphroot = '{0}/root'\nrunroot = '{0}/run'\n\
                 [storage.options.vfs]\nignore_chown_errors = 'true'\n",
                storage.display()
            ),
        );
        let podman = |words: &[&str]| {
            run(Command::new("podman")
                .args(["--cgroup-manager=cgroupfs", "--events-backend=none"])
                .args(words)
                .env("HOME", world.scratch.path())
                .env("XDG_RUNTIME_DIR", &storage)
                .env("CONTAINERS_STORAGE_CONF", &storage_conf))
        };
        let policy = format!("--signature-policy={}", policy.display());
        podman(&["pull", "-q", "--tls-verify=false", &policy, name]);
        let id = podman(&["image", "inspect", "--format", "{{.Id}}", name]);
        let ours = Image::open(&world.store, name, None).unwrap();
        assert_eq!(id.trim(), ours.id().hex());
        podman(&["push", "-q", "--tls-verify=false", &policy, name, &format!("docker://{back}")]);
    });
}
