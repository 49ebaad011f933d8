//! Images for several platforms, and manifests that are about others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use treering::image::{CommitOptions, Image, ManifestOptions, Platform, commit, new_manifest};
use treering::registry::{
    CopyOptions, ListAnnotation, PullOptions, PushOptions, annotate_list, copy, create_list, pull, push,
    read_manifest,
};
use treering::store::{BlobInfo, Limits, Reference, descriptor};
use treering::{Control, Digest, ErrorKind};

use crate::fake::{Act, Answer, Fake};
use crate::world::World;

/// Returns a world with an image for two platforms, as a list.
fn with_list(fake: &Fake) -> (World, String) {
    let world = World::new();
    let tree = world.scratch.dir("tree");
    for platform in ["linux/amd64", "linux/arm64"] {
        std::fs::write(tree.join("platform"), platform).unwrap();
        let options = CommitOptions { platform: Some(platform.parse().unwrap()), ..CommitOptions::default() };
        let name = format!("app:{}", platform.replace('/', "-"));
        commit(
            &world.store,
            &tree,
            Some(&name),
            &CommitOptions { base: treering::image::Base::Scratch, ..options },
            &world.control,
        )
        .unwrap();
    }
    let list = fake.name("app:v1");
    let images = ["app:linux-amd64".to_string(), "app:linux-arm64".to_string()];
    create_list(&world.store, &world.registries(""), &list, &images, false, &world.control).unwrap();
    (world, list)
}

#[test]
fn a_list_travels_whole_or_one_platform_of_it() {
    let fake = Fake::start();
    let (world, list) = with_list(&fake);
    let registries = world.registries("");
    let pushed =
        push(&world.store, &registries, &list, &list, &PushOptions::default(), &world.control).unwrap();
    assert_eq!((pushed.sent, pushed.only_platform), (4, None));
    let remote = read_manifest(&registries, &list, &Limits::default(), &world.control).unwrap();
    assert_eq!(remote.digest, pushed.digest);
    let value: Value = serde_json::from_slice(&remote.bytes).unwrap();
    assert_eq!(value["manifests"][1]["platform"]["architecture"], "arm64");

    let arm: Platform = "linux/arm64".parse().unwrap();
    let other = World::new();
    let options = PullOptions { platform: Some(arm.clone()), ..PullOptions::default() };
    let pulled = pull(&other.store, &registries, &list, &options, &other.control).unwrap();
    assert_eq!((pulled.digest, pulled.layers_fetched), (pushed.digest, 1));
    assert_eq!(Image::open(&other.store, &list, Some(&arm)).unwrap().platform(), arm);
    // Only that platform is here, so only that can be pushed from here.
    let alone = fake.name("alone:v1");
    let options = PushOptions { platform: Some(arm.clone()), ..PushOptions::default() };
    let one = push(&other.store, &registries, &list, &alone, &options, &other.control).unwrap();
    assert_eq!((one.digest, one.only_platform), (pulled.manifest, Some(arm.clone())));

    let riscv = PullOptions { platform: Some("linux/riscv64".parse().unwrap()), ..PullOptions::default() };
    let error = pull(&other.store, &registries, &list, &riscv, &other.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().to_string().contains("linux/amd64, linux/arm64"), "{error:?}");

    let all = World::new();
    let options = PullOptions { all_platforms: true, ..PullOptions::default() };
    assert_eq!(pull(&all.store, &registries, &list, &options, &all.control).unwrap().layers_fetched, 2);
    let whole = fake.name("whole:v1");
    let again = push(&all.store, &registries, &list, &whole, &PushOptions::default(), &all.control).unwrap();
    assert_eq!((again.digest, again.only_platform), (pushed.digest, None));

    let copied =
        copy(&registries, &list, &fake.name("copied:v1"), &CopyOptions::default(), &world.control).unwrap();
    assert_eq!((copied.digest, copied.mounted), (pushed.digest, 4));
    let options = CopyOptions { platform: Some(arm), ..CopyOptions::default() };
    let copied = copy(&registries, &list, &fake.name("copied:arm"), &options, &world.control).unwrap();
    assert_eq!(copied.digest, pulled.manifest);
}

