//! Dockerfiles as people write them: the same image for every user and by every rung, and the same files and configuration as Docker's
//! two builders and buildah make of them.
//!
//! The bases with packages are corpora of `tests/corpus.sh`. What takes minutes is ignored here, and run by `make test-shapes`.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods)]

mod languages;
mod others;
mod shapes;

use std::path::PathBuf;

use languages::{JAVA, NODE, PYTHON};
use shapes::{NGINX, SCRATCH, Shape};
use support::busybox::{Way, World, every_way};

/// Returns the tar of a corpus, if it was made.
fn corpus(name: &str) -> Option<PathBuf> {
    let cache = std::env::var("TREERING_CORPORA").unwrap_or("/var/tmp/treering-corpora".into());
    let tar = PathBuf::from(format!("{cache}/{name}.tar"));
    if std::fs::File::open(&tar).is_err() {
        println!("SKIP-CORPUS {name}: {} is not there", tar.display());
        return None;
    }
    Some(tar)
}

/// Makes a world where shapes of one base can be built, and the tar of that base.
fn world_for(shapes: &[&Shape]) -> Option<(World, Option<PathBuf>)> {
    let tar = match shapes[0].corpus {
        Some(name) => Some(corpus(name)?),
        None => None,
    };
    let world = World::new()?;
    for shape in shapes {
        let context = world.join(shape.name);
        std::fs::create_dir(&context).unwrap();
        shape.write(&world, &context);
    }
    Some((world, tar))
}

/// Puts the base into the store of a way.
fn prepare(world: &World, way: Way, tar: Option<&PathBuf>) {
    world.prepare(way);
    if let Some(tar) = tar {
        world.ok(way, &["import", tar.to_str().unwrap(), "debian:local"]);
    }
}

/// Builds a shape as `made`. Gives the image id.
fn build(world: &World, way: Way, shape: &Shape) -> String {
    let context = world.join(shape.name).to_str().unwrap().to_string();
    let arguments = ["build", "--progress=plain", "--rung", way.rung, "-t", "made", &context];
    world.ok(way, &arguments).trim().into()
}

fn same_everywhere(shapes: &[&Shape]) {
    let Some((world, tar)) = world_for(shapes) else { return };
    let mut first: Vec<Option<String>> = vec![None; shapes.len()];
    for way in every_way() {
        let can = |shape: &&Shape| shape.anywhere || way.rung != "chroot";
        if !shapes.iter().any(can) {
            continue;
        }
        prepare(&world, way, tar.as_ref());
        for (shape, first) in shapes.iter().zip(&mut first).filter(|(shape, _)| can(shape)) {
            let id = build(&world, way, shape);
            assert_eq!(*first.get_or_insert_with(|| id.clone()), id, "{way:?}: {}", shape.name);
            // Nothing is left to be done, and the image is whole.
            assert_eq!(build(&world, way, shape), id, "{way:?}: {}", shape.name);
        }
        world.ok(way, &["fsck"]);
    }
}

#[test]
fn what_begins_with_nothing_is_the_same_image_everywhere() {
    same_everywhere(&[&SCRATCH]);
}

#[test]
fn what_apt_installs_is_the_same_image_everywhere() {
    same_everywhere(&[&NGINX]);
}

#[test]
fn what_begins_with_nothing_is_what_others_build() {
    others::compare(&[&SCRATCH]);
}

#[test]
fn what_apt_installs_is_what_others_build() {
    others::compare(&[&NGINX]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_python_makes_is_the_same_image_everywhere() {
    same_everywhere(&[&PYTHON]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_python_makes_is_what_others_build() {
    others::compare(&[&PYTHON]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_node_makes_is_the_same_image_everywhere() {
    same_everywhere(&[&NODE]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_node_makes_is_what_others_build() {
    others::compare(&[&NODE]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_java_makes_is_the_same_image_everywhere() {
    same_everywhere(&[&JAVA]);
}

#[test]
#[ignore = "takes minutes: make test-shapes"]
fn what_java_makes_is_what_others_build() {
    others::compare(&[&JAVA]);
}
