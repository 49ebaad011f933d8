//! Build caches that runners share: through a registry, a directory, or the image itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use treering::build::{BuildOptions, Built, ContextSource, DockerfileSource, build};
use treering::image::Image;
use treering::registry::{PushOptions, push};
use treering::store::FsckLevel;
use treering::{Control, Digest, Error, ErrorKind, Event, Events};

use crate::debian::{Debian, Setup};
use crate::fake::{Act, Answer, Fake};
use crate::world::World;
use support::sh;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const RECORD: &str = "io.github.treering.build-cache.record";
const LIST: &str = "io.github.treering.build-cache.records";
/// The tag of the list of records, behind the tag of the cache.
const ZEROS: &str = "-0000000000000000000000000000000000000000";

/// Two stages: what the first one has and the image has not, need not travel.
const TEXT: &str = "FROM scratch AS tools\nCOPY large /large\nCOPY src /src\n\
    FROM scratch\nENV A=1\nCOPY --from=tools /src /app\nCOPY conf /conf\nWORKDIR /work\nLABEL b=2\n";
/// How many of its steps may have layers.
const STEPS: u64 = 5;

/// Returns a machine with an empty store and the files.
fn runner() -> World {
    let world = World::new();
    sh(
        world.scratch.path(),
        "mkdir -p context/src; cd context; yes 1 | head -c 3000000 >large; echo code >src/main; echo c >conf; chmod -R u=rwX,go=rX .",
    );
    world
}

fn options(world: &World, text: &str, from: &[&str], to: &[&str]) -> BuildOptions {
    BuildOptions {
        context: ContextSource::Directory(world.scratch.join("context")),
        dockerfile: DockerfileSource::Text(text.into()),
        tags: vec!["app".into()],
        registries: Some(world.registries("")),
        cache_from: from.iter().map(|text| text.parse().unwrap()).collect(),
        cache_to: to.iter().map(|text| text.parse().unwrap()).collect(),
        #[cfg(feature = "sandbox")]
        helper: Some(support::program().into()),
        ..BuildOptions::default()
    }
}

fn try_build(world: &World, from: &[&str], to: &[&str]) -> Result<Built, Error> {
    build(&world.store, &options(world, TEXT, from, to), &world.control)
}

#[track_caller]
fn built(world: &World, from: &[&str], to: &[&str]) -> Built {
    try_build(world, from, to).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()))
}

