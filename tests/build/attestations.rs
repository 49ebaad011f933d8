//! Attestations of an image: how it was built and what is in it, beside it in an index that everything else looks past.

use std::process::{Command, Output};

use serde_json::Value;
use treering::archive::{Format, LoadOptions, save};
use treering::build::{Provenance, ProvenanceMode};
use treering::image::{OCI_INDEX, OCI_MANIFEST, Platform, UnpackOptions, unpack};

use super::*;

const DPKG: &str = "FROM scratch\nCOPY <<E /var/lib/dpkg/status\nPackage: bash\nStatus: install ok installed\nArchitecture: amd64\n\
                    Version: 5.2-1+b1\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\nE\n\
                    COPY <<E /usr/lib/os-release\nID=debian\nVERSION_ID=\"12\"\nE\n";

fn max() -> Option<Provenance> {
    Some(Provenance { mode: ProvenanceMode::Max, ..Provenance::default() })
}

/// Returns the blob under a digest.
fn document(store: &Store, digest: &str) -> Value {
    let bytes = store.read_blob(&digest.parse().unwrap(), None, 1 << 20).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Returns the entries of an index that are images, and those that are attestations.
fn entries(store: &Store, index: &str) -> (Vec<Value>, Vec<Value>) {
    let index = document(store, index);
    assert_eq!(index["mediaType"], OCI_INDEX);
    let list = index["manifests"].as_array().unwrap().clone();
    list.into_iter().partition(|entry| entry["annotations"].is_null())
}

/// Returns the predicates of an attestation, by type.
fn predicates(store: &Store, entry: &Value) -> BTreeMap<String, Value> {
    let manifest = document(store, entry["digest"].as_str().unwrap());
    let layers = manifest["layers"].as_array().unwrap();
    let one = |layer: &Value| {
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let said = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_string();
        let statement = document(store, layer["digest"].as_str().unwrap());
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v0.1");
        assert_eq!(statement["predicateType"], said);
        let about = statement["subject"][0]["digest"]["sha256"].as_str().unwrap().to_string();
        assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], format!("sha256:{about}"));
        (said, statement["predicate"].clone())
    };
    layers.iter().map(one).collect()
}

/// Returns the one image's predicates of a build.
pub fn attested(place: &Place, options: &BuildOptions) -> (Built, Value, Value) {
    let built = build(&place.store, options, &Control::default()).unwrap();
    let (images, others) = entries(&place.store, &built.manifest.to_string());
    assert_eq!((images.len(), others.len()), (1, 1));
    let mut found = predicates(&place.store, &others[0]);
    let spdx = found.remove("https://spdx.dev/Document").unwrap_or_default();
    let slsa = found.remove("https://slsa.dev/provenance/v0.2").unwrap_or_default();
    assert!(found.is_empty(), "{found:?}");
    (built, slsa, spdx)
}

fn treering(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
    command.args(arguments).current_dir(&place.context).env("SOURCE_DATE_EPOCH", "86400");
    command.env("TREERING_ROOT", place.scratch.join("store")).output().unwrap()
}

fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = treering(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn an_index_has_the_image_and_what_is_attested_of_it() {
    let place = Place::new();
    place.write("a", "1");
    let plain = place.build(DPKG);
    assert_eq!(
        document(&place.store, &plain.manifest.to_string())["mediaType"],
        OCI_MANIFEST,
        "by default none"
    );
    place.store.tag(&"base:7".parse().unwrap(), &place.store.entries().unwrap()[0].descriptor).unwrap();
    let options = BuildOptions {
        provenance: Some(Provenance {
            builder_id: "https://ci.example/b".into(),
            reproducible: true,
            ..max().unwrap()
        }),
        sbom: true,
        build_args: vec![
            ("V".into(), "shown".into()),
            ("HTTP_PROXY".into(), "http://me:pw@p.example".into()),
        ],
        labels: vec![("l".into(), "m".into())],
        ..place.options("FROM base:7\nARG V\nCOPY a /a\nENV W=$V\n")
    };
    let (built, slsa, spdx) = attested(&place, &options);
    let (images, others) = entries(&place.store, &built.manifest.to_string());
    let host = Platform::host();
    assert_eq!(images[0]["digest"], built.images[0].manifest.to_string());
    assert_eq!(images[0]["platform"]["architecture"], host.architecture);
    let entry = &others[0];
    assert_eq!(entry["mediaType"], OCI_MANIFEST);
    assert_eq!(entry["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
    let expected = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": built.images[0].manifest.to_string(),
    });
    assert_eq!(entry["annotations"], expected);
    let manifest = document(&place.store, entry["digest"].as_str().unwrap());
    let config = document(&place.store, manifest["config"]["digest"].as_str().unwrap());
    let digests: Vec<&Value> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(digests));
    assert_eq!((&config["os"], &config["architecture"]), (&json!("unknown"), &json!("unknown")));

    assert_eq!(slsa["builder"]["id"], "https://ci.example/b");
    assert_eq!(slsa["metadata"]["reproducible"], true);
    assert_eq!(slsa["buildType"], format!("{}/build@v1", env!("CARGO_PKG_REPOSITORY")));
    let platform = host.to_string().replace('/', "%2F");
    let base = json!([{
        "uri": format!("pkg:docker/base@7?platform={platform}"), "digest": { "sha256": plain.manifest.hex() },
    }]);
    assert_eq!(slsa["materials"], base);
    let parameters = &slsa["invocation"]["parameters"];
    assert_eq!(parameters["args"], json!({ "build-arg:V": "shown", "label:l": "m" }), "and no proxy");
    assert_eq!(slsa["invocation"]["configSource"], json!({ "entryPoint": "Dockerfile" }));
    let steps = slsa["buildConfig"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["instruction"] == "ENV W=shown"), "{steps:?}");

    assert_eq!((&spdx["spdxVersion"], &spdx["SPDXID"]), (&json!("SPDX-2.3"), &json!("SPDXRef-DOCUMENT")));
    let packages = spdx["packages"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t", "bash"], "what is not installed is none");
    assert_eq!(packages[1]["versionInfo"], "5.2-1+b1");
    let purl = &packages[1]["externalRefs"][0]["referenceLocator"];
    assert_eq!(purl, "pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-12");
    let ids: Vec<&Value> = packages.iter().map(|package| &package["SPDXID"]).collect();
    let relations = spdx["relationships"].as_array().unwrap();
    assert_eq!(relations.len(), 2);
    assert!(relations.iter().all(|one| ids.contains(&&one["relatedSpdxElement"])), "{relations:?}");
    assert!(spdx["files"].is_null());
}

