//! skopeo, Docker and umoci read what we write, and what they write is read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use treering::archive::{Format, LoadOptions, Loaded, NamePolicy, load, save};
use treering::compress::Compression;
use treering::image::Image;
use treering::store::Store;
use treering::{Control, Digest};

use crate::{commit_as, grow, store, two_layers};
use support::{Scratch, is_root};

/// Returns whether a tool is there. Where everything must be tested, a missing one is a failure.
fn have(name: &str) -> bool {
    let there = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")])
        .any(|dir| dir.join(name).is_file());
    skip(name, there)
}

fn skip(name: &str, there: bool) -> bool {
    if !there {
        println!("SKIP-TOOL {name}");
        assert!(std::env::var_os("CI").is_none() || !is_root(), "{name} is missing");
    }
    there
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn save_file(store: &Store, names: &[&str], format: Format, path: &Path) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    save(store, &names, format, &mut File::create(path).unwrap(), &Control::default()).unwrap();
}

fn load_file(store: &Store, path: &Path) -> Vec<Loaded> {
    let options = LoadOptions { names: NamePolicy::Move, ..LoadOptions::default() };
    load(store, Box::new(File::open(path).unwrap()), &options, &Control::default()).unwrap()
}

/// Returns the configuration of the only image of an image layout on disk.
fn config_of(layout: &Path) -> Value {
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        let digest: Digest = digest.as_str().unwrap().parse().unwrap();
        read(&layout.join("blobs/sha256").join(digest.hex()))
    };
    let manifest = blob(&read(&layout.join("index.json"))["manifests"][0]["digest"]);
    blob(&manifest["config"]["digest"])
}

fn skopeo(from: &str, to: &str) {
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", from, to]));
}

#[test]
fn skopeo_takes_both_formats_and_gives_them_back() {
    if !have("skopeo") {
        return;
    }
    let scratch = Scratch::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let from = store(&scratch, &format!("from-{compression}"));
        let app = two_layers(&from, &scratch, compression);
        let image = Image::open(&from, "app:v1", None).unwrap();
        for (format, transport) in
            [(Format::DockerArchive, "docker-archive"), (Format::OciArchive, "oci-archive")]
        {
            let what = format!("{compression}-{transport}");
            let tar = scratch.join(&format!("{what}.tar"));
            save_file(&from, &["app:v1", "base:v1"], format, &tar);
            let layout = scratch.join(&format!("layout-{what}"));
            let source = format!("{transport}:{}:app:v1", tar.display());
            skopeo(&source, &format!("oci:{}:x:v1", layout.display()));
            assert_eq!(config_of(&layout), serde_json::to_value(image.config().value()).unwrap(), "{what}");
            // A copy of what it read, and that loads again.
            let copy = scratch.join(&format!("copy-{what}.tar"));
            skopeo(&source, &format!("{transport}:{}:app:v1", copy.display()));
            let to = store(&scratch, &format!("to-{what}"));
            let loaded = load_file(&to, &copy);
            let name = loaded[0].name.as_ref().unwrap().to_string();
            assert_eq!((name.as_str(), loaded.len()), ("app:v1", 1), "{what}");
            let copied = Image::open(&to, "app:v1", None).unwrap();
            assert_eq!(copied.config().diff_ids(), image.config().diff_ids(), "{what}");
            if transport == "docker-archive" || compression != Compression::Zstd {
                assert_eq!(*copied.id(), app.image_id, "{what}");
            }
            crate::images::same_tree(&from, "app:v1", &to, "app:v1", &scratch);
        }
    }
}

#[test]
fn umoci_unpacks_what_we_saved() {
    if !(have("umoci") && have("tar")) {
        return;
    }
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    two_layers(&from, &scratch, Compression::Gzip);
    for format in [Format::OciArchive, Format::DockerArchive] {
        let tar = scratch.join(&format!("{format}.tar"));
        save_file(&from, &["app:v1"], format, &tar);
        let layout = scratch.dir(&format!("layout-{format}"));
        run(Command::new("tar").arg("xf").arg(&tar).arg("-C").arg(&layout));
        let bundle = scratch.join(&format!("bundle-{format}"));
        let tag = if format == Format::OciArchive { "app:v1" } else { "v1" };
        // umoci's own grammar has no colon in a tag: the one we give is found through the listing.
        let listed = run(Command::new("umoci").args(["ls", "--layout"]).arg(&layout));
        assert_eq!(listed.trim(), tag);
        if format == Format::DockerArchive {
            let image = format!("{}:{tag}", layout.display());
            let rootless = if is_root() { vec![] } else { vec!["--rootless"] };
            let mut umoci = Command::new("umoci");
            run(umoci.args(["unpack", "--image", &image]).args(rootless).arg(&bundle));
            let motd = std::fs::read_to_string(bundle.join("rootfs/etc/motd")).unwrap();
            assert_eq!(motd, "changed\n");
            assert!(!bundle.join("rootfs/empty").exists());
        }
    }
}

/// A Docker daemon of our own, with everything it has in one directory.
struct Docker {
    daemon: Child,
    socket: String,
}