fn blobs(world: &World) -> BTreeSet<String> {
    let dir = world.scratch.join("store/oci/blobs/sha256");
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn sound(world: &World) {
    let report = world.store.fsck(FsckLevel::Bytes, &world.control).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

/// Returns the layers of an image, by digest.
fn layers(world: &World) -> Vec<Digest> {
    Image::open(&world.store, "app", None).unwrap().layers().iter().map(|layer| layer.digest).collect()
}

#[test]
fn a_second_runner_builds_nothing_and_fetches_what_the_image_needs() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={},mode=max", fake.name("team/app:cache"));
    let one = runner();
    let first = built(&one, &[], &[&cache]);
    assert_eq!((first.cached, first.carried_out), (0, STEPS));
    let from = fake.name("team/app:cache");
    let two = runner();
    fake.rule(|_| None);
    let second = built(&two, &[&from], &[]);
    assert_eq!((second.cached, second.carried_out), (STEPS, 0));
    assert_eq!((second.image_id, second.manifest), (first.image_id, first.manifest));
    sound(&two);
    // The image's own blobs, and nothing of the stage that is only copied from.
    let own = layers(&two).len() + 2;
    assert_eq!(blobs(&two).len(), own);
    assert!(blobs(&one).len() > own);
    let log = fake.log();
    let gets = log.iter().filter(|seen| seen.is("GET", "/blobs/")).count();
    assert_eq!(gets, own - 2, "each layer once");
    // One request finds all steps.
    let lookups: Vec<&str> =
        log.iter().filter(|seen| seen.is("GET", "/manifests/")).map(|seen| seen.target.as_str()).collect();
    assert_eq!(lookups, [format!("/v2/team/app/manifests/cache{ZEROS}")]);
    // Without the list it is one for each step, with and without a layer, one for the copy's source, one for the list and one for an
    // image with records inline.
    let list = ("team/app".to_string(), format!("cache{ZEROS}"));
    let kept = fake.with(|state| state.manifests.remove(&list).unwrap());
    fake.rule(|_| None);
    assert_eq!(built(&runner(), &[&from], &[]).image_id, first.image_id);
    let lookups = fake.log().iter().filter(|seen| seen.is("GET", "/manifests/")).count();
    assert!(lookups <= STEPS as usize + 2 + 3, "{lookups}");
    fake.with(|state| state.manifests.insert(list, kept));

    // Once more, and nothing is asked for the image's own steps.
    fake.rule(|_| None);
    let again = built(&two, &[&from], &[]);
    assert_eq!((again.carried_out, again.image_id), (0, first.image_id));
    assert!(!fake.log().iter().any(|seen| seen.is("GET", "/blobs/")));

    // What changed is carried out, with the layers that it stands on.
    let three = runner();
    sh(three.scratch.path(), "echo changed >context/conf");
    let third = built(&three, &[&from], &[&cache]);
    assert_eq!((third.cached, third.carried_out), (3, 2));
    sound(&three);
    assert_eq!(layers(&three)[0], layers(&one)[0]);
    let four = runner();
    sh(four.scratch.path(), "echo changed >context/conf");
    assert_eq!(built(&four, &[&from], &[]).image_id, third.image_id);
    assert_eq!(
        built(&runner(), &[&from], &[]).image_id,
        first.image_id,
        "the others' records are as they were"
    );
}

/// What a first lookup would ask for is on its way before it: an empty store has no answer of its own.
#[test]
fn an_empty_store_asks_before_the_first_step_is_looked_up() {
    let fake = Arc::new(Fake::start());
    let cache = fake.name("app:cache");
    let one = runner();
    let text = "FROM scratch\nCOPY large /large\nCOPY src /src\n";
    let to = format!("type=registry,ref={cache}");
    build(&one.store, &options(&one, text, &[], &[&to]), &one.control).unwrap();
    let two = runner();
    fake.rule(|_| None);
    let asked: Arc<Mutex<Option<bool>>> = Arc::default();
    let (seen, registry) = (asked.clone(), fake.clone());
    // The first step begins: its files are not read yet, so it cannot have been looked up.
    let events = Events::observed(Arc::new(move |event: &Event| {
        let mut seen = seen.lock().unwrap();
        if !matches!(event, Event::Started { text, .. } if text.contains("COPY large")) || seen.is_some() {
            return;
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let is_asked = || registry.log().iter().any(|seen| seen.is("GET", ZEROS));
        while !is_asked() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        *seen = Some(is_asked());
    }));
    let control = Control { events, ..Control::default() };
    let again = build(&two.store, &options(&two, text, &[&cache], &[]), &control).unwrap();
    assert_eq!((again.carried_out, *asked.lock().unwrap()), (0, Some(true)));
    // A store that has records is asked first.
    fake.rule(|_| None);
    build(&two.store, &options(&two, text, &[&cache], &[]), &two.control).unwrap();
    let log: Vec<String> = fake.log().into_iter().map(|seen| seen.target).collect();
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn without_mode_max_only_the_images_own_steps_travel() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={}", fake.name("app:c"));
    let one = runner();
    let first = built(&one, &[], &[&cache]);
    let tags = fake.with(|state| state.manifests.keys().filter(|(_, tag)| tag.starts_with("c-")).count());
    assert_eq!(tags, 3 + 2 + 1 + 1, "steps, rows, the source of a copy, and the list of them all");
    let second = built(&runner(), &[&cache.replace(",mode=min", "")], &[]);
    assert_eq!((second.cached, second.carried_out), (3, 2));
    assert_eq!(second.image_id, first.image_id);
    // What is there already is not sent again.
    fake.rule(|_| None);
    built(&one, &[], &[&cache]);
    assert!(fake.log().iter().all(|seen| seen.method == "GET"), "{:#?}", fake.log());
}

#[test]
fn records_inline_leave_the_image_id_alone() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let (one, name) = (runner(), registry.name("team/app:v1"));
    let plain = built(&one, &[], &[]);
    let inline = built(&one, &[], &["type=inline"]);
    assert_eq!((inline.image_id, inline.carried_out), (plain.image_id, 0));
    assert_ne!(inline.manifest, plain.manifest);
    push(&one.store, &one.registries(""), "app", &name, &PushOptions::default(), &one.control).unwrap();
    let two = runner();
    let second = built(&two, &[&name], &[]);
    assert_eq!((second.cached, second.carried_out, second.image_id), (3, 2, plain.image_id));
    sound(&two);
}

#[test]
fn a_directory_carries_a_cache_from_store_to_store() {
    let one = runner();
    let directory = one.scratch.join("cache");
    let to = format!("type=local,dest={},mode=max", directory.display());
    let from = format!("type=local,src={}", directory.display());
    let first = built(&one, &[&from], &[&to]);
    assert_eq!(first.carried_out, STEPS, "a cache that is not there yet is none");
    built(&one, &[&from], &[&to]);
    let two = runner();
    let second = built(&two, &[&from], &[]);
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
    sound(&two);
    // A layer that is not what its name says is an error, and no image comes of it.
    for layer in layers(&one) {
        std::fs::write(directory.join("blobs/sha256").join(layer.hex()), "other").unwrap();
    }
    let three = runner();
    assert_eq!(try_build(&three, &[&from], &[]).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(three.store.refs().unwrap().is_empty());
    // One that is gone is made again; what there is else is of use.
    std::fs::remove_file(directory.join("blobs/sha256").join(layers(&one)[0].hex())).unwrap();
    for layer in &layers(&one)[1..] {
        let bytes = one.store.read_blob(layer, None, u64::MAX).unwrap();
        std::fs::write(directory.join("blobs/sha256").join(layer.hex()), bytes).unwrap();
    }
    let again = built(&three, &[&from], &[&to]);
    assert_eq!(layers(&three).len(), layers(&one).len());
    assert!(again.carried_out >= 1 && again.carried_out < STEPS, "{}", again.carried_out);
    sound(&three);
    assert_eq!(built(&runner(), &[&from], &[]).carried_out, 0, "and is in the directory again");
    // A directory of something else is left alone.
    let other = one.scratch.join("context");
    let to = format!("type=local,dest={}", other.display());
    let error = try_build(&one, &[], &[&to]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(!other.join("blobs").exists() && !other.join("oci-layout").exists());
}

#[test]
fn a_cache_in_a_directory_is_an_image_layout_and_moves_to_a_registry() {
    let one = runner();
    let directory = one.scratch.join("cache");
    let to = format!("type=local,dest={},mode=max", directory.display());
    let first = built(&one, &[], &[&to]);
    let index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert!(entries.len() as u64 >= STEPS);
    // Written by hand into a registry it is the cache that a registry has.
    let fake = Fake::start();
    let read = |digest: &str| {
        std::fs::read(directory.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())).unwrap()
    };
    for entry in entries {
        let manifest = read(entry["digest"].as_str().unwrap());
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(parsed["artifactType"], "application/vnd.treering.build-cache.v1+json");
        for blob in parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]) {
            fake.blob("app", &read(blob["digest"].as_str().unwrap()));
        }
        let tag = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        assert!(tag.starts_with("buildcache-"), "{tag}");
        fake.manifest("app", tag, OCI, &manifest);
    }
    let two = runner();
    let second = built(&two, &[&fake.name("app")], &[]);
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
    sound(&two);
}