#[test]
fn of_an_incomplete_list_this_machines_platform_is_pushed_alone() {
    let fake = Fake::start();
    let (world, list) = with_list(&fake);
    let registries = world.registries("");
    push(&world.store, &registries, &list, &list, &PushOptions::default(), &world.control).unwrap();
    if !["amd64", "arm64"].contains(&Platform::host().architecture.as_str()) {
        return;
    }
    let other = World::new();
    let pulled = pull(&other.store, &registries, &list, &PullOptions::default(), &other.control).unwrap();
    let target = fake.name("other:v1");
    let pushed =
        push(&other.store, &registries, &list, &target, &PushOptions::default(), &other.control).unwrap();
    assert_eq!((pushed.digest, pushed.only_platform), (pulled.manifest, Some(Platform::host())));
}

#[test]
fn lists_are_amended_and_annotated() {
    let fake = Fake::start();
    let (world, list) = with_list(&fake);
    let registries = world.registries("");
    let images = ["app:linux-amd64".to_string()];
    let error = create_list(&world.store, &registries, &list, &images, false, &world.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    create_list(&world.store, &registries, &list, &images, true, &world.control).unwrap();
    let change = ListAnnotation {
        platform: Some("linux/arm/v7".parse().unwrap()),
        annotations: BTreeMap::from([("a".to_string(), "b".to_string())]),
    };
    annotate_list(&world.store, &list, "app:linux-arm64", &change, &world.control).unwrap();
    let entry = world.store.resolve(&list).unwrap().descriptor;
    let document = world.store.read_document(&entry).unwrap();
    assert_eq!(document.manifests().len(), 2);
    let arm = document.manifests().iter().find(|one| one.annotations().is_some()).unwrap();
    assert_eq!(Platform::from(arm.platform().as_ref().unwrap()).to_string(), "linux/arm/v7");
    let missing = annotate_list(&world.store, &list, &Digest::of(b"x").to_string(), &change, &world.control);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);

    // Of what is at a registry only the documents are fetched, and the list goes where the layers are.
    push(&world.store, &registries, &list, &list, &PushOptions::default(), &world.control).unwrap();
    let other = World::new();
    let remote = fake.name("app:v1");
    let again = fake.name("app:v2");
    create_list(&other.store, &registries, &again, &[remote], false, &other.control).unwrap();
    let pushed =
        push(&other.store, &registries, &again, &again, &PushOptions::default(), &other.control).unwrap();
    assert_eq!((pushed.sent, pushed.present), (0, 4));
    // Where they are not, they are taken from the repository that has them.
    let beside = fake.name("beside:v2");
    let pushed =
        push(&other.store, &registries, &again, &beside, &PushOptions::default(), &other.control).unwrap();
    assert_eq!((pushed.digest, pushed.sent, pushed.mounted), (digest_of(&other, &again), 0, 4));
    let whole = World::new();
    pull(&whole.store, &registries, &beside, &PullOptions::default(), &whole.control).unwrap();
    // No other registry can.
    let strange = Fake::start();
    let error = push(
        &other.store,
        &registries,
        &again,
        &strange.name("a:v2"),
        &PushOptions::default(),
        &other.control,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.hint().unwrap().to_string().contains(&fake.name("app:v1")), "{error:?}");
    assert!(strange.tag("a", "v2").is_none());
    // Nor this one, when it refuses to mount.
    fake.rule(|seen| seen.target.contains("mount=").then(|| Act::Say(Answer::error(405, "UNSUPPORTED"))));
    let refused = fake.name("refused:v2");
    let error = push(&other.store, &registries, &again, &refused, &PushOptions::default(), &other.control)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn digest_of(world: &World, name: &str) -> Digest {
    world.store.resolve(name).unwrap().descriptor.digest().to_string().parse().unwrap()
}

#[test]
fn images_that_are_only_at_a_registry_are_named_in_a_list_as_they_were_given() {
    let fake = Fake::start();
    let (world, list) = with_list(&fake);
    let registries = world.registries("");
    let push_as = |image: &str, name: &str| {
        push(&world.store, &registries, image, name, &PushOptions::default(), &world.control).unwrap()
    };
    let (one, two) = (fake.name("one/a:v1"), fake.name("two/b"));
    push_as("app:linux-amd64", &one);
    let arm = push_as("app:linux-arm64", &two).digest;
    push_as(&list, &list);
    let other = World::new();
    let made = fake.name("three/list:v1");
    let create = |images: &[&String], amend| {
        let images: Vec<String> = images.iter().map(|image| image.to_string()).collect();
        create_list(&other.store, &registries, &made, &images, amend, &other.control).unwrap();
    };
    let annotate = |image: &str, key: &str| {
        let annotations = BTreeMap::from([(key.to_string(), "x".to_string())]);
        let change = ListAnnotation { annotations, ..ListAnnotation::default() };
        annotate_list(&other.store, &made, image, &change, &other.control)
    };
    let annotated = |key: &str| {
        let document = other.store.read_document(&other.store.resolve(&made).unwrap().descriptor).unwrap();
        let with = |one: &&treering::store::Descriptor| {
            one.annotations().as_ref().is_some_and(|map| map.contains_key(key))
        };
        let found: Vec<String> =
            document.manifests().iter().filter(with).map(|one| one.digest().to_string()).collect();
        found
    };
    create(&[&one, &two], false);
    for (image, key) in [(two.clone(), "a"), (format!("{two}:latest"), "b"), (arm.to_string(), "c")] {
        annotate(&image, key).unwrap();
        assert_eq!(annotated(key), [arm.to_string()], "{image}");
    }
    assert_eq!(annotate(&fake.name("one/a:v2"), "d").unwrap_err().kind(), ErrorKind::NotFound);
    // The name still leads there after the list was added to, and pushed from a second name of it.
    create(&[&one], true);
    annotate(&two, "e").unwrap();
    let tagged = Reference::parse(&fake.name("four/list:v1")).unwrap();
    other.store.tag(&tagged, &other.store.resolve(&made).unwrap().descriptor).unwrap();
    // The configurations are in the store; the second time, there is a repository to take them from as well.
    for (name, mounted) in [(&made, 2), (&tagged.to_string(), 4)] {
        let pushed =
            push(&other.store, &registries, name, name, &PushOptions::default(), &other.control).unwrap();
        assert_eq!((pushed.digest, pushed.mounted), (digest_of(&other, name), mounted), "{name}");
    }
    // Of a list that was given by one name, an image needs its digest.
    create(&[&list], true);
    let error = annotate(&list, "f").unwrap_err();
    assert!(error.hint().unwrap().to_string().contains("digest"), "{error:?}");
    annotate(&arm.to_string(), "f").unwrap();
}

#[test]
fn referrers_are_listed_under_a_tag_where_the_registry_does_not_list_them() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let image = Image::open(&world.store, &name, None).unwrap();
    let attach = |n: usize| {
        let blob = world.store.put_blob(format!("signature {n}").as_bytes()).unwrap();
        let config = descriptor("application/vnd.oci.empty.v1+json", &world.store.put_blob(b"{}").unwrap());
        let options = ManifestOptions {
            subject: Some(image.descriptor().clone()),
            artifact_type: Some("application/x.signature".into()),
            annotations: BTreeMap::from([("n".to_string(), n.to_string())]),
        };
        let bytes = new_manifest(&config, &[descriptor("text/plain", &blob)], &options).unwrap();
        let info: BlobInfo = world.store.put_blob(&bytes).unwrap();
        let local = format!("signature:v{n}");
        let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &info);
        world.store.tag(&Reference::parse(&local).unwrap(), &entry).unwrap();
        let target = fake.name(&format!("app:signature{n}"));
        push(&world.store, &registries, &local, &target, &PushOptions::default(), &world.control).unwrap();
        info.digest.to_string()
    };
    let fallback = format!("sha256-{}", image.digest().hex());
    let (first, second) = (attach(1), attach(2));
    let list: Value = serde_json::from_slice(&fake.tag("app", &fallback).unwrap()).unwrap();
    let entries = list["manifests"].as_array().unwrap();
    assert_eq!(
        (entries[0]["digest"].as_str(), entries[1]["digest"].as_str()),
        (Some(&*first), Some(&*second))
    );
    assert_eq!(entries[1]["artifactType"], "application/x.signature");
    assert_eq!(entries[1]["annotations"]["n"], "2");
    // A registry that says that it understands subjects is left to it.
    fake.with(|state| state.referrers = true);
    attach(3);
    let list: Value = serde_json::from_slice(&fake.tag("app", &fallback).unwrap()).unwrap();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
}

