//! Notes that a pull leaves for the first look at the image.

use treering::Digest;
use treering::image::{Image, ImageFiles, UnpackOptions, chain_id};
use treering::registry::{PullOptions, PushOptions, pull, pull_and_unpack, push};

use crate::fake::Fake;
use crate::world::World;

#[test]
fn a_pull_leaves_the_list_and_the_indexes() {
    let fake = Fake::start();
    let name = fake.name("app:v1");
    let world = World::with_image(&name, 300_000);
    push(&world.store, &world.registries(""), &name, &name, &PushOptions::default(), &world.control).unwrap();
    for unpacked in [false, true] {
        let other = World::new();
        let (registries, options) = (other.registries(""), PullOptions::default());
        if unpacked {
            let (dir, unpack) = (other.scratch.join("tree"), UnpackOptions::default());
            pull_and_unpack(&other.store, &registries, &name, dir, &options, &unpack, &other.control)
                .unwrap();
        } else {
            pull(&other.store, &registries, &name, &options, &other.control).unwrap();
        }
        let image = Image::open(&other.store, &name, None).unwrap();
        let diff_ids: Vec<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
        let list = other.store.open_chain_list(&chain_id(&diff_ids).unwrap()).unwrap();
        assert!(list.is_some(), "unpacked: {unpacked}");
        let indexes = image.layers().iter().map(|it| other.store.layer_index(&it.digest, it.size).unwrap());
        assert_eq!(indexes.flatten().count(), 2);
        // The layer that holds the file is read, and no other.
        let blobs = other.scratch.join("store/oci/blobs/sha256");
        std::fs::remove_file(blobs.join(image.layers()[0].digest.hex())).unwrap();
        let files = ImageFiles::open(&other.store, &image, &other.control).unwrap();
        let changed = files.resolve("etc/changed").unwrap();
        assert!(files.read(changed, 100, &other.control).unwrap().ends_with(b"\n"));
    }
}
