//! Results: one image for several platforms, one layer for several steps, and the same bytes twice.

use std::process::{Command, Output};

use super::*;

fn treering(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
    command.args(["build", "--quiet"]).args(arguments).current_dir(&place.context);
    command.env("TREERING_ROOT", place.scratch.join("store")).output().unwrap()
}

fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = treering(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn several_platforms_make_one_image() {
    let place = Place::new();
    place.write("a", "1");
    let text = "FROM --platform=$BUILDPLATFORM scratch AS tools\nCOPY a /tool\nFROM scratch\nARG TARGETARCH\nCOPY --from=tools /tool /\n\
                COPY <<E /arch\n$TARGETARCH\nE\n";
    let platforms: Vec<treering::image::Platform> =
        ["linux/amd64", "linux/arm64", "linux/arm/v7"].iter().map(|text| text.parse().unwrap()).collect();
    let options = BuildOptions { platforms: platforms.clone(), ..place.options(text) };
    let built = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(built.images.iter().map(|image| image.platform.clone()).collect::<Vec<_>>(), platforms);
    // What is made for the machine that builds is made once.
    assert_eq!((built.cached, built.carried_out), (2, 1 + 3 * 2));
    for (platform, image) in platforms.iter().zip(&built.images) {
        let opened = Image::open(&place.store, "t", Some(platform)).unwrap();
        assert_eq!((opened.platform(), opened.id()), (platform.clone(), &image.image_id));
        assert_eq!(opened.layers().len(), 2);
    }
    let again = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!((again.manifest, again.carried_out), (built.manifest, 0));
    place.write("Dockerfile", text);
    ok(&place, &["--platform", "linux/amd64,linux/arm64", "-o", "out", "."]);
    for architecture in ["amd64", "arm64"] {
        let said =
            std::fs::read_to_string(place.context.join(format!("out/linux_{architecture}/arch"))).unwrap();
        assert_eq!(said, format!("{architecture}\n"));
    }
    let report = place.store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_command_for_another_platform_comes_with_a_note() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    // A program that no kernel runs: the head of one for a machine that there is none of.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\x7f\x01\0\0\0".to_vec();
    elf.resize(128, 0);
    std::fs::write(place.context.join("other"), elf).unwrap();
    let foreign = if cfg!(target_arch = "s390x") { "linux/amd64" } else { "linux/s390x" };
    let (events, seen) = observed();
    let options = BuildOptions {
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        platforms: vec![foreign.parse().unwrap()],
        ..place.options("FROM scratch\nCOPY --chmod=755 other /bin/sh\nRUN true\n")
    };
    let error = build(&place.store, &options, &Control { events, ..Control::default() }).unwrap_err();
    assert!(error.hint().unwrap().to_string().contains("binfmt_misc"), "{error}: {:?}", error.hint());
    let noted = |event: &Event| matches!(event, Event::Warning { message, .. } if message.contains(foreign));
    assert_eq!(seen.lock().unwrap().iter().filter(|event| noted(event)).count(), 1);
}

#[test]
fn a_squashed_image_has_one_layer_of_its_own_and_the_same_files() {
    let place = Place::new();
    place.write("a", "1");
    place.build("FROM scratch\nCOPY a /base\n");
    place.store.tag(&"base".parse().unwrap(), &place.store.entries().unwrap()[0].descriptor).unwrap();
    let text = "FROM base\nENV X=1\nCOPY --chmod=600 --chown=3:4 a /one\nCOPY <<E /two\nE\nWORKDIR /three\n";
    let plain = place.files(text);
    let layers = place.image().layers().len();
    let options = BuildOptions { squash: true, ..place.options(text) };
    let built = build(&place.store, &options, &Control::default()).unwrap();
    let image = place.image();
    assert_eq!((layers, image.layers().len()), (4, 2));
    assert_eq!(place.files_now(), plain);
    let rows = image.config().history();
    let of_this: Vec<bool> = rows.iter().skip(1).map(|row| row.empty_layer).collect();
    assert_eq!(of_this, [true, true, true, true, false], "{rows:?}");
    let again = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!((again.image_id, again.carried_out), (built.image_id, 0));
}

#[test]
fn two_builds_with_an_epoch_give_one_digest_whatever_they_are_written_to() {
    let one = |number: u32| {
        let place = Place::new();
        place.write(
            "Dockerfile",
            "FROM scratch AS a\nCOPY d /d\nFROM scratch\nCOPY --from=a /d /e\nWORKDIR /w\nCMD [\"x\"]\n",
        );
        place.write("d/x", "1");
        std::fs::set_permissions(place.context.join("d/x"), PermissionsExt::from_mode(0o600 | number))
            .unwrap();
        std::fs::set_permissions(place.context.join("d/x"), PermissionsExt::from_mode(0o640)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
        command.args([
            "build",
            "-q",
            "-o",
            "type=oci,dest=image.tar",
            "--iidfile",
            "id",
            "--metadata-file",
            "meta.json",
        ]);
        command.args(["--annotation", "a.b=c", "-t", "named:1", "."]).current_dir(&place.context);
        command.env("TREERING_ROOT", place.scratch.join("store")).env("SOURCE_DATE_EPOCH", "86400");
        assert!(command.status().unwrap().success());
        let read = |name: &str| std::fs::read(place.context.join(name)).unwrap();
        (read("image.tar"), read("id"), read("meta.json"))
    };
    let (first, second) = (one(0), one(4));
    assert!(first == second, "archive, image id and metadata");
    let meta: serde_json::Value = serde_json::from_slice(&first.2).unwrap();
    assert_eq!(meta["containerimage.config.digest"].as_str().unwrap().as_bytes(), first.1);
    assert_eq!(meta["image.name"], "named:1");
    assert_eq!(meta["containerimage.descriptor"]["digest"], meta["containerimage.digest"]);
}

/// As BuildKit's `tar=false`: what is there stays, but for an image of the same name.
#[test]
fn an_image_layout_in_a_directory_takes_more_images() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nARG N\nCOPY a /a\nLABEL n=$N\n");
    place.write("a", &"1".repeat(1000));
    let layout = place.context.join("layout");
    let build = |number: &str, name: &[&str], kind: &str| {
        let output = format!("type={kind},tar=false,dest=layout");
        let argument = format!("N={number}");
        let mut args = vec!["-o", &output, "--build-arg", &argument];
        name.iter().for_each(|name| args.extend(["-t", name]));
        args.push(".");
        ok(&place, &args);
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let names = index["manifests"].as_array().unwrap().iter().map(|image| {
            let name = image["annotations"]["io.containerd.image.name"].as_str().unwrap_or_default();
            let manifest = image["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
            let manifest = std::fs::read(layout.join(manifest)).unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            let config = manifest["config"]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
            let config = std::fs::read(layout.join(config)).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            let number = config["config"]["Labels"]["n"].as_str().unwrap().to_string();
            (name.rsplit('/').next().unwrap().to_string(), number)
        });
        names.collect::<Vec<_>>()
    };
    let pair = |name: &str, number: &str| (name.to_string(), number.to_string());
    assert_eq!(build("1", &["one:1"], "oci"), [pair("one:1", "1")]);
    assert_eq!(build("2", &["two:1"], "oci"), [pair("one:1", "1"), pair("two:1", "2")]);
    assert_eq!(build("3", &["one:1"], "oci"), [pair("two:1", "2"), pair("one:1", "3")]);
    assert_eq!(build("4", &[], "oci").last(), Some(&pair("", "4")));
    assert_eq!(build("4", &[], "oci").len(), 3);
    let all = build("5", &["two:1", "three:1"], "docker");
    assert_eq!(all[2..], [pair("two:1", "5"), pair("three:1", "5")]);
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        let digest = treering::Digest::of(&std::fs::read(&blob).unwrap());
        assert_eq!(blob.file_name().unwrap().to_str().unwrap(), digest.hex());
    }
    assert!(layout.join("oci-layout").is_file() && layout.join("manifest.json").is_file());
    // Builds at the same time lose no image of each other.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (place, build) = (&place, format!("N={number}"));
            scope.spawn(move || {
                let name = format!("at-once:{number}");
                let output = "type=oci,tar=false,dest=layout";
                ok(place, &["-o", output, "--build-arg", &build, "-t", &name, "."]);
            });
        }
    });
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let index = String::from_utf8(index).unwrap();
    assert!((0..8).all(|number| index.contains(&format!("at-once:{number}"))), "{index}");
    // What is no image layout is not written over, and neither is a file.
    std::fs::write(layout.join("index.json"), "{}").unwrap();
    place.write("file", "");
    for (dest, says) in [("layout", "not the index of an image layout"), ("file", "write image layout: file")]
    {
        let out = treering(&place, &["-o", &format!("type=oci,tar=false,dest={dest}"), "."]);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && error.contains(says), "{error}");
    }
    assert_eq!(std::fs::read(layout.join("index.json")).unwrap(), b"{}");
}

