//! `include/treering.h` is what the sources say. With `TREERING_WRITE_HEADER=1` it is written anew.
#![allow(clippy::disallowed_methods)]
#![cfg(feature = "capi")]

use std::collections::BTreeSet;
use std::path::Path;

/// The sections in the order a reader needs them.
const SECTIONS: [&str; 54] = [
    "status",
    "error",
    "version",
    "bytes",
    "stream",
    "control",
    "reader",
    "event",
    "report",
    "store_options",
    "prune_options",
    "store",
    "refs",
    "image",
    "commit_options",
    "commit",
    "apply_options",
    "unpack",
    "scan_options",
    "snapshot",
    "scan",
    "walk",
    "files",
    "diff_options",
    "diff",
    "edit_options",
    "edit",
    "clone_options",
    "clone",
    "checkout_options",
    "checkout",
    "layer_options",
    "layer",
    "layer_list_options",
    "layer_list",
    "layer_files",
    "load_options",
    "save_options",
    "import_options",
    "export_options",
    "archive",
    "registries_options",
    "registries",
    "pull_options",
    "push_options",
    "registry",
    "git",
    "build_options",
    "build",
    "container_options",
    "run_options",
    "process",
    "container",
    "container_copy",
];
/// Files without anything for the header.
const INNER: [&str; 5] = ["mod", "arguments", "guard", "handle", "structures"];
/// The file that is for the tests' own header.
const HOOKS: &str = "hooks";

fn generate_from(config: cbindgen::Config, files: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(root.join(format!("src/capi/{file}.rs")));
    }
    let mut out = Vec::new();
    builder.generate().unwrap().write(&mut out);
    String::from_utf8(out).unwrap()
}

fn config() -> cbindgen::Config {
    cbindgen::Config::from_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("cbindgen.toml")).unwrap()
}

fn generate() -> String {
    generate_from(config(), &SECTIONS)
}

/// Returns the hooks for tests: they are exported by the library, and no part of its interface.
fn generate_hooks() -> String {
    let mut config = config();
    config.include_guard = Some("TREERING_TEST_H".into());
    config.header = Some(
        "/* clang-format off */\n/* Hooks for the tests of treering and of its bindings. Not installed, and may change any day. */"
            .into(),
    );
    config.sys_includes = vec!["treering.h".into()];
    config.after_includes = None;
    generate_from(config, &[HOOKS])
}

fn is_up_to_date(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("TREERING_WRITE_HEADER").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = generated.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        generated == committed,
        "{file} is not what src/capi says (first difference in line {:?}): \
         TREERING_WRITE_HEADER=1 cargo test --all-features --test header",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_headers_are_up_to_date() {
    is_up_to_date("include/treering.h", &generate());
    is_up_to_date("tests/c/treering_test.h", &generate_hooks());
    assert!(!generate().contains("treering_test_"));
}

#[test]
fn every_file_is_a_section() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi");
    let files: BTreeSet<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    let known: BTreeSet<String> =
        SECTIONS.iter().chain(&INNER).chain([&HOOKS]).map(|name| name.to_string()).collect();
    assert_eq!(files, known);
}

#[test]
fn everything_in_the_header_has_our_prefix_and_a_comment() {
    let header = generate();
    let lines: Vec<&str> = header.lines().collect();
    let mut functions = 0;
    for (at, line) in lines.iter().enumerate() {
        let starts = line.starts_with("typedef ") || line.starts_with("#define TREERING_");
        let function =
            line.contains("treering_") && line.contains('(') && !line.starts_with([' ', '#', '*', '/', 't'])
                || line.starts_with("treering_")
                || line.starts_with("struct treering_");
        functions += usize::from(function);
        if function || starts && !line.contains("TREERING_H") {
            let before = lines[..at].iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"");
            let typedef_of_enum = line.starts_with("typedef int32_t") || line.starts_with("typedef enum");
            assert!(
                before.trim_end().ends_with("*/") || typedef_of_enum,
                "{line} has no comment (line {})",
                at + 1
            );
        }
        assert!(!line.starts_with("pub") && !line.contains("_opaque"), "{line}");
    }
    assert!(functions > 90, "{functions}");
}

/// Returns the comment of a function.
fn comment_of<'h>(header: &'h str, function: &str) -> &'h str {
    let at =
        header.find(&format!("\ntreering_status {function}(")).unwrap_or_else(|| panic!("no {function}"));
    let at = header[..at].rfind("\n */").unwrap();
    &header[header[..at].rfind("/**").unwrap()..at]
}

#[test]
fn what_reaches_a_running_container_names_its_socket() {
    let header = generate();
    for name in ["run", "exec", "start", "attach", "stop", "kill", "wait", "remove", "copy_in"] {
        let comment = comment_of(&header, &format!("treering_container_{name}"));
        assert!(comment.contains("socket"), "treering_container_{name} opens a socket: {comment}");
    }
    for name in ["create", "list", "inspect", "copy_out", "commit"] {
        let comment = comment_of(&header, &format!("treering_container_{name}"));
        assert!(!comment.contains("socket"), "{name}: {comment}");
    }
    assert!(header.contains("There is one exception, for the functions that take a directory and a store"));
}