impl Docker {
    /// Returns `None` where there is no Docker, or no right to run one.
    fn start(scratch: &Scratch) -> Option<Docker> {
        if !is_root() {
            println!("SKIP-TOOL dockerd: needs root");
            return None;
        }
        if !(have("dockerd") && have("docker")) {
            return None;
        }
        let socket = format!("unix://{}", scratch.join("sock").display());
        let log = File::create(scratch.join("dockerd.log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--bridge=none", "-H", &socket])
            .arg("--data-root")
            .arg(scratch.join("data"))
            .arg("--exec-root")
            .arg(scratch.join("exec"))
            .arg("-p")
            .arg(scratch.join("pid"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Docker { daemon, socket };
        let end = Instant::now() + Duration::from_secs(60);
        while !docker.command(&["version"]).output().unwrap().status.success() {
            let gone = docker.daemon.try_wait().unwrap().is_some();
            if gone || Instant::now() > end {
                let log = std::fs::read_to_string(scratch.join("dockerd.log")).unwrap();
                println!("{log}");
                skip("dockerd", false);
                return None;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Some(docker)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // SIGTERM: it has containerd to stop, and mounts to undo.
        let id = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let end = Instant::now() + Duration::from_secs(30);
        while self.daemon.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > end {
                let _ = self.daemon.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn docker_takes_our_archives_and_we_take_its() {
    let scratch = Scratch::new();
    let Some(docker) = Docker::start(&scratch) else { return };
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let from = store(&scratch, &format!("from-{compression}"));
        let tree = scratch.dir(&format!("tree-{compression}"));
        grow(&tree);
        // Other layers each time, so that Docker does not have them.
        std::fs::write(tree.join("which"), compression.to_string()).unwrap();
        let base = commit_as(&from, &tree, "base:v1", treering::image::Base::Scratch, compression);
        std::fs::write(tree.join("etc/motd"), "changed\n").unwrap();
        std::fs::remove_file(tree.join("empty")).unwrap();
        let on_base = treering::image::Base::Image("base:v1".into());
        let app = commit_as(&from, &tree, "app:v1", on_base, compression);
        let tar = scratch.join(&format!("{compression}.tar"));
        save_file(&from, &["app:v1", "base:v1"], Format::DockerArchive, &tar);
        let loaded = docker.run(&["load", "-i", tar.to_str().unwrap()]);
        assert!(loaded.contains("app:v1") && loaded.contains("base:v1"), "{loaded}");
        let id = docker.run(&["inspect", "--format", "{{.Id}}", "app:v1", "base:v1"]);
        assert_eq!(id, format!("{}\n{}\n", app.image_id, base.image_id), "{compression}");

        let back = scratch.join(&format!("{compression}-back.tar"));
        docker.run(&["save", "-o", back.to_str().unwrap(), "app:v1", "base:v1"]);
        let to = store(&scratch, &format!("to-{compression}"));
        let loaded = load_file(&to, &back);
        let ids: Vec<Digest> = loaded.iter().map(|one| one.image_id).collect();
        assert_eq!(loaded.len(), 2);
        assert!(ids.contains(&app.image_id) && ids.contains(&base.image_id), "{compression}");
        crate::images::same_tree(&from, "app:v1", &to, "app:v1", &scratch);
        // Both of them from a pipe, as most people use them.
        let mut save = docker.command(&["save", "app:v1"]).stdout(Stdio::piped()).spawn().unwrap();
        let piped = store(&scratch, &format!("piped-{compression}"));
        let input = Box::new(save.stdout.take().unwrap());
        let loaded = load(&piped, input, &LoadOptions::default(), &Control::default()).unwrap();
        assert!(save.wait().unwrap().success());
        assert_eq!(loaded[0].image_id, app.image_id);
        docker.run(&["rmi", "app:v1", "base:v1"]);
    }
    // A container's filesystem by Docker's export and import, and by ours.
    let from = store(&scratch, "from-gzip");
    let ours = scratch.join("export.tar");
    let source = treering::archive::ExportSource::Image("app:v1");
    let mut out = File::create(&ours).unwrap();
    treering::archive::export(&from, source, &Default::default(), &mut out, &Control::default()).unwrap();
    docker.run(&["import", ours.to_str().unwrap(), "in:v1"]);
    docker.run(&["create", "--name", "box", "in:v1", "/bin/sh"]);
    let theirs = scratch.join("theirs.tar");
    docker.run(&["export", "-o", theirs.to_str().unwrap(), "box"]);
    let to = store(&scratch, "imported");
    let name = treering::store::Reference::parse("in:v1").unwrap();
    let input = Box::new(File::open(&theirs).unwrap());
    treering::archive::import(&to, input, Some(&name), &Default::default(), &Control::default()).unwrap();
    let path = scratch.join("rootfs");
    treering::image::unpack(&to, "in:v1", &path, &Default::default(), &Control::default()).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("motd")).unwrap(), "changed\n");
    assert_eq!(std::fs::read_link(path.join("link")).unwrap(), Path::new("etc/motd"));
}
