//! Builds and commands in trees, of images that are at a registry; and trees that are made while their image arrives.

use std::time::{Duration, Instant};

use treering::ErrorKind;
use treering::image::{CommitOptions, Image, UnpackOptions, commit};
use treering::registry::{PullOptions, PushOptions, pull_and_unpack, push};

use crate::fake::{Act, Fake};
use crate::world::World;
use support::sh;

/// Returns a world with an image under a name, which has a file with this text, and programs where this machine has some.
fn origin(name: &str, text: &str) -> World {
    let world = World::new();
    sh(
        world.scratch.path(),
        &format!(
            "mkdir -p tree/bin; echo {text} >tree/file; ! test -e /usr/bin/busybox || cp /usr/bin/busybox tree/bin/
             for one in sh cat; do ln -s busybox tree/bin/$one; done"
        ),
    );
    let options = CommitOptions::default();
    commit(&world.store, &world.scratch.join("tree"), Some(name), &options, &world.control).unwrap();
    push(&world.store, &world.registries(""), name, name, &PushOptions::default(), &world.control).unwrap();
    world
}

#[test]
fn a_base_is_fetched_from_its_registry() {
    let fake = Fake::start();
    let name = fake.name("base:v1");
    let origin = origin(&name, "one");
    let world = World::new();
    let fetches = || fake.log().iter().filter(|seen| seen.is("GET", "/blobs/")).count();
    let asks = || fake.log().len();
    sh(world.scratch.path(), "mkdir context; echo more >context/more");
    std::fs::write(
        world.scratch.join("context/Dockerfile"),
        format!(
            "FROM {name} AS base\nFROM scratch\nCOPY --from=base /file /from\nFROM base\nCOPY more /more\n"
        ),
    )
    .unwrap();
    let build = |more: &[&str]| {
        fake.rule(|_| None);
        world.ok(&[&["build", "-q", "-t", "built:v1"][..], more, &["context"]].concat(), "");
        Image::open(&world.store, "built:v1", None).unwrap()
    };
    let below = |image: &Image, base: &World| {
        let base = Image::open(&base.store, &name, None).unwrap();
        let layers = |image: &Image| image.layers().iter().map(|layer| layer.digest).collect::<Vec<_>>();
        layers(image).starts_with(&layers(&base))
    };
    // What is not in the store is fetched, once.
    assert!(below(&build(&[]), &origin));
    assert_eq!(fetches(), 2, "a configuration and a layer");
    assert!(below(&build(&["--no-cache"]), &origin));
    assert_eq!(asks(), 0);
    // A newer one is taken when it is asked for.
    let newer = self::origin(&name, "two");
    assert!(below(&build(&["--no-cache"]), &origin) && asks() == 0);
    assert!(below(&build(&["--pull"]), &newer));
    assert_eq!(fetches(), 2);
    assert!(below(&build(&["--pull"]), &newer));
    assert!(asks() > 0 && fetches() == 0);
    // One that no registry has is an error of its line.
    std::fs::write(world.scratch.join("context/Dockerfile"), format!("FROM {}\n", fake.name("none:v1")))
        .unwrap();
    let out = world.run(&["--json", "build", "context"], "");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && text.contains("not-found"), "{text}");
}

