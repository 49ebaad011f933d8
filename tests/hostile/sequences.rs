//! Every sequence of three entries out of a set chosen to get into each other's way, in one layer and split over two:
//! nothing outside moves, and what comes out is what a second, naive reading of the specification says.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::oracle::Oracle;
use support::tar::Entry;
use support::{Scratch, canary, describe, scan_with};
use treering::Control;
use treering::fs::Root;
use treering::layer::read::ReadChunks;
use treering::layer::{Applied, ApplyOptions, Target};
use treering::tree::ScanOptions;

const KINDS: usize = 6;
const PATHS: [&str; 4] = ["a", "a/b", "a/", "./a"];

/// Returns one of the 24 entries. Each place in a sequence has its own content, permissions and time.
fn entry(number: usize, place: usize, outside: &Path) -> Entry {
    let path = PATHS[number % PATHS.len()];
    let outside = outside.to_str().unwrap();
    let entry = match number / PATHS.len() {
        0 => support::tar::dir(path).mode(0o711 + place as u32),
        1 => support::tar::file(path, format!("content {place}")).mode(0o641 + place as u32),
        2 => support::tar::symlink(path, if path == "a" { "in" } else { "./in/../in" }),
        // By an absolute and by a relative way.
        3 => support::tar::symlink(path, if path == "a" { outside } else { "../../canary" }),
        4 => support::tar::hardlink(path, ["t", "a", "t", "a/b"][number % PATHS.len()]),
        _ if path == "a/" => support::tar::file("a/.wh..wh..opq", ""),
        _ => match path.rsplit_once('/') {
            Some((parent, name)) => support::tar::file(format!("{parent}/.wh.{name}"), ""),
            None => support::tar::file(format!(".wh.{path}"), ""),
        },
    };
    entry.mtime(1_000_000 + place as u64)
}

fn base() -> Vec<Entry> {
    vec![
        support::tar::dir("in").mode(0o750),
        support::tar::file("in/f", "in f"),
        support::tar::file("t", "t"),
        support::tar::hardlink("t2", "t"),
    ]
}

fn apply(dir: &Path, layers: &[Vec<Entry>]) -> treering::Result<Applied> {
    let root = Root::open(dir).unwrap();
    let mut target = Target::empty(&root, ApplyOptions { threads: 1, ..ApplyOptions::default() }).unwrap();
    for layer in layers {
        target.apply(ReadChunks::new(std::io::Cursor::new(support::tar::tar(layer))), &Control::default())?;
    }
    target.finish()
}

fn check(scratch: &Scratch, worker: usize, layers: &[Vec<Entry>]) {
    let dir = scratch.dir(&format!("root{worker}"));
    let shown = || {
        let entry =
            |e: &Entry| format!("{} {} {}", e.flag as char, e.path.escape_ascii(), e.link.escape_ascii());
        layers[1..]
            .iter()
            .map(|l| l.iter().map(entry).collect::<Vec<_>>().join("; "))
            .collect::<Vec<_>>()
            .join(" | ")
    };
    let mut oracle = Oracle::default();
    let expected = layers.iter().try_for_each(|layer| oracle.apply(layer));
    match (apply(&dir, layers), expected) {
        (Ok(applied), Ok(())) => {
            assert_eq!(applied.losses, vec![], "{}", shown());
            let options = ScanOptions {
                threads: 1,
                owner: &applied.owner,
                ledger: Some(&applied.ledger),
                ..ScanOptions::default()
            };
            let seen = scan_with(&dir, &options).snapshot;
            assert_eq!(describe(&applied.snapshot, None), describe(&seen, None), "{}", shown());
            assert_eq!(oracle.describe(), support::oracle::describe(&seen, &dir), "{}", shown());
        }
        (Err(error), Err(why)) => {
            assert_ne!(error.kind(), treering::ErrorKind::Internal, "{}: {error} ({why})", shown());
            assert_ne!(error.kind(), treering::ErrorKind::Io, "{}: {error} ({why})", shown());
        }
        (Ok(_), Err(why)) => panic!("{}: applied, and should not have been: {why}", shown()),
        (Err(error), Ok(())) => panic!("{}: {error}", shown()),
    }
    let parent = std::fs::File::open(scratch.path()).unwrap();
    let name = std::ffi::CString::new(format!("root{worker}")).unwrap();
    treering::fs::remove::remove_all(&parent, &name).unwrap();
}

/// Runs so many cases, each by its number. Nearly all of their time is the wait for the filesystem's clock at the
/// end of an apply, so there are many more threads than processors.
fn run(cases: usize, layers: impl Fn(usize, &Path) -> Vec<Vec<Entry>> + Sync) {
    let scratch = Scratch::in_memory();
    let outside = scratch.dir("canary");
    support::sh(&outside, "mkdir d; echo secret >f; echo x >d/g; ln f d/f; chmod 600 f; chmod 750 d");
    let before = canary(&outside);
    let next = AtomicUsize::new(0);
    let worker = |number: usize| {
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                return;
            }
            check(&scratch, number, &layers(case, &outside));
            if case.is_multiple_of(16) {
                assert_eq!(canary(&outside), before);
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..48 {
            let worker = &worker;
            std::thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || worker(number))
                .unwrap();
        }
    });
    assert_eq!(canary(&outside), before);
}

const ALL: usize = KINDS * PATHS.len();

fn three(case: usize, outside: &Path) -> Vec<Entry> {
    [case / ALL / ALL, case / ALL % ALL, case % ALL]
        .iter()
        .enumerate()
        .map(|(place, &number)| entry(number, place, outside))
        .collect()
}

#[test]
fn every_sequence_of_three_in_one_layer() {
    run(ALL * ALL * ALL, |case, outside| vec![base(), three(case, outside)]);
}

#[test]
fn every_sequence_of_three_split_after_the_first() {
    run(ALL * ALL * ALL, |case, outside| {
        let mut first = three(case, outside);
        let second = first.split_off(1);
        vec![base(), first, second]
    });
}

#[test]
fn every_sequence_of_three_split_after_the_second() {
    run(ALL * ALL * ALL, |case, outside| {
        let mut first = three(case, outside);
        let second = first.split_off(2);
        vec![base(), first, second]
    });
}