#[test]
fn a_hostile_directory_is_of_no_use_and_leads_nowhere() {
    let one = runner();
    let directory = one.scratch.join("cache");
    let to = format!("type=local,dest={},mode=max", directory.display());
    let from = format!("type=local,src={}", directory.display());
    built(&one, &[], &[&to]);
    sh(one.scratch.path(), "cp -a cache good; cp good/index.json outside");
    let cases = [
        ("an index without an end", "truncate -s 20M index.json"),
        ("an index that is a pipe", "rm index.json; mkfifo index.json"),
        ("an index elsewhere", "ln -sf ../outside index.json"),
        ("an index that is none", "echo '{\"schemaVersion\":2}' >index.json"),
        (
            "manifests of other bytes",
            "for f in $(grep -l vnd.treering blobs/sha256/*); do echo ' ' >>$f; done",
        ),
        (
            "manifests elsewhere",
            "mkdir ../out; for f in $(grep -l vnd.treering blobs/sha256/*); do mv $f ../out; ln -s $PWD/../out/${f##*/} $f; done",
        ),
        ("everything elsewhere", "rm -rf ../out; mv blobs ../out; ln -s ../out blobs"),
        ("nothing", "rm -rf blobs"),
    ];
    for (what, change) in cases {
        sh(one.scratch.path(), &format!("rm -rf cache out; cp -a good cache; cd cache; {change}"));
        let world = runner();
        let again = built(&world, &[&from], &[]);
        assert_eq!(again.carried_out, STEPS, "{what}");
        sound(&world);
    }
}