#[test]
fn every_kind_of_output_is_written_and_nothing_else_stays() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\nLABEL x=y\n");
    place.write("a", "1");
    for (output, written) in [
        ("type=local,dest=local", "local/a"),
        ("local2", "local2/a"),
        ("type=tar,dest=files.tar", "files.tar"),
        ("type=oci,dest=oci.tar", "oci.tar"),
        ("type=docker,dest=docker.tar", "docker.tar"),
    ] {
        ok(&place, &["-o", output, "."]);
        assert!(std::fs::metadata(place.context.join(written)).unwrap().len() > 0, "{output}");
    }
    assert!(place.store.entries().unwrap().is_empty(), "no image without a name is left");
    let tar = Command::new("tar").args(["tf", "files.tar"]).current_dir(&place.context).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tar.stdout).trim(), "a");
    for archive in ["oci.tar", "docker.tar"] {
        let loaded = Command::new(env!("CARGO_BIN_EXE_treering"))
            .args(["load", "-q", "-i", archive])
            .env("TREERING_ROOT", place.scratch.join(&archive.replace(".tar", "")))
            .current_dir(&place.context)
            .output()
            .unwrap();
        assert!(loaded.status.success(), "{archive}: {}", String::from_utf8_lossy(&loaded.stderr));
    }
    ok(&place, &["-o", "type=image", "-t", "t", "--annotation", "k=v", "."]);
    let image = place.image();
    assert!(image.annotations().any(|(key, value)| (key, value) == ("k", "v")));
    for bad in [
        "type=other,dest=x",
        "type=local",
        "dest=x",
        "type=oci,to=x",
        "type=oci,tar=false",
        "type=local,tar=false,dest=x",
    ] {
        assert_eq!(treering(&place, &["-o", bad, "."]).status.code(), Some(2), "{bad}");
    }
}

