//! Small images, and running parts of this test in other processes.

use std::path::Path;
use std::process::{Command, Stdio};

use treering::image::{
    History, ManifestOptions, NewConfig, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, new_config, new_manifest,
};
use treering::store::{Descriptor, FsckLevel, ProblemKind, Reference, Store, descriptor};
use treering::{Control, Digest};

/// The variables a child finds its role and its store in.
const ROLE: &str = "TREERING_TEST_ROLE";
const ROOT: &str = "TREERING_TEST_ROOT";
const ARG: &str = "TREERING_TEST_ARG";

/// Writes an image with one layer (its content is `text`, not a tar: the store does not look) and returns its
/// manifest, not named yet.
pub fn put_image(store: &Store, text: &str, platform: &str) -> treering::Result<Descriptor> {
    let store = store.pin(&Control::default())?;
    let layer = store.put_blob(text.as_bytes())?;
    let config = new_config(&NewConfig {
        platform: Some(platform.parse()?),
        layers: &[layer.digest],
        history: &[History { created_by: Some("test".into()), ..History::default() }],
        ..NewConfig::default()
    })?;
    let config = descriptor(OCI_CONFIG, &store.put_blob(&config)?);
    let manifest = new_manifest(&config, &[descriptor(OCI_LAYER, &layer)], &ManifestOptions::default())?;
    Ok(descriptor(OCI_MANIFEST, &store.put_blob(&manifest)?))
}

/// Does what [`put_image`] does, and gives a name, under one pin.
pub fn tag_image(store: &Store, name: &str, text: &str) -> treering::Result<Descriptor> {
    let store = store.pin(&Control::default())?;
    let manifest = put_image(&store, text, "linux/amd64")?;
    store.tag(&name.parse::<Reference>()?, &manifest)?;
    Ok(manifest)
}

pub fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

pub fn digest(descriptor: &Descriptor) -> Digest {
    treering::store::descriptor_digest(descriptor).unwrap()
}

/// Returns everything that fsck finds, but for what a dead writer may leave.
pub fn problems(store: &Store) -> Vec<String> {
    let report = store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
    let wrong = report.problems.into_iter().filter(|problem| problem.kind != ProblemKind::Stray);
    wrong.map(|problem| format!("{:?} {}: {}", problem.kind, problem.subject, problem.message)).collect()
}

/// This test binary again, as a child that plays `role` in [`crate::faults::play`].
pub fn child(role: &str, root: &Path, arg: &str) -> Command {
    with_child(Command::new(std::env::current_exe().unwrap()), role, root, arg)
}

/// Does what [`child`] does under another program, which is given the path of the test binary as its last own argument.
pub fn child_under(program: &[&str], role: &str, root: &Path, arg: &str) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(std::env::current_exe().unwrap());
    with_child(command, role, root, arg)
}

fn with_child(mut command: Command, role: &str, root: &Path, arg: &str) -> Command {
    command.args(["--exact", "faults::play", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ROOT, root).env(ARG, arg);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the role, root and argument this process was started with, when it is a child.
pub fn role() -> Option<(String, std::path::PathBuf, String)> {
    let var = |name: &str| std::env::var(name).ok();
    Some((var(ROLE)?, var(ROOT)?.into(), var(ARG)?))
}