#[test]
fn writers_of_one_directory_take_turns() {
    let scratch = World::new();
    let directory = scratch.scratch.join("cache");
    let to = format!("type=local,dest={},mode=max", directory.display());
    let from = format!("type=local,src={}", directory.display());
    let runners: Vec<World> = (0..3).map(|_| runner()).collect();
    std::thread::scope(|scope| {
        for (at, world) in runners.iter().enumerate() {
            let to = &to;
            scope.spawn(move || {
                sh(world.scratch.path(), &format!("echo {at} >context/conf"));
                built(world, &[], &[to]);
            });
        }
    });
    for at in 0..runners.len() {
        let world = runner();
        sh(world.scratch.path(), &format!("echo {at} >context/conf"));
        assert_eq!(built(&world, &[&from], &[]).carried_out, 0, "{at}");
    }
}

#[test]
fn a_layer_that_the_registry_lost_is_made_again() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={},mode=max", fake.name("app:c"));
    let one = runner();
    built(&one, &[], &[&cache]);
    let lost = layers(&one)[0].to_string();
    fake.with(|state| state.blobs.retain(|(_, digest), _| *digest != lost));
    let two = runner();
    let control = Control { events: Events::queue(1 << 20), ..Control::default() };
    let again = build(&two.store, &options(&two, TEXT, &[&fake.name("app:c")], &[]), &control).unwrap();
    assert_eq!(layers(&two).len(), layers(&one).len());
    assert!(again.carried_out >= 1 && again.carried_out < STEPS, "{}", again.carried_out);
    let warned = std::iter::from_fn(|| control.events.poll())
        .any(|event| matches!(event, Event::Warning { message, .. } if message.contains("lacks a layer")));
    assert!(warned);
    sound(&two);
}

#[test]
fn runners_that_write_at_the_same_time_lose_nothing() {
    let Some(registry) = Debian::start(Setup { passwords: true, ..Setup::default() }) else { return };
    let reference = registry.name("app:cache");
    let (to, host) = (format!("type=registry,ref={reference},mode=max"), registry.name(""));
    let runners: Vec<World> = (0..3).map(|_| runner()).collect();
    std::thread::scope(|scope| {
        let builds: Vec<_> = runners
            .iter()
            .enumerate()
            .map(|(at, world)| {
                let (to, host) = (&to, &host);
                scope.spawn(move || {
                    let credential = treering::registry::Credential::basic("user", "secret");
                    treering::registry::login(&world.registries(""), host, &credential, &world.control)
                        .unwrap();
                    sh(world.scratch.path(), &format!("echo {at} >context/conf"));
                    built(world, &[], &[to])
                })
            })
            .collect();
        for build in builds {
            assert_eq!(build.join().unwrap().carried_out, STEPS);
        }
    });
    for at in 0..runners.len() {
        let world = runner();
        std::fs::copy(runners[0].scratch.join("auth.json"), world.scratch.join("auth.json")).unwrap();
        sh(world.scratch.path(), &format!("echo {at} >context/conf"));
        let again = built(&world, &[&reference], &[]);
        assert_eq!(again.carried_out, 0);
        sound(&world);
    }
}