/// An archive on standard output is the archive alone, however it was asked for.
#[test]
fn an_archive_on_standard_output_has_nothing_behind_it() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "1");
    for output in ["-", "type=tar", "type=oci", "type=docker", "type=tar,dest=-", "type=oci,tar=true"] {
        for global in [&[][..], &["--json"]] {
            let found = Command::new(env!("CARGO_BIN_EXE_treering"))
                .args(global)
                .args(["build", "-o", output, "."])
                .current_dir(&place.context)
                .env("TREERING_ROOT", place.scratch.join("store"))
                .env("SOURCE_DATE_EPOCH", "1000000000")
                .output()
                .unwrap();
            assert!(found.status.success(), "{output}: {}", String::from_utf8_lossy(&found.stderr));
            assert_eq!(found.stdout.len() % 512, 0, "{output} {global:?}");
            assert!(found.stdout.ends_with(&[0; 1024]), "{output} {global:?}: it ends as a tar does");
        }
    }
    let two = treering(&place, &["-o", "-", "-o", "type=oci", "."]);
    assert_eq!(two.status.code(), Some(2));
}

#[test]
fn several_outputs_are_written_of_one_build() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "1");
    let text = "type=image,\"name=one:1,two:2\",compression=zstd,annotation.k=v,oci-mediatypes=true";
    ok(
        &place,
        &["-o", "out", "-o", "type=oci,dest=o.tar", "-o", text, "-t", "t", "--attest", "type=sbom", "."],
    );
    assert!(place.context.join("out/a").is_file() && place.context.join("o.tar").is_file());
    let names: Vec<String> = place.store.refs().unwrap().iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let image = Image::open(&place.store, "two:2", None).unwrap();
    let media_type = image.layers()[0].descriptor.media_type().to_string();
    assert!(media_type.contains("zstd"), "{media_type}");
    assert!(image.annotations().any(|pair| pair == ("k", "v")));
    assert!(image.index().is_some(), "the SBOM is beside it");
    ok(&place, &["-o", "type=image", "--no-cache=true", "--squash=false", "."]);
    assert_eq!(
        place.store.entries().unwrap().len(),
        4,
        "an image without a name stays where it was asked for"
    );
}

/// As buildx has it: files of the image replace those that are there, and other files stay.
#[test]
fn a_directory_with_files_can_be_written_to() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a b /\nCOPY a /d/e\n");
    place.write("a", "1");
    place.write("b", "2");
    for _ in 0..2 {
        ok(&place, &["-o", "out", "."]);
    }
    let read = |path: &str| std::fs::read_to_string(place.context.join(path)).unwrap();
    std::fs::write(place.context.join("out/mine"), "own").unwrap();
    std::fs::write(place.context.join("out/d/mine"), "own").unwrap();
    std::fs::write(place.context.join("out/b"), "changed").unwrap();
    place.write("a", "3");
    ok(&place, &["-o", "out", "."]);
    assert_eq!(
        ["a", "b", "d/e", "mine", "d/mine"].map(|path| read(&format!("out/{path}"))),
        ["3", "2", "3", "own", "own"]
    );
    // The context itself, and what a link there leads to stays as it is.
    std::fs::remove_dir_all(place.context.join("out")).unwrap();
    std::fs::create_dir(place.scratch.join("outside")).unwrap();
    symlink(place.scratch.join("outside"), place.context.join("d")).unwrap();
    ok(&place, &["-o", ".", "."]);
    assert_eq!((read("a"), read("d/e"), read("Dockerfile").len()), ("3".into(), "3".into(), 36));
    assert_eq!(std::fs::read_dir(place.scratch.join("outside")).unwrap().count(), 0);
}

