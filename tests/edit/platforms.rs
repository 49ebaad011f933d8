//! One platform of an image for several.

use std::collections::BTreeMap;

use support::Scratch;
use treering::image::{
    Base, CommitOptions, EditOptions, Image, OCI_INDEX, Platform, Squash, commit, edit, new_index,
};
use treering::store::{Store, descriptor};
use treering::{Control, ErrorKind};

#[test]
fn one_platform_is_edited_and_the_index_stays() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let (tree, control) = (scratch.dir("tree"), Control::default());
    let mut manifests = Vec::new();
    for name in ["linux/amd64", "linux/arm64"] {
        std::fs::write(tree.join("platform"), name).unwrap();
        let platform: Platform = name.parse().unwrap();
        let options =
            CommitOptions { platform: Some(platform), base: Base::Scratch, ..CommitOptions::default() };
        let made = commit(&store, &tree, Some("one"), &options, &control).unwrap();
        manifests.push(Image::open(&store, &made.manifest.to_string(), None).unwrap().descriptor().clone());
    }
    let index = store.put_blob(&new_index(&manifests, &BTreeMap::new()).unwrap()).unwrap();
    store.tag(&"all".parse().unwrap(), &descriptor(OCI_INDEX, &index)).unwrap();
    let arm: Platform = "linux/arm64".parse().unwrap();
    let labels = vec![("edited".to_string(), "yes".to_string())];
    let options = EditOptions {
        platform: Some(arm.clone()),
        labels,
        squash: Some(Squash::All),
        ..EditOptions::default()
    };
    edit(&store, "all", Some("arm"), Vec::new(), &options, &control).unwrap();
    let (old, new) =
        (Image::open(&store, "all", Some(&arm)).unwrap(), Image::open(&store, "arm", None).unwrap());
    assert_eq!((new.platform(), new.index()), (arm, None));
    assert_eq!(new.config().value()["config"]["Labels"]["edited"], "yes");
    assert_eq!(old.descriptor(), &manifests[1]);
    let mut files = new.layers()[0].files(&store, Default::default(), &control).unwrap();
    let mut content = String::new();
    while let Some(entry) = files.next_entry().unwrap() {
        if entry.path == b"platform" {
            std::io::Read::read_to_string(&mut files, &mut content).unwrap();
        }
    }
    assert_eq!(content, "linux/arm64");
    let none = EditOptions { platform: Some("linux/riscv64".parse().unwrap()), ..options };
    let error = edit(&store, "all", Some("none"), Vec::new(), &none, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