/// Changes every record in the registry: the list of them, or each by itself. The others are taken away.
fn poison(fake: &Fake, repository: &str, listed: bool, change: impl Fn(&mut Value)) {
    let manifests = fake.with(|state| state.manifests.clone());
    for ((_, tag), (_, bytes)) in manifests.iter().filter(|((_, tag), _)| tag.starts_with("c-")) {
        if tag.ends_with(ZEROS) != listed {
            fake.with(|state| state.manifests.remove(&(repository.to_string(), tag.clone())));
            continue;
        }
        let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut manifest);
        fake.manifest(repository, tag, OCI, manifest.to_string().as_bytes());
    }
}

/// Changes what is in the annotation of a record with a layer, or of a list with such records.
fn in_record(change: impl Fn(&mut Value)) -> impl Fn(&mut Value) {
    move |manifest| {
        let name = annotation(manifest);
        let text = manifest["annotations"][name].as_str().unwrap().to_string();
        let mut found: Value = serde_json::from_str(&text).unwrap();
        in_list(&mut found).into_iter().filter(|record| record.get("layer").is_some()).for_each(&change);
        manifest["annotations"][name] = found.to_string().into();
    }
}

/// Returns the records in what an annotation says.
fn in_list(found: &mut Value) -> Vec<&mut Value> {
    match found {
        Value::Array(list) => list.iter_mut().collect(),
        one => vec![one],
    }
}

/// Returns the name of the annotation that a manifest is there for.
fn annotation(manifest: &Value) -> &'static str {
    if manifest["annotations"].get(LIST).is_some() { LIST } else { RECORD }
}