/// A rule that goes by the base's configuration finds the same before the base is in the store and after.
#[test]
fn the_rules_go_by_a_base_as_soon_as_it_is_fetched() {
    let fake = Fake::start();
    let name = fake.name("base:v1");
    let origin = World::new();
    sh(origin.scratch.path(), "mkdir context");
    let write = |world: &World, text: &str| {
        std::fs::write(world.scratch.join("context/Dockerfile"), text).unwrap();
    };
    write(&origin, "FROM scratch\nENV FROM_BASE=1\nSHELL [\"/bin/bash\", \"-c\"]\n");
    origin.ok(&["build", "-q", "-t", &name, "--push", "context"], "");
    let text = format!(
        "FROM {name} AS base\nENV A=$FROM_BASE\nCMD x\nFROM base\nENV B=$A$C D=$FROM_OTHER\nENTRYPOINT y\n"
    );
    let skip = "skip=JSONArgsRecommended";
    for (directive, succeeds) in [(skip.to_string(), true), (format!("{skip};error=true"), false)] {
        let world = World::new();
        sh(world.scratch.path(), "mkdir context");
        write(&world, &format!("# check={directive}\n{text}"));
        let warnings = || {
            let out = world.run(&["build", "--progress=plain", "-t", "built:v1", "context"], "");
            assert_eq!(out.status.success(), succeeds, "{directive}");
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let lines = said.lines().filter(|line| line.starts_with("warning: UndefinedVar: "));
            (lines.map(String::from).collect::<Vec<_>>(), said)
        };
        let (first, said) = warnings();
        assert!(first.len() == 2 && first.iter().any(|line| line.contains("$FROM_OTHER")), "{said}");
        assert_eq!(warnings().0, first, "{directive}");
    }
}

#[test]
fn commands_run_in_images_that_are_fetched() {
    if !std::path::Path::new("/usr/bin/busybox").exists() {
        support::tools::missing("TOOL", "busybox", "nothing to run in a tree");
        return;
    }
    let fake = Fake::start();
    let name = fake.name("base:v1");
    let _origin = origin(&name, "one");
    let world = World::new();
    let run = |pull: &str| {
        fake.rule(|_| None);
        world.run(&["run", "--rm", &format!("--pull={pull}"), &name, "cat", "/file"], "")
    };
    let text = |out: std::process::Output| {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(!run("never").status.success() && fake.log().is_empty());
    assert_eq!(text(run("missing")), "one\n");
    assert!(!fake.log().is_empty());
    let _newer = origin(&name, "two");
    assert_eq!(text(run("missing")), "one\n");
    assert!(fake.log().is_empty());
    assert_eq!(text(run("always")), "two\n");
    // In a build, the base is unpacked for the command.
    let other = World::new();
    sh(other.scratch.path(), "mkdir context");
    std::fs::write(
        other.scratch.join("context/Dockerfile"),
        format!("FROM {name}\nRUN cat /file >/copied\nFROM scratch\nCOPY --from=0 /copied /\n"),
    )
    .unwrap();
    other.ok(&["build", "-q", "-t", "built:v1", "context"], "");
    assert_eq!(other.ok(&["cat", "built:v1:/copied"], ""), "two\n");
}

#[test]
fn a_layer_is_decoded_while_it_arrives() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::new();
    sh(world.scratch.path(), "mkdir tree; echo first >tree/aaa; head -c 8000000 /dev/urandom >tree/zzz");
    let options = CommitOptions::default();
    commit(&world.store, &world.scratch.join("tree"), Some(&name), &options, &world.control).unwrap();
    push(&world.store, &world.registries(""), &name, &name, &PushOptions::default(), &world.control).unwrap();
    let layer = Image::open(&world.store, &name, None).unwrap().layers()[0].digest.to_string();
    // Half of it, and then nothing.
    fake.rule(move |seen| seen.is("GET", &layer).then_some(Act::Hold(6 << 20)));
    let other = World::new();
    let registries =
        other.registries("").with_patience(Duration::from_secs(60), 1, Duration::from_millis(10));
    let dir = other.scratch.join("unpacked");
    std::thread::scope(|scope| {
        let (other, registries, name, dir) = (&other, &registries, &name, &dir);
        let pulling = scope.spawn(move || {
            let (options, unpack) = (PullOptions::default(), UnpackOptions::default());
            pull_and_unpack(&other.store, registries, name, dir, &options, &unpack, &other.control)
        });
        let began = Instant::now();
        while sh(other.scratch.path(), "find . -name aaa -size +0").is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing is unpacked before all is there");
            std::thread::sleep(Duration::from_millis(20));
        }
        other.control.cancel.cancel();
        assert_eq!(pulling.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
    assert!(!dir.exists());
}