#[test]
fn without_a_database_the_files_are_listed_and_apk_has_one() {
    let place = Place::new();
    place.write("a", "1");
    let of = |text: &str| attested(&place, &BuildOptions { sbom: true, ..place.options(text) }).2;
    let spdx = of("FROM scratch\nCOPY a /d/a\nCOPY <<E /empty\nE\n");
    let one = &spdx["files"][0];
    assert_eq!(one["fileName"], "./d/a");
    let digest = treering::Digest::of(b"1");
    // `printf 1 | sha1sum`.
    let sha1 = "356a192b7913b04c54574d18c28d46e6395428ab";
    let expected = json!([
        { "algorithm": "SHA1", "checksumValue": sha1 }, { "algorithm": "SHA256", "checksumValue": digest.hex() },
    ]);
    assert_eq!(one["checksums"], expected);
    let empty = &spdx["files"][1]["checksums"][0]["checksumValue"];
    assert_eq!(empty, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_eq!(spdx["files"].as_array().unwrap().len(), 2);
    let spdx =
        of("FROM scratch\nCOPY <<E /lib/apk/db/installed\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT AND Odd\nE\n");
    let purl = &spdx["packages"][1]["externalRefs"][0]["referenceLocator"];
    assert_eq!(purl, "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64");
    assert_eq!(spdx["packages"][1]["licenseDeclared"], "MIT AND LicenseRef-Odd");
    assert_eq!(spdx["hasExtractedLicensingInfos"][0]["licenseId"], "LicenseRef-Odd");
    assert!(spdx["files"].is_null());
}

#[test]
fn licences_and_the_packages_of_languages_are_listed() {
    let place = Place::new();
    let text = format!(
        "{DPKG}COPY <<E /usr/share/doc/bash/copyright\nFormat: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         \nFiles: *\nLicense: GPL-3+\n\nFiles: a\nLicense: Expat\nE\n\
         COPY <<E /usr/lib/python3/dist-packages/Some_Thing-1.0.dist-info/METADATA\nName: Some_Thing\nVersion: 1.0\nLicense: my own words\nE\n\
         COPY <<E /app/node_modules/@a/b/package.json\n{{ \"version\": \"2.0.0\", \"license\": \"(MIT OR Apache-2.0)\" }}\nE\n\
         COPY <<E /app/node_modules/broken/package.json\n{{\nE\n"
    );
    let spdx = attested(&place, &BuildOptions { sbom: true, ..place.options(&text) }).2;
    let listed: Vec<String> = spdx["packages"].as_array().unwrap()[1..]
        .iter()
        .map(|one| {
            let text = |value: &Value| value.as_str().unwrap().to_string();
            let purl = text(&one["externalRefs"][0]["referenceLocator"]);
            format!("{purl} {}", text(&one["licenseDeclared"]))
        })
        .collect();
    assert_eq!(
        listed,
        [
            "pkg:npm/%40a/b@2.0.0 (MIT OR Apache-2.0)",
            "pkg:pypi/some-thing@1.0 LicenseRef-my-own-words",
            "pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-12 GPL-3.0-or-later AND MIT",
        ]
    );
    assert_eq!(spdx["hasExtractedLicensingInfos"].as_array().unwrap().len(), 1);
}

/// Returns the names of the subjects of the lists of packages, with the packages.
fn scanned(place: &Place, text: &str, args: &[(&str, &str)]) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (events, seen) = observed();
    let options = BuildOptions {
        sbom: true,
        build_args: args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ..place.options(text)
    };
    let built = build(&place.store, &options, &Control { events, ..Control::default() }).unwrap();
    let (_, others) = entries(&place.store, &built.manifest.to_string());
    let manifest = document(&place.store, others[0]["digest"].as_str().unwrap());
    let one = |layer: &Value| {
        assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], "https://spdx.dev/Document");
        let statement = document(&place.store, layer["digest"].as_str().unwrap());
        assert_eq!(statement["subject"][0]["digest"]["sha256"], built.images[0].manifest.hex().to_string());
        let packages = statement["predicate"]["packages"].as_array().unwrap();
        let mut names = packages.iter().map(|one| one["name"].as_str().unwrap().to_string());
        (names.next().unwrap(), names.collect())
    };
    let found = manifest["layers"].as_array().unwrap().iter().map(one).collect();
    let seen = seen.lock().unwrap();
    let warnings = seen.iter().filter_map(|event| match event {
        Event::Warning { message, .. } => Some(message.clone()),
        _ => None,
    });
    (found, warnings.collect())
}

#[test]
fn stages_that_an_argument_names_have_a_list_of_their_own() {
    let place = Place::new();
    place.write("a", "1");
    let stage = |arg: &str| {
        let dpkg = DPKG.replace("FROM scratch", "FROM scratch AS tools");
        format!(
            "{dpkg}{arg}FROM scratch\nCOPY --from=tools /usr /usr\nFROM scratch AS empty\nFROM scratch AS last\nCOPY --from=1 /usr /usr\nCOPY a /a\n"
        )
    };
    const NAME: &str = "BUILDKIT_SBOM_SCAN_STAGE";
    let image = ("t".to_string(), Vec::new());
    let tools = ("tools".to_string(), vec!["bash".to_string()]);
    let second = ("stage-1".to_string(), Vec::new());
    let plain = scanned(&place, &stage(""), &[]);
    assert_eq!(plain, (vec![image.clone()], vec![]));
    let all = vec![image.clone(), tools.clone(), second.clone()];
    let declared = format!("ARG {NAME}=true\n{}", stage(""));
    let in_stage = stage(&format!("ARG {NAME}\n"));
    for (text, args, expected) in [
        (&declared, &[][..], all.clone()),
        (&declared, &[(NAME, "false")], vec![image.clone()]),
        (&declared, &[(NAME, "x,Tools")], vec![image.clone(), tools.clone()]),
        (&stage(""), &[(NAME, "1")], all.clone()),
        (&stage(""), &[(NAME, "stage-1,last")], vec![image.clone(), second]),
        (
            &in_stage.replace(&format!("ARG {NAME}"), &format!("ARG {NAME}=true")),
            &[],
            vec![image.clone(), tools],
        ),
    ] {
        assert_eq!(scanned(&place, text, args), (expected, vec![]), "{args:?}: {text}");
    }
    // What is not done is said, where an SBOM is asked for.
    const CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
    let declared = format!("ARG {CONTEXT}=true\nFROM scratch\nCOPY a /a\n");
    for (text, args, warned) in [
        (&declared, &[][..], true),
        (&declared, &[(CONTEXT, "0")], false),
        (&stage(""), &[(CONTEXT, "true")], true),
    ] {
        let (_, warnings) = scanned(&place, text, args);
        assert_eq!(
            warnings.iter().filter(|text| text.contains(CONTEXT)).count(),
            usize::from(warned),
            "{args:?}"
        );
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
    }
}