#[test]
fn a_poisoned_cache_is_refused_or_of_no_use() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={},mode=max", fake.name("app:c"));
    let one = runner();
    let first = built(&one, &[], &[&cache]);
    let other = fake.blob("app", b"a layer that is none");
    let good = fake.with(|state| state.manifests.clone());
    let from = fake.name("app:c");

    // Records that cannot be true: the steps are carried out.
    type Change = Box<dyn Fn(&mut Value)>;
    let useless: Vec<(&str, Change)> = vec![
        ("another key", Box::new(in_record(|record| record["key"] = json!(Digest::of(b"x").to_string())))),
        ("no key", Box::new(in_record(|record| drop(record.as_object_mut().unwrap().remove("key"))))),
        ("a path", Box::new(in_record(|record| record["layer"]["digest"] = json!("../../../etc/passwd")))),
        ("a path beside", Box::new(in_record(|record| record["path"] = json!("/etc/passwd")))),
        ("no layer", Box::new(in_record(|record| record["layer"]["media_type"] = json!("text/plain")))),
        (
            "a foreign layer",
            Box::new(in_record(|record| {
                record["layer"]["media_type"] =
                    json!("application/vnd.oci.image.layer.nondistributable.v1.tar");
            })),
        ),
        (
            "a layer of nobody",
            Box::new(in_record(|record| record["layer"]["digest"] = json!(Digest::of(b"x").to_string()))),
        ),
        ("a time before all", Box::new(in_record(|record| record["created"] = json!(-1)))),
        ("a time after all", Box::new(in_record(|record| record["created"] = json!(i64::MAX)))),
        (
            "a large record",
            Box::new(|manifest| {
                let name = annotation(manifest);
                manifest["annotations"][name] = json!("x".repeat(100_000));
            }),
        ),
        (
            "a large manifest",
            Box::new(|manifest| manifest["annotations"]["y"] = json!("x".repeat(3_000_000))),
        ),
        (
            "an image",
            Box::new(|manifest| {
                manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json")
            }),
        ),
    ];
    for ((what, change), listed) in useless.iter().flat_map(|one| [(one, false), (one, true)]) {
        fake.with(|state| state.manifests = good.clone());
        poison(&fake, "app", listed, change);
        let world = runner();
        let again = built(&world, &[&from], &[]);
        assert_eq!(again.carried_out, STEPS, "{what}");
        assert_eq!(layers(&world).len(), layers(&one).len(), "{what}");
        sound(&world);
    }

    // Layers that are not what the records say: no image is named.
    let refused: Vec<(&str, Change, &[ErrorKind])> = vec![
        (
            "another DiffID",
            Box::new(in_record(|record| record["layer"]["diff_id"] = json!(Digest::of(b"x").to_string()))),
            &[ErrorKind::Corrupt],
        ),
        (
            "another size",
            Box::new(in_record(|record| record["layer"]["size"] = json!(7))),
            &[ErrorKind::Corrupt],
        ),
        (
            "endless size",
            Box::new(in_record(|record| record["layer"]["size"] = json!(u64::MAX))),
            &[ErrorKind::Corrupt],
        ),
        (
            "another blob",
            {
                let other = other.clone();
                Box::new(move |manifest: &mut Value| {
                    in_record(|record| record["layer"]["digest"] = json!(other))(manifest);
                    if let Some(layer) = manifest["layers"].get_mut(0) {
                        layer["digest"] = json!(other);
                    }
                })
            },
            &[ErrorKind::Corrupt],
        ),
    ];
    for ((what, change, kinds), listed) in refused.iter().flat_map(|one| [(one, false), (one, true)]) {
        fake.with(|state| state.manifests = good.clone());
        poison(&fake, "app", listed, change);
        let world = runner();
        let error = try_build(&world, &[&from], &[]).expect_err(what);
        assert!(kinds.contains(&error.kind()), "{what}: {error}");
        assert!(world.store.refs().unwrap().is_empty(), "{what}");
        // The store is as good as before: what was wrong is not in it, and the steps can be carried out.
        sound(&world);
        assert_eq!(built(&world, &[], &[]).carried_out, STEPS, "{what}");
    }

    // Blobs that are not what their digests say.
    fake.with(|state| {
        state.manifests = good;
        for bytes in state.blobs.values_mut() {
            bytes[0] ^= 1;
        }
    });
    let world = runner();
    assert_eq!(try_build(&world, &[&from], &[]).unwrap_err().kind(), ErrorKind::Corrupt);
    sound(&world);
    assert_eq!(built(&world, &[], &[]).manifest.to_string().len(), first.manifest.to_string().len());
}

/// The list is of use and never in the way: records that it lacks are found, one that is damaged is written anew, and one with a layer
/// that the registry has lost gives way to one without.
#[test]
fn records_that_the_list_lacks_are_found_all_the_same() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={},mode=max", fake.name("app:c"));
    let from = fake.name("app:c");
    let one = runner();
    let first = built(&one, &[], &[&cache]);
    let list = ("app".to_string(), format!("c{ZEROS}"));
    let of_one = fake.with(|state| state.manifests[&list].clone());
    let two = runner();
    sh(two.scratch.path(), "echo two >context/conf");
    // What both have is the first one's: steps that each made for itself differ in the second they were made in.
    let second = built(&two, &[&from], &[&cache]);
    // Both are in it, and both are found without it.
    let text = |list: &(String, Vec<u8>)| {
        let manifest: Value = serde_json::from_slice(&list.1).unwrap();
        manifest["annotations"][LIST].as_str().unwrap().to_string()
    };
    let of_both = fake.with(|state| state.manifests[&list].clone());
    assert!(text(&of_both).len() > text(&of_one).len());
    let again = |conf: &str| {
        let world = runner();
        sh(world.scratch.path(), &format!("echo {conf} >context/conf"));
        let again = built(&world, &[&from], &[]);
        sound(&world);
        (again.image_id, again.carried_out)
    };
    for stale in [of_one.clone(), of_both] {
        fake.with(|state| state.manifests.insert(list.clone(), stale));
        assert_eq!((again("c"), again("two")), ((first.image_id, 0), (second.image_id, 0)));
    }
    // Damaged, or something else: each is found by itself, and the next export writes the list anew.
    for other in [("text/plain".to_string(), b"x".to_vec()), (OCI.to_string(), b"{}".to_vec())] {
        fake.with(|state| state.manifests.insert(list.clone(), other));
        assert_eq!(again("c"), (first.image_id, 0));
        built(&one, &[], &[&cache]);
        assert_eq!(text(&fake.with(|state| state.manifests[&list].clone())), text(&of_one));
    }
    // The layers of another's records are gone, and the registry takes no manifest with them.
    let of_two: Vec<String> = layers(&two).iter().map(|layer| layer.to_string()).collect();
    let of_others: Vec<String> = layers(&one).iter().map(|layer| layer.to_string()).collect();
    built(&two, &[], &[&cache]);
    fake.with(|state| {
        state.blobs.retain(|(_, digest), _| !of_two.contains(digest) || of_others.contains(digest));
    });
    sh(one.scratch.path(), "echo one >context/conf");
    let changed = built(&one, &[], &[&cache]);
    assert_eq!(again("one"), (changed.image_id, 0));
    assert!(again("two").1 > 0);
}

