//! Hints: every surface gives them in its own words, and what they name is there.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use treering::{Hint, Surface};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all files directly in a directory, or below it, with an ending.
fn sources(dir: &str, ending: &str) -> String {
    let (mut out, mut dirs) = (String::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)]);
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                out.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(!out.is_empty(), "{dir}");
    out
}

/// Returns the words of a text: what stands between characters that `inside` does not take.
fn words(text: &str, inside: impl Fn(char) -> bool) -> Vec<&str> {
    text.split(|c| !inside(c)).filter(|word| !word.is_empty()).collect()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the hints in the words of a surface, without what is a text everywhere or the caller's own.
fn said(surface: Surface) -> Vec<String> {
    let samples = Hint::samples();
    assert!(samples.len() > 20);
    let own = samples.into_iter().filter(|hint| !matches!(hint, Hint::Text(_)));
    own.map(|hint| hint.words(surface).replace("sha256:0a1b", "").replace("linux/arm64", "")).collect()
}

/// Returns whether a hint speaks the language of the command line.
fn names_the_command(hint: &str) -> bool {
    hint.contains("--")
        || hint.split(' ').any(|word| word.trim_matches('`') == "treering")
        || hint.contains("-f ")
}

#[test]
fn a_text_is_the_same_everywhere() {
    for surface in Surface::ALL {
        assert_eq!(Hint::from("try again").words(surface), "try again");
    }
}

#[test]
fn the_command_names_verbs_and_flags_that_it_has() {
    let page = read("docs/command.md");
    for hint in said(Surface::Command) {
        assert!(!hint.contains("::") && !hint.contains("treering_") && !hint.contains("=True"), "{hint}");
        let parts: Vec<&str> = hint.split([' ', ',', '(', ')', ':', ';']).collect();
        for (at, part) in parts.iter().enumerate() {
            if *part == "treering" {
                let (verb, sub) = (parts[at + 1], parts.get(at + 2).copied().unwrap_or_default());
                let grouped = format!("{verb} {sub}");
                let there = page.contains(&format!("`{verb}`")) || page.contains(&format!("`{grouped}"));
                assert!(there || page.contains(&format!("`{verb} ")), "{hint}: {verb}");
            }
            if part.starts_with('-') {
                assert!(page.contains(part), "{hint}: {part}");
            }
        }
    }
}

#[test]
fn rust_names_items_that_exist() {
    let source = sources("src", ".rs");
    let mut named = 0;
    for hint in said(Surface::Rust) {
        assert!(!names_the_command(&hint), "{hint}");
        for path in words(&hint, |c| is_name(c) || c == ':') {
            let Some((_, last)) = path.trim_matches(':').rsplit_once("::") else { continue };
            let shapes = [
                format!("pub fn {last}("),
                format!("pub fn {last}<"),
                format!("pub {last}: "),
                format!("\n    {last},\n"),
                format!("\n    {last}("),
            ];
            assert!(shapes.iter().any(|shape| source.contains(shape)), "{hint}: {path}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}

#[test]
fn c_names_functions_and_members_of_the_header() {
    let header = read("include/treering.h");
    let known = words(&header, is_name);
    let mut named = 0;
    for hint in said(Surface::C) {
        assert!(!names_the_command(&hint) && !hint.contains("::") && !hint.contains("=True"), "{hint}");
        let functions = words(&hint, is_name).into_iter().filter(|word| word.starts_with("treering_"));
        let members = hint.split('`').skip(1).step_by(2);
        for name in functions.chain(members) {
            assert!(known.contains(&name), "{hint}: {name}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}

#[test]
fn go_names_what_the_package_exports() {
    let source = sources("bindings/go", ".go");
    let known = words(&source, is_name);
    let mut named = 0;
    for hint in said(Surface::Go) {
        assert!(!names_the_command(&hint) && !hint.contains("treering_") && !hint.contains("::"), "{hint}");
        let exported = words(&hint, is_name).into_iter().filter(|word| word.starts_with(char::is_uppercase));
        for name in exported {
            assert!(known.contains(&name), "{hint}: {name}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}

#[test]
fn python_names_functions_and_keywords_of_the_stubs() {
    let stubs = read("bindings/python/python/treering/_treering.pyi");
    let mut named = 0;
    for hint in said(Surface::Python) {
        assert!(!names_the_command(&hint) && !hint.contains("treering_") && !hint.contains("::"), "{hint}");
        for (at, _) in hint.match_indices(['(', '=']) {
            let name = words(&hint[..at], is_name).pop().unwrap();
            let there = match hint.as_bytes()[at] {
                b'=' => stubs.contains(&format!("{name}: ")),
                // A function or a class, or the parenthesis of a sentence.
                _ if hint[..at].ends_with(' ') => continue,
                _ => stubs.contains(&format!("def {name}(")) || stubs.contains(&format!("class {name}:")),
            };
            assert!(there, "{hint}: {name}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}

/// What a failed call says about itself reaches its caller in the caller's words.
#[test]
fn an_error_of_the_library_has_no_words_of_the_command() {
    let scratch = tempfile::tempdir().unwrap();
    let store = treering::store::Store::open(scratch.path().join("store")).unwrap();
    let error = treering::image::Image::open(&store, "no:such", None).err().unwrap();
    assert_eq!(error.hint(), Some(&Hint::ListImages));
    assert!(!names_the_command(&error.hint().unwrap().to_string()));
}

/// A hint that is text says nothing that only the command has: no flag, no verb. One that does is a variant.
#[test]
fn no_hint_of_the_library_is_a_text_of_the_command() {
    let (page, mut seen) = (read("docs/command.md"), 0);
    for room in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let room = room.unwrap().path();
        if !room.is_dir() || room.ends_with("bin") {
            continue;
        }
        let source = sources(&format!("src/{}", room.file_name().unwrap().to_str().unwrap()), ".rs");
        for rest in source.split("with_hint(").skip(1) {
            let call = rest.split_once(';').map_or(rest, |(call, _)| call);
            for text in call.split('"').skip(1).step_by(2) {
                // The flags of a Dockerfile's instructions are the same for everybody.
                let flag = text.replace("COPY --from", "").contains("--") && !room.ends_with("dockerfile");
                let words = words(text, is_name);
                let verb = words
                    .windows(2)
                    .any(|two| two[0] == "treering" && page.contains(&format!("`{}`", two[1])));
                assert!(!flag && !verb, "{}: {text}", room.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}