#[test]
fn two_builds_with_an_epoch_attest_the_same_and_a_rebuild_writes_nothing() {
    let one = || {
        let place = Place::new();
        place.write("a", "1");
        let options = BuildOptions {
            provenance: max(),
            sbom: true,
            source_date_epoch: Some(86_400),
            ..place.options(&format!("{DPKG}COPY a /a\n"))
        };
        let (built, slsa, spdx) = attested(&place, &options);
        assert_eq!(slsa["metadata"]["buildFinishedOn"], "1970-01-02T00:00:00Z");
        assert_eq!(spdx["creationInfo"]["created"], "1970-01-02T00:00:00Z");
        let again = build(&place.store, &options, &Control::default()).unwrap();
        assert_eq!((again.manifest, again.carried_out), (built.manifest, 0));
        built.manifest
    };
    assert_eq!(one(), one());
    // Without an epoch the time is that of the steps, which the cache has.
    let place = Place::new();
    let options = BuildOptions { provenance: max(), sbom: true, ..place.options(DPKG) };
    let first = build(&place.store, &options, &Control::default()).unwrap();
    let again = build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!((again.manifest, again.carried_out), (first.manifest, 0));
}

#[test]
fn the_least_provenance_has_no_arguments() {
    let place = Place::new();
    let options = BuildOptions {
        provenance: Some(Provenance::default()),
        build_args: vec![("V".into(), "not-for-all".into())],
        target: Some("one".into()),
        ..place.options("FROM scratch AS one\nARG V\nENV A=b\n")
    };
    let (_, slsa, spdx) = attested(&place, &options);
    assert!(spdx.is_null());
    assert_eq!(slsa["invocation"]["parameters"]["args"], json!({ "target": "one" }));
    assert!(slsa["buildConfig"].is_null() && !slsa.to_string().contains("not-for-all"), "{slsa}");
}