#[test]
fn owners_of_linked_copies_are_looked_up_in_layers_that_are_elsewhere() {
    let fake = Fake::start();
    let reference = fake.name("app:c");
    let text =
        "FROM scratch\nCOPY <<P /etc/passwd\napp:x:31:32::/:/\nP\nCOPY --link --chown=app conf /conf\n";
    let (one, two) = (runner(), runner());
    let to = format!("type=registry,ref={reference}");
    let first = build(&one.store, &options(&one, text, &[], &[&to]), &one.control).unwrap();
    let second = build(&two.store, &options(&two, text, &[&reference], &[]), &two.control).unwrap();
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
}

#[test]
fn a_record_that_lies_about_what_is_copied_is_found_out_when_it_is_copied() {
    let fake = Fake::start();
    let cache = format!("type=registry,ref={},mode=max", fake.name("app:c"));
    built(&runner(), &[], &[&cache]);
    let good = fake.with(|state| state.manifests.clone());
    for listed in [false, true] {
        fake.with(|state| state.manifests = good.clone());
        // The source of the copy is another one, and no step is known for it.
        poison(&fake, "app", listed, |manifest: &mut Value| {
            let name = annotation(manifest);
            let text = manifest["annotations"][name].as_str().unwrap().to_string();
            let mut found: Value = serde_json::from_str(&text).unwrap();
            for record in in_list(&mut found) {
                if record.get("inputs").is_some() {
                    record["inputs"]["paths"] = json!(["other"]);
                }
            }
            manifest["annotations"][name] = found.to_string().into();
        });
        let world = runner();
        let error = try_build(&world, &[&fake.name("app:c")], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{listed}");
        assert!(world.store.refs().unwrap().is_empty());
    }
}

#[test]
fn a_cache_that_cannot_be_reached_is_a_warning_to_read_and_an_error_to_write() {
    let fake = Fake::start();
    fake.rule(|_| Some(Act::Say(Answer::error(500, "UNKNOWN"))));
    let from = fake.name("app:c");
    let world = runner();
    let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = warnings.clone();
    let events = Events::observed(Arc::new(move |event: &Event| {
        if let Event::Warning { message, .. } = event {
            seen.lock().unwrap().push(message.clone());
        }
    }));
    let control = Control { events, ..Control::default() };
    let made = build(&world.store, &options(&world, TEXT, &[&from], &[]), &control).unwrap();
    assert_eq!(made.carried_out, STEPS);
    let warnings = warnings.lock().unwrap().clone();
    assert!(warnings.len() == 1 && warnings[0].contains("was not used"), "{warnings:?}");
    let to = format!("type=registry,ref={from}");
    assert_eq!(try_build(&world, &[], &[&to]).unwrap_err().kind(), ErrorKind::Network);
    assert!(Image::open(&world.store, "app", None).is_ok(), "the image was made before");
    built(&world, &[], &[&format!("{to},ignore-error=true")]);
    let offline = BuildOptions { registries: None, ..options(&world, TEXT, &[&from], &[]) };
    assert_eq!(build(&world.store, &offline, &control).unwrap_err().kind(), ErrorKind::InvalidArgument);
    // Silence ends with a cancel.
    fake.rule(|_| Some(Act::Stall));
    let control = Control::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| build(&world.store, &options(&world, TEXT, &[], &[&to]), &control));
        std::thread::sleep(std::time::Duration::from_millis(600));
        let began = std::time::Instant::now();
        control.cancel.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
    });
}

