//! The Rust programs people start from do what their first lines say; the script looks at what the C programs do as well.

use std::path::Path;
use std::process::Command;

#[test]
fn every_rust_example_runs() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Cargo builds examples with the tests, beside the directory of the test programs.
    let built = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    let scratch = tempfile::tempdir().unwrap();
    let mut ran = 0;
    for entry in std::fs::read_dir(top.join("examples/rust")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string();
        let mut command = Command::new("bash");
        command.arg(top.join("tests/c/examples.sh")).arg(&name).arg(scratch.path()).arg(built.join(&name));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        ran += 1;
    }
    assert!(ran >= 2, "{ran} examples");
}
