//! The same Dockerfile by others: their files and their configuration are ours, but for what is listed here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::busybox::{Way, World};
use support::docker::Engine;
use support::is_root;
use support::tools::{need, run};
use treering::Control;
use treering::fs::Kind;
use treering::image::{Image, ImageFiles};
use treering::store::Store;

use super::shapes::Shape;
use super::{build, prepare, world_for};

const OURS: Way = Way { rung: "root", drop: false };

/// A way to build that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    BuildKit,
    /// Docker's builder before BuildKit.
    Old,
    Buildah,
}

/// Members of the configuration that differ, with the reason.
const MEMBERS: &[(Other, &str, &str)] = &[
    (Other::BuildKit, "ArgsEscaped", "for Windows; this version writes it for everything"),
    (Other::Old, "Image", "the image before the last step, a thing of that builder"),
    (Other::Old, "Hostname", "of the container that made the step"),
    (Other::Buildah, "Hostname", "of the container that made the steps"),
];

/// A label that buildah adds to those of the Dockerfile.
const BUILDAH_LABEL: &str = "io.buildah.version";

/// Paths that differ, with the reason.
const PATHS: &[(Other, &str, &str)] = &[
    (Other::BuildKit, "dev", MOUNT),
    (Other::BuildKit, "proc", MOUNT),
    (Other::BuildKit, "sys", MOUNT),
    (Other::Old, "home", WORKDIR),
    (Other::Old, "home/app", WORKDIR),
    (Other::Buildah, "dev", MOUNT),
    (Other::Buildah, "proc", MOUNT),
    (Other::Buildah, "sys", MOUNT),
    (Other::Buildah, "run", MOUNT),
    (Other::Buildah, "etc/hostname", MOUNT),
    (Other::Buildah, "etc/hosts", MOUNT),
    (Other::Buildah, "etc/resolv.conf", MOUNT),
    (Other::Buildah, "home", WORKDIR),
    (Other::Buildah, "home/app", WORKDIR),
    (Other::Buildah, "work/here", WORKDIR),
    (Other::Buildah, "srv/app", WORKDIR),
    (Other::Buildah, "etc/nginx/sites-available/default", LINK),
    (Other::Buildah, "etc/nginx/sites-enabled/default", LINK),
];
const MOUNT: &str = "what was mounted for a command, left behind where the image has none; we take it away";
const LINK: &str = "a COPY to where a link is: buildah replaces the link, all others write through it";
const WORKDIR: &str = "the owner of a working directory: here as by BuildKit the user of that step, and not that of the first COPY to it";