/// Returns a static shell, where this machine has one.
#[cfg(feature = "sandbox")]
fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

#[cfg(feature = "sandbox")]
#[test]
fn a_second_runner_unpacks_only_where_it_runs() {
    let Some(registry) = Debian::start(Setup::default()) else { return };
    let Some(busybox) = busybox() else {
        support::tools::missing("TOOL", "busybox", "commands need a shell");
        return;
    };
    let text = "FROM scratch AS base\nCOPY --chmod=755 busybox /bin/sh\nFROM base AS other\nRUN echo 1 >/one\n\
        FROM base\nRUN echo 2 >/two\nCOPY conf /conf\nRUN cat /two /conf >/three\nCOPY --from=other /one /four\n";
    let machine = || {
        let world = runner();
        std::fs::copy(&busybox, world.scratch.join("context/busybox")).unwrap();
        world
    };
    let reference = registry.name("app:cache");
    let to = format!("type=registry,ref={reference},mode=max");
    let one = machine();
    let first = match build(&one.store, &options(&one, text, &[], &[&to]), &one.control) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            support::tools::missing("ABILITY", "run", &error.to_string());
            return;
        }
        built => built.unwrap(),
    };
    // No command can be started here.
    let two = machine();
    let without =
        BuildOptions { helper: Some("/nonexistent".into()), ..options(&two, text, &[&reference], &[]) };
    let second = build(&two.store, &without, &two.control).unwrap();
    assert_eq!((second.carried_out, second.image_id), (0, first.image_id));
    sound(&two);
    // Where the last command has to run, it finds what it stands on.
    let three = machine();
    sh(three.scratch.path(), "echo 3 >context/conf");
    let third = build(&three.store, &options(&three, text, &[&reference], &[]), &three.control).unwrap();
    assert_eq!(third.carried_out, 3);
    let out = three.scratch.join("out");
    treering::image::unpack(&three.store, "app", &out, &Default::default(), &three.control).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("three")).unwrap(), "2\n3\n");
    assert_eq!(std::fs::read_to_string(out.join("four")).unwrap(), "1\n");
    sound(&three);
}

/// `build --push` sends the image under each of its names, and prints the id alone.
#[test]
fn a_build_is_pushed_under_each_of_its_names() {
    let fake = Fake::start();
    let world = runner();
    std::fs::write(world.scratch.join("context/Dockerfile"), "FROM scratch\nCOPY conf /conf\n").unwrap();
    let (one, two) = (fake.name("team/app:one"), fake.name("team/other:two"));
    let output = format!("type=registry,name={two}");
    for arguments in [vec!["--push", "-t", &one, "-t", &two], vec!["-o", &output, "-t", &one]] {
        fake.with(|state| state.manifests.clear());
        let done =
            world.run(&[&["build", "--progress=quiet"][..], &arguments[..], &["context"]].concat(), "");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
        let image = Image::open(&world.store, &one, None).unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), image.id().to_string());
        for (repository, tag) in [("team/app", "one"), ("team/other", "two")] {
            let manifest = fake.tag(repository, tag).unwrap_or_else(|| panic!("{arguments:?}: {repository}"));
            assert_eq!(Digest::of(&manifest).to_string(), image.digest().to_string());
        }
        assert_eq!(said.lines().filter(|line| line.starts_with("pushed ")).count(), 2, "{said}");
    }
    let refused = world.run(&["build", "--push", "context"], "");
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}
