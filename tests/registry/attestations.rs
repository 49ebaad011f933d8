//! An image with attestations travels: the image alone, or the index with all that is attested.

use treering::ErrorKind;
use treering::build::{BuildOptions, ContextSource, DockerfileSource, Provenance, build};
use treering::image::{Image, Platform, UnpackOptions};
use treering::registry::{
    CopyOptions, PullOptions, PushOptions, copy, pull, pull_and_unpack, push, read_manifest,
};
use treering::store::{FsckLevel, Limits};

use crate::fake::Fake;
use crate::world::World;

#[test]
fn an_image_with_attestations_is_pushed_whole_and_pulled_as_the_image() {
    let fake = Fake::start();
    let world = World::new();
    let name = fake.name("app:v1");
    let options = BuildOptions {
        context: ContextSource::Empty,
        dockerfile: DockerfileSource::Text(b"FROM scratch\nCOPY <<E /there\nx\nE\n".to_vec()),
        tags: vec![name.clone()],
        provenance: Some(Provenance::default()),
        sbom: true,
        ..BuildOptions::default()
    };
    let built = build(&world.store, &options, &world.control).unwrap();
    let registries = world.registries("");
    let pushed =
        push(&world.store, &registries, &name, &name, &PushOptions::default(), &world.control).unwrap();
    assert_eq!((pushed.digest, pushed.only_platform), (built.manifest, None));
    let remote = read_manifest(&registries, &name, &Limits::default(), &world.control).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&remote.bytes).unwrap();
    assert_eq!(index["manifests"][1]["platform"]["os"], "unknown");
    let attestation = index["manifests"][1]["digest"].as_str().unwrap().parse().unwrap();

    // The image alone, as every client of a registry takes it.
    let other = World::new();
    let dir = other.scratch.join("out");
    let (pulled, _) = pull_and_unpack(
        &other.store,
        &registries,
        &name,
        &dir,
        &PullOptions::default(),
        &UnpackOptions::default(),
        &other.control,
    )
    .unwrap();
    assert_eq!((pulled.digest, pulled.manifest), (built.manifest, built.images[0].manifest));
    assert_eq!(std::fs::read(dir.join("there")).unwrap(), b"x\n");
    assert!(!other.store.has_blob(&attestation).unwrap());
    let riscv: Platform = "linux/riscv64".parse().unwrap();
    let options = PullOptions { platform: Some(riscv.clone()), ..PullOptions::default() };
    let error = pull(&other.store, &registries, &name, &options, &other.control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains(&Platform::host().to_string()) && !hint.contains("unknown"), "{hint}");

    // All of it, and on from there.
    let all = World::new();
    let options = PullOptions { all_platforms: true, ..PullOptions::default() };
    let pulled = pull(&all.store, &registries, &name, &options, &all.control).unwrap();
    assert_eq!(pulled.image_id, built.image_id);
    assert!(all.store.has_blob(&attestation).unwrap());
    assert_eq!(Image::open(&all.store, &name, None).unwrap().id(), &built.image_id);
    let report = all.store.fsck(FsckLevel::Bytes, &all.control).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let to = fake.name("again:v1");
    let again = push(&all.store, &registries, &name, &to, &PushOptions::default(), &all.control).unwrap();
    assert_eq!((again.digest, again.only_platform), (built.manifest, None));

    let copied =
        copy(&registries, &name, &fake.name("copied:v1"), &CopyOptions::default(), &world.control).unwrap();
    assert_eq!(copied.digest, built.manifest);
    let options = CopyOptions { platform: Some(Platform::host()), ..CopyOptions::default() };
    let copied = copy(&registries, &name, &fake.name("copied:one"), &options, &world.control).unwrap();
    assert_eq!(copied.digest, built.images[0].manifest);
}