pub fn compare(shapes: &[&Shape]) {
    if !is_root() {
        println!("SKIP-PART others: an engine of our own needs root; the same test runs as root");
        return;
    }
    let Some((world, tar)) = world_for(shapes) else { return };
    prepare(&world, OURS, tar.as_ref());
    if tar.is_some() {
        world.ok(OURS, &["save", "-o", world.join("base.tar").to_str().unwrap(), "debian:local"]);
    }
    let engine = Engine::start(world.path());
    let mut wrong = Vec::new();
    for shape in shapes {
        build(&world, OURS, shape);
        let ours = Described::of(&Store::open(world.join("root-false/store")).unwrap());
        for other in [Other::BuildKit, Other::Old, Other::Buildah] {
            let archive = world.join(&format!("{}-{other:?}.tar", shape.name));
            let made = match (other, &engine) {
                (Other::Buildah, _) => by_buildah(&world, shape, &archive),
                (_, Some(engine)) => by_docker(&world, engine, other, shape, &archive),
                (_, None) => false,
            };
            if !made {
                continue;
            }
            let store = Store::open(world.join("theirs")).unwrap();
            let input = Box::new(std::fs::File::open(&archive).unwrap());
            let options = treering::archive::LoadOptions {
                names: treering::image::NamePolicy::Move,
                ..Default::default()
            };
            treering::archive::load(&store, input, &options, &Control::default()).unwrap();
            wrong.extend(ours.differences(&Described::of(&store), shape, other));
            std::fs::remove_file(archive).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn by_docker(world: &World, engine: &Engine, other: Other, shape: &Shape, archive: &Path) -> bool {
    if shape.corpus.is_some() {
        engine.docker(&["load", "-q", "-i", world.join("base.tar").to_str().unwrap()]);
    }
    let context = world.join(shape.name);
    let mut command = engine.command(&["build", "-q", "--network", "none", "-t", "made"]);
    command.env("DOCKER_BUILDKIT", if other == Other::BuildKit { "1" } else { "0" });
    run(command.arg(context));
    engine.docker(&["save", "-o", archive.to_str().unwrap(), "made"]);
    true
}

fn by_buildah(world: &World, shape: &Shape, archive: &Path) -> bool {
    if !need("buildah", &["--version"]) {
        return false;
    }
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(world.join("buildah")).arg("--runroot").arg(world.join("buildah-run"));
        run(command.args(arguments))
    };
    if shape.corpus.is_some() {
        buildah(&["pull", "-q", &format!("docker-archive:{}", world.join("base.tar").display())]);
    }
    let context = world.join(shape.name).to_str().unwrap().to_string();
    let common = ["bud", "-q", "--layers", "--isolation", "chroot", "--format", "docker"];
    buildah(&[&common[..], &["--pull-never", "-t", "made", &context]].concat());
    buildah(&[
        "push",
        "-q",
        "made",
        &format!("docker-archive:{}:docker.io/library/made:latest", archive.display()),
    ]);
    true
}

/// An image as it is compared: without times, which are another for each build.
struct Described {
    files: BTreeMap<String, String>,
    config: BTreeMap<String, Value>,
}

impl Described {
    fn of(store: &Store) -> Described {
        let image = Image::open(store, "made", None).unwrap();
        let control = Control::default();
        let content = ImageFiles::open(store, &image, &control).unwrap();
        let list = content.list();
        let digests = content.digests(&list.walk().collect::<Vec<_>>(), &control).unwrap();
        let mut files = BTreeMap::new();
        for entry in list.walk() {
            let meta = list.meta(entry);
            let mut line = format!("{} {:o} {}:{}", meta.kind.name(), meta.mode, meta.uid, meta.gid);
            if matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice) {
                line += &format!(" device {:?}", meta.rdev);
            }
            if meta.kind == Kind::Symlink {
                line += &format!(" -> {}", list.link_target(entry).escape_ascii());
            }
            if let Some(digest) = digests.get(&entry).filter(|_| meta.size > 0) {
                line +=
                    &digest[..8].iter().fold(" ".into(), |text: String, byte| format!("{text}{byte:02x}"));
            }
            let leader = list.leader(entry);
            if meta.kind == Kind::File && leader != entry {
                line += &format!(" is {}", list.path(leader).escape_ascii());
            }
            for (name, value) in list.xattrs(entry) {
                line += &format!(" {}={}", name.escape_ascii(), value.escape_ascii());
            }
            files.insert(list.path(entry).escape_ascii().to_string(), line);
        }
        let document = Value::Object(image.config().value().clone());
        let mut config: BTreeMap<String, Value> = BTreeMap::new();
        for member in ["architecture", "os", "variant"] {
            config.insert(member.into(), document[member].clone());
        }
        for (name, value) in document["config"].as_object().into_iter().flatten() {
            let mut value = value.clone();
            if name == "Labels" {
                value.as_object_mut().map(|labels| labels.remove(BUILDAH_LABEL));
            }
            // Members have no order.
            value.sort_all_objects();
            // A member that is empty is one that is not there.
            let empty = match &value {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !empty {
                config.insert(name.clone(), value);
            }
        }
        Described { files, config }
    }

    fn differences(&self, theirs: &Described, shape: &Shape, other: Other) -> Vec<String> {
        let name = shape.name;
        let mut out = Vec::new();
        let mut differ = |what: &str, path: &str, ours: Option<String>, theirs: Option<String>| {
            let listed = if what == "config" { MEMBERS } else { PATHS };
            let allowed = listed.iter().any(|(who, known, _)| *who == other && *known == path);
            if ours != theirs && !allowed {
                let text = |it: Option<String>| it.unwrap_or("(none)".into());
                out.push(format!("{name}, {other:?}: {what} {path}: {} != {}", text(ours), text(theirs)));
            }
        };
        let paths: std::collections::BTreeSet<&String> =
            self.files.keys().chain(theirs.files.keys()).collect();
        for path in paths {
            differ("file", path, self.files.get(path).cloned(), theirs.files.get(path).cloned());
        }
        let members: std::collections::BTreeSet<&String> =
            self.config.keys().chain(theirs.config.keys()).collect();
        for member in members {
            let text = |it: &Described| it.config.get(member).map(Value::to_string);
            differ("config", member, text(self), text(theirs));
        }
        out
    }
}
