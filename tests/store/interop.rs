//! Other tools read the store as it is, and what they write is read.

use std::process::Command;

use treering::Control;
use treering::image::Image;
use treering::store::{PruneOptions, Store};

use crate::world::{name, problems, tag_image};
use support::tools::need;

fn run(program: &[&str]) -> String {
    let output = Command::new(program[0]).args(&program[1..]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn skopeo_reads_and_writes_the_store() {
    if !need("skopeo", &["--version"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    tag_image(&store, "app:v1", "content").unwrap();
    let oci = format!("oci:{}", store.root_path().join("oci").display());
    let seen: serde_json::Value =
        serde_json::from_str(&run(&["skopeo", "inspect", &format!("{oci}:app:v1")])).unwrap();
    assert_eq!(seen["Os"], "linux");
    assert_eq!(seen["Digest"], Image::open(&store, "app:v1", None).unwrap().digest().to_string());
    // Under a second name, put there by skopeo; then ours again.
    run(&["skopeo", "copy", "-q", &format!("{oci}:app:v1"), &format!("{oci}:copy:v2")]);
    let copied = Image::open(&store, "copy:v2", None).unwrap();
    assert_eq!(copied.layers().len(), 1);
    tag_image(&store, "third", "more").unwrap();
    assert_eq!(store.refs().unwrap().len(), 3);
    store.untag(&name("app:v1")).unwrap();
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(problems(&store), [""; 0]);
    run(&["skopeo", "inspect", &format!("{oci}:copy:v2")]);
}

#[test]
fn umoci_lists_the_store() {
    if !need("umoci", &["--version"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    tag_image(&store, "app:v1", "content").unwrap();
    let listed = run(&["umoci", "ls", "--layout", store.root_path().join("oci").to_str().unwrap()]);
    assert_eq!(listed.trim(), "app:v1");
}