/// What scripts give to `docker build` is accepted, said to have no effect, or refused with a reason.
#[test]
fn options_of_docker_build_are_accepted() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "1");
    let quiet: &[&[&str]] = &[
        &["--load", "--rm", "--force-rm=false", "--compress"],
        &["--no-cache=false", "--pull=false", "--squash=0"],
        &["--progress=rawjson"],
        &["--progress=none"],
        &["--network", "host"],
        &["--network=none"],
        &["--allow", "network.host", "--allow=security.insecure"],
        &["--isolation=default"],
        &["--attest=type=provenance,mode=max"],
        &["--provenance=false", "--attest=type=sbom,disabled=true"],
        &["--provenance=mode=max,version=v0.2,inline-only=true,reproducible=true"],
        &["--platform", "local"],
        &["--disable-content-trust", "-D"],
        &["--disable-content-trust=false", "--debug"],
    ];
    for arguments in quiet {
        let done = treering(&place, &[*arguments, &["."][..]].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && !said.contains("no effect"), "{arguments:?}: {said}");
    }
    let noted =
        ["-m", "1g", "--cpu-quota=5", "--cpuset-cpus", "0", "--security-opt", "x=y", "--builder=b", "."];
    let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
    command.arg("build").args(noted).current_dir(&place.context);
    let done = command.env("TREERING_ROOT", place.scratch.join("store")).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("no effect")).collect();
    assert!(done.status.success() && lines.len() == 1, "{said}");
    for name in ["--memory", "--cpu-quota", "--cpuset-cpus", "--security-opt", "--builder"] {
        assert!(lines[0].contains(name), "{said}");
    }
    for refused in [
        &["--network=bridge"][..],
        &["--allow=everything"],
        &["--isolation=hyperv"],
        &["--attest=type=other"],
        &["--attest=type=sbom,generator=x"],
        &["--attest=type=provenance,version=v1"],
        &["--provenance=inline-only=false"],
        &["--provenance=filename=x"],
        &["-o", "type=cacheonly,dest=x"],
        &["--no-cache=perhaps"],
        &["--push"],
        &["-o", "type=tar,push=true,dest=x"],
    ] {
        let done = treering(&place, &[refused, &["."]].concat());
        assert_eq!(done.status.code(), Some(2), "{refused:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// As Docker has it: of an option that is there twice, the last counts; a list has both.
#[test]
fn of_an_option_that_is_there_twice_the_last_counts() {
    let place = Place::new();
    place.write("a", "1");
    place.write("one", "FROM scratch AS x\nCOPY a /one\nFROM scratch AS y\nCOPY a /y\n");
    place.write("two", "FROM scratch AS x\nCOPY a /x\nFROM scratch AS y\nCOPY a /y\n");
    let first = place.scratch.join("first").to_str().unwrap().to_string();
    let last = place.scratch.join("last").to_str().unwrap().to_string();
    let id = ok(
        &place,
        &[
            "-f",
            "one",
            "-f",
            "two",
            "--target",
            "y",
            "--target=x",
            "--progress",
            "plain",
            "--progress=quiet",
            "--network=none",
            "--network=host",
            "--no-cache",
            "--no-cache",
            "--quiet",
            "--offline",
            "--offline",
            "--iidfile",
            &first,
            "--iidfile",
            &last,
            "--metadata-file",
            &first,
            "--metadata-file",
            &last,
            "--squash",
            "--squash=false",
            "--provenance",
            "--provenance=false",
            "--sbom",
            "--sbom=false",
            "--check",
            "--check=false",
            "--compression=zstd",
            "--compression=gzip",
            "--jobs=1",
            "--jobs=2",
            "--shm-size=1m",
            "--shm-size=2m",
            "--rm",
            "--rm=false",
            "-m1g",
            "-m2g",
            "--reproducible",
            "--reproducible",
            "-t",
            "t",
            "-t",
            "u",
            "--label",
            "a=1",
            "--label",
            "b=2",
            ".",
        ],
    );
    assert_eq!(place.files_now(), ["f 644 0:0 x"]);
    assert!(id.starts_with("sha256:") && !Path::new(&first).exists());
    assert!(std::fs::read_to_string(&last).unwrap().contains("image.name"), "the last of two files");
    let mut names: Vec<String> = place.store.refs().unwrap().iter().map(|one| one.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["t:latest", "u:latest"]);
}

#[test]
fn a_build_may_leave_nothing_but_its_records() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "1");
    ok(&place, &["-o", "type=cacheonly", "."]);
    assert!(place.store.entries().unwrap().is_empty());
    let built = place.build("FROM scratch\nCOPY a /a\n");
    assert_eq!((built.carried_out, built.cached), (0, 1));
}