#[cfg(feature = "sandbox")]
#[test]
fn secrets_are_named_and_never_shown() {
    use treering::build::{Secret, SecretSource};
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let value = "s3cr3t-v4lu3";
    let options = BuildOptions {
        helper: Some(support::program().into()),
        provenance: max(),
        sbom: true,
        secrets: vec![Secret { id: "key".into(), source: SecretSource::Value(value.into()) }],
        ..place.options(&format!(
            "{SHELL}ARG K=ey\nRUN --mount=type=secret,id=k$K,env=KEY,required test -n \"$KEY\"\n"
        ))
    };
    let (_, slsa, _) = attested(&place, &options);
    let parameters = &slsa["invocation"]["parameters"];
    assert_eq!(parameters["secrets"], json!([{ "id": "key", "optional": false }]));
    let found = Command::new("grep").args(["-ra", value]).arg(place.scratch.join("store")).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn each_platform_has_its_own_and_the_image_is_what_is_opened_unpacked_and_saved() {
    let place = Place::new();
    place.write("a", "1");
    let platforms: Vec<Platform> =
        ["linux/amd64", "linux/arm64"].iter().map(|text| text.parse().unwrap()).collect();
    let options = BuildOptions {
        platforms: platforms.clone(),
        provenance: max(),
        sbom: true,
        ..place.options("FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n")
    };
    let built = build(&place.store, &options, &Control::default()).unwrap();
    let (images, others) = entries(&place.store, &built.manifest.to_string());
    assert_eq!((images.len(), others.len()), (2, 2));
    let elsewhere = Store::open(place.scratch.join("elsewhere")).unwrap();
    let mut archive = Vec::new();
    save(&place.store, &["t".into()], Format::OciArchive, &mut archive, &Control::default()).unwrap();
    let options = LoadOptions::default();
    let loaded = treering::archive::load(
        &elsewhere,
        Box::new(std::io::Cursor::new(archive)),
        &options,
        &Control::default(),
    )
    .unwrap();
    assert!(built.images.iter().any(|image| image.image_id == loaded[0].image_id), "{loaded:?}");
    assert_eq!(entries(&elsewhere, &built.manifest.to_string()), (images, others.clone()));
    for store in [&place.store, &elsewhere] {
        for (at, (platform, image)) in platforms.iter().zip(&built.images).enumerate() {
            let about = &others[at]["annotations"]["vnd.docker.reference.digest"];
            assert_eq!(about, &image.manifest.to_string());
            predicates(store, &others[at]);
            let opened = Image::open(store, "t", Some(platform)).unwrap();
            assert_eq!(opened.digest(), &image.manifest);
            let out = place.scratch.join("out").join(format!("{at}"));
            let _ = std::fs::remove_dir_all(&out);
            let options = UnpackOptions { platform: Some(platform.clone()), ..UnpackOptions::default() };
            unpack(store, "t", &out, &options, &Control::default()).unwrap();
            assert!(out.join(&platform.architecture).exists());
        }
        let error = Image::open(store, "t", Some(&"linux/s390x".parse().unwrap())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let hint = error.hint().unwrap().to_string();
        assert!(!hint.contains("unknown"), "{hint}");
        // They stay as long as the image does.
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        let report = store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
    }
}

#[test]
fn the_command_attests_and_writes_what_it_is_asked_for() {
    let place = Place::new();
    place.write("a", "1");
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    let build =
        ["build", "-q", "--provenance=mode=max", "--sbom", "--metadata-file", "meta", "-t", "app:1", "."];
    ok(&place, &build);
    let meta: Value = serde_json::from_slice(&std::fs::read(place.context.join("meta")).unwrap()).unwrap();
    assert_eq!(meta["containerimage.descriptor"]["mediaType"], OCI_INDEX);
    let (_, others) = entries(&place.store, meta["containerimage.digest"].as_str().unwrap());
    assert_eq!(predicates(&place.store, &others[0]).len(), 2);
    let images = ok(&place, &["images"]);
    assert_eq!(images.lines().count(), 2, "one line for the image: {images}");
    assert!(ok(&place, &["ls", "app:1"]).contains('a'));
    // An image for another machine is what is written, too.
    let foreign = if Platform::host().architecture == "arm64" { "linux/amd64" } else { "linux/arm64" };
    for output in [
        "type=local,dest=out",
        "type=tar,dest=out.tar",
        "type=docker,dest=docker.tar",
        "type=oci,dest=oci.tar",
    ] {
        ok(&place, &["build", "-q", "--provenance", "--sbom=true", "--platform", foreign, "-o", output, "."]);
    }
    assert!(place.context.join("out/a").exists());
    for archive in ["docker.tar", "oci.tar"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
        command.args(["load", "-q", "-i", archive]).current_dir(&place.context);
        let loaded = command.env("TREERING_ROOT", place.scratch.join(archive)).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    }
    ok(
        &place,
        &["build", "-q", "--provenance=false", "--sbom=false", "--metadata-file", "meta", "-t", "app:2", "."],
    );
    let meta: Value = serde_json::from_slice(&std::fs::read(place.context.join("meta")).unwrap()).unwrap();
    assert_eq!(meta["containerimage.descriptor"]["mediaType"], OCI_MANIFEST);
    let refused = treering(&place, &["build", "--provenance=mode=most", "."]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}
