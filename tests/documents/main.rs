//! The documents are true: the tests that they name exist, and what they show runs.
#![allow(clippy::disallowed_methods)]

mod demo;
mod examples;
mod guides;
mod modules;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let mut tests = HashSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        // A helper of that name would show nothing.
        let mut is_test = false;
        for line in text.lines() {
            let line = line.trim_start();
            is_test |= line == "#[test]";
            let Some(rest) = line.strip_prefix("fn ") else { continue };
            if std::mem::take(&mut is_test) {
                tests.insert(rest.split(['(', '<']).next().unwrap_or_default().to_string());
            }
        }
    }
    let mut named = 0;
    for document in ["docs/standards.md", "docs/threat-model.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for row in text.lines().filter(|line| line.starts_with('|')) {
            let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            for name in last.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
                assert!(tests.contains(name), "{document} names `{name}`, which is no test");
                named += 1;
            }
        }
    }
    assert!(named > 80, "only {named} tests are named");
}