/// Puts artifacts about an image into the store, as `signature:vN`; returns their digests.
fn signatures(world: &World, image: &Image, count: usize) -> BTreeSet<String> {
    let config = descriptor("application/vnd.oci.empty.v1+json", &world.store.put_blob(b"{}").unwrap());
    let options = ManifestOptions { subject: Some(image.descriptor().clone()), ..ManifestOptions::default() };
    let make = |n: usize| {
        let blob = world.store.put_blob(format!("signature {n}").as_bytes()).unwrap();
        let bytes = new_manifest(&config, &[descriptor("text/plain", &blob)], &options).unwrap();
        let info = world.store.put_blob(&bytes).unwrap();
        let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &info);
        world.store.tag(&Reference::parse(&format!("signature:v{n}")).unwrap(), &entry).unwrap();
        info.digest.to_string()
    };
    (0..count).map(make).collect()
}

fn listed(fake: &Fake, fallback: &str) -> BTreeSet<String> {
    let list: Value = serde_json::from_slice(&fake.tag("app", fallback).unwrap()).unwrap();
    let entries = list["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_string()).collect()
}

#[test]
fn referrers_that_are_written_at_the_same_time_are_all_listed() {
    const WRITERS: usize = 16;
    let (from, fake) = (Fake::start(), Fake::start());
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let registries = world.registries("");
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let image = Image::open(&world.store, &name, None).unwrap();
    let fallback = format!("sha256-{}", image.digest().hex());
    let expected = signatures(&world, &image, WRITERS);
    for n in 0..WRITERS {
        let (local, to) = (format!("signature:v{n}"), from.name(&format!("app:s{n}")));
        from.with(|state| state.referrers = true);
        push(&world.store, &registries, &local, &to, &PushOptions::default(), &world.control).unwrap();
    }
    std::thread::scope(|scope| {
        for n in 0..WRITERS {
            let (world, from, fake) = (&world, &from, &fake);
            scope.spawn(move || {
                // Each as if it were alone: half of them pushed, half of them copied.
                let (registries, control) = (world.registries(""), Control::default());
                let (local, to) = (format!("signature:v{n}"), fake.name(&format!("app:s{n}")));
                if n % 2 == 0 {
                    push(&world.store, &registries, &local, &to, &PushOptions::default(), &control).unwrap();
                } else {
                    let source = from.name(&format!("app:s{n}"));
                    copy(&registries, &source, &to, &CopyOptions::default(), &control).unwrap();
                }
            });
        }
    });
    assert_eq!(listed(&fake, &fallback), expected);
}

/// Clients on other machines, which have read the list before.
#[test]
fn a_list_of_referrers_that_others_write_over_is_written_again() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 1000);
    let registries = world.registries("").with_patience(Duration::from_secs(2), 5, Duration::from_millis(30));
    push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    let image = Image::open(&world.store, &name, None).unwrap();
    let fallback = format!("sha256-{}", image.digest().hex());
    let expected = signatures(&world, &image, 1);
    let attach = || {
        let (from, to) = ("signature:v0", fake.name("app:signature"));
        push(&world.store, &registries, from, &to, &PushOptions::default(), &world.control)
    };
    let written = |fallback: &str| fake.log().iter().filter(|seen| seen.is("PUT", fallback)).count();
    // Seven go over ours, each somewhat later; what is read at once does not show that.
    let (of_list, last, lost) = (fallback.clone(), Mutex::new(None::<Instant>), AtomicUsize::new(0));
    fake.rule(move |seen| {
        if seen.is("PUT", &of_list) {
            *last.lock().unwrap() = Some(Instant::now());
        }
        let late = last.lock().unwrap().is_some_and(|at| at.elapsed() > Duration::from_millis(15));
        let goes_over = seen.is("GET", &of_list) && late && lost.fetch_add(1, Ordering::SeqCst) < 7;
        goes_over.then(|| Act::Say(Answer::error(404, "MANIFEST_UNKNOWN")))
    });
    attach().unwrap();
    assert!(written(&fallback) >= 2, "{}", written(&fallback));
    assert_eq!(listed(&fake, &fallback), expected);
    // What is listed is left as it is, and a wait can be cancelled.
    fake.rule(|_| None);
    attach().unwrap();
    assert_eq!(written(&fallback), 0);
    let of_list = fallback.clone();
    fake.rule(move |seen| seen.is("GET", &of_list).then(|| Act::Say(Answer::error(404, "MANIFEST_UNKNOWN"))));
    std::thread::scope(|scope| {
        let attaching = scope.spawn(attach);
        while written(&fallback) < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        world.control.cancel.cancel();
        assert_eq!(attaching.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}
