//! The verbs of registries, run as commands.

use std::process::{Command, Output};

use serde_json::Value;
use treering::image::{Image, Platform};

use crate::fake::Fake;
use crate::world::World;
use support::command::examples;
use support::sh;

/// The verbs with examples that need a registry.
const VERBS: [&[&str]; 10] = [
    &["login"],
    &["push"],
    &["pull"],
    &["tags"],
    &["copy"],
    &["manifest", "create"],
    &["manifest", "annotate"],
    &["manifest", "push"],
    &["manifest", "inspect"],
    &["logout"],
];

/// Makes images in the store, as the examples name them.
const IMAGES: &str = r#"
set -e
mkdir -p tree bin; ln -sf "$TREERING" bin/treering
printf '#!/bin/sh\necho secret\n' >bin/pass; chmod 755 bin/pass; echo secret >token
for one in debian:12@amd64 registry.example/base/debian:12-arm64@arm64 app:v1-amd64@amd64 app:v1-arm64@arm64 app:v1-arm@arm/v7 app:v1-riscv64@riscv64; do
  echo $one >tree/name; treering commit -q --base scratch --platform linux/${one#*@} tree ${one%@*}
done
treering manifest create app:v1 app:v1-amd64 app:v1-arm64
treering tag app:v1-amd64 registry.example/team/app:v1
treering manifest create multi:v1 debian:12 registry.example/base/debian:12-arm64
treering push -q multi:v1 debian:12
treering push -q multi:v1 debian:latest
treering push -q app:v1-amd64 registry.example:5000/team/app:v1
"#;

/// A store, and a registry that stands for those of the examples.
struct Place {
    world: World,
    fake: Fake,
}

impl Place {
    fn new() -> Place {
        let (world, fake) = (World::new(), Fake::start());
        let mut config = String::new();
        for (prefix, path) in
            [("docker.io", "hub"), ("registry.example", "one"), ("registry.example:5000", "two")]
        {
            config += &format!(
                "[[registry]]\nprefix = '{prefix}'\nlocation = '{}'\n",
                fake.url(&format!("/{path}"))
            );
        }
        world.file("registries.toml", &config);
        Place { world, fake }
    }

    /// Runs a line of a shell.
    fn shell(&self, line: &str) -> Output {
        let scratch = &self.world.scratch;
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -eo pipefail; PATH=$PWD/bin:$PATH; {line}")]).env_clear();
        command.current_dir(scratch.path()).env("PATH", "/usr/bin:/bin").env("TREERING", support::program());
        command.env("HOME", scratch.path()).env("TREERING_ROOT", scratch.join("store"));
        command.env("TREERING_REGISTRIES", scratch.join("registries.toml"));
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let out = self.shell(line);
        let (text, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{line}\n{text}{said}");
        text.into_owned()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let text = self.ok(line);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }
}

#[test]
fn every_example_of_a_verb_for_registries_does_what_it_shows() {
    for verb in VERBS {
        let place = Place::new();
        place.ok(IMAGES);
        let digest =
            place.json("treering --json push multi:v1 debian:12")[0]["digest"].as_str().unwrap().to_string();
        let list = "treering manifest create registry.example/app:v1 app:v1-amd64 app:v1-arm64";
        match verb {
            ["manifest", "annotate"] => drop(place.ok(&format!("{list} app:v1-arm"))),
            ["manifest", "push" | "inspect"] => drop(place.ok(list)),
            ["logout"] => drop(place.ok("treering login -u ci --password-stdin registry.example <token")),
            _ => {}
        }
        let lines = examples(&place.ok(&format!("treering {} --help", verb.join(" "))));
        assert!(!lines.is_empty(), "{verb:?}");
        for line in lines {
            // The digest of the help text is made up.
            let line = match line.find("@sha256:") {
                Some(at) => format!("{}@{digest}", &line[..at]),
                None => line,
            };
            place.ok(&line);
        }
    }
}

#[test]
fn tags_travel_all_at_once() {
    let place = Place::new();
    place.ok(IMAGES);
    let name = "registry.example/many";
    for tag in ["a", "b", "c"] {
        place.ok(&format!("treering tag app:v1-amd64 {name}:{tag}"));
    }
    let pushed = place.json(&format!("treering --json push --all-tags {name}"));
    assert_eq!(pushed.as_array().unwrap().len(), 3);
    assert_eq!(place.ok(&format!("treering tags {name}")), "a\nb\nc\n");
    assert_eq!(place.json(&format!("treering --json tags {name}")), serde_json::json!(["a", "b", "c"]));
    for tag in ["a", "b", "c"] {
        assert!(place.fake.tag("one/many", tag).is_some(), "{tag}");
        place.ok(&format!("treering rmi {name}:{tag}"));
    }
    let pulled = place.json(&format!("treering --json pull --all-tags {name}"));
    let names: Vec<&str> =
        pulled.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"].map(|tag| format!("{name}:{tag}")));
    for line in [
        format!("treering pull --all-tags {name}:a"),
        format!("treering push --all-tags {name}:a"),
        "treering push --all-tags registry.example/none".to_string(),
    ] {
        assert!(!place.shell(&line).status.success(), "{line}");
    }
}

#[test]
fn platforms_are_chosen_by_the_command() {
    let place = Place::new();
    place.ok(IMAGES);
    let other = Place::new();
    let registries = std::fs::read_to_string(place.world.scratch.join("registries.toml")).unwrap();
    other.world.file("registries.toml", &registries);
    sh(other.world.scratch.path(), &format!("mkdir bin; ln -s {} bin/treering", support::program()));
    let open = |platform: &str| {
        let platform: Platform = platform.parse().unwrap();
        Image::open(&other.world.store, "debian:12", Some(&platform))
            .map(|image| image.platform().to_string())
    };
    let blobs = || std::fs::read_dir(other.world.scratch.join("store/oci/blobs/sha256")).unwrap().count();
    other.ok("treering pull --platform linux/arm64 debian:12");
    assert_eq!(open("linux/arm64").unwrap(), "linux/arm64");
    // An index, a manifest, a configuration and a layer.
    assert_eq!(blobs(), 4);
    other.ok("treering pull --all-platforms debian:12");
    assert_eq!((open("linux/amd64").unwrap().as_str(), blobs()), ("linux/amd64", 7));
    let out = other.shell("treering --json pull --platform linux/s390x debian:12");
    let error: Value = serde_json::from_slice(&out.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "not-found");
    assert!(!other.shell("treering pull --platform linux/arm64 --all-platforms debian:12").status.success());
    let pushed = other.json("treering --json push --platform linux/arm64 debian:12 registry.example/arm:v1");
    assert_eq!(pushed[0]["only_platform"], "linux/arm64");
    let copied = other.json("treering --json copy --platform linux/amd64 debian:12 registry.example/amd:v1");
    let inspected = other.json("treering manifest inspect registry.example/amd:v1");
    assert!(inspected["layers"].is_array() && copied["mounted"] == 2, "{copied} {inspected}");
}

#[test]
fn a_list_is_made_annotated_pushed_and_inspected() {
    let place = Place::new();
    place.ok(IMAGES);
    let list = "registry.example/app:v1";
    let created = place.ok(&format!("treering manifest create {list} app:v1-amd64 app:v1-arm"));
    assert_eq!(created, format!("Created manifest list {list}\n"));
    assert!(!place.shell(&format!("treering manifest create {list} app:v1-arm64")).status.success());
    let amended = place.json(&format!("treering --json manifest create --amend {list} app:v1-arm64"));
    assert_eq!(amended["name"], list);
    place.ok(&format!(
        "treering manifest annotate --arch arm --variant v6 --annotation a=b {list} app:v1-arm"
    ));
    for wrong in ["--os linux", "--variant v7", "--annotation a", "--arch arm nothing:v1"] {
        let out = place.shell(&format!("treering manifest annotate {wrong} {list} app:v1-arm"));
        assert!(!out.status.success(), "{wrong}");
    }
    let local = place.ok(&format!("treering manifest inspect --local {list}"));
    let digest = place.ok(&format!("treering manifest push {list}"));
    let remote = place.ok(&format!("treering manifest inspect {list}"));
    assert_eq!(local, remote);
    assert_eq!(digest.trim(), treering::Digest::of(&place.fake.tag("one/app", "v1").unwrap()).to_string());
    let value: Value = serde_json::from_str(&remote).unwrap();
    let of = |architecture: &str| {
        let entries = value["manifests"].as_array().unwrap();
        entries.iter().find(|entry| entry["platform"]["architecture"] == architecture).unwrap().clone()
    };
    assert_eq!(value["manifests"].as_array().unwrap().len(), 3);
    let arm = of("arm");
    assert!(arm["platform"]["variant"] == "v6" && arm["annotations"]["a"] == "b", "{arm}");
    // Under another name, and as data.
    let pushed = place.json(&format!("treering --json manifest push {list} registry.example/app:v2"));
    assert_eq!(pushed["digest"].as_str().unwrap(), digest.trim());
    assert_eq!(place.ok("treering tags registry.example/app"), "v1\nv2\n");
}

#[test]
fn a_copy_is_a_command_that_needs_no_store() {
    let place = Place::new();
    place.ok(IMAGES);
    let before = sh(place.world.scratch.path(), "find store | sort");
    let text = place.ok("treering copy debian:12 registry.example/base/debian:12");
    assert!(text.starts_with("12: digest: sha256:"), "{text}");
    assert_eq!(place.fake.tag("one/base/debian", "12"), place.fake.tag("hub/library/debian", "12"));
    let again = place.json("treering --json copy debian:12 registry.example/base/debian:12");
    assert_eq!((again["sent"].as_u64(), again["present"].as_u64()), (Some(0), Some(4)));
    assert_eq!(sh(place.world.scratch.path(), "find store | sort"), before);
    assert!(!place.shell("treering copy nothing:v1 registry.example/base/debian:12").status.success());
}
