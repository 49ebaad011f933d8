//! The layout of the sources is the data path, as ARCHITECTURE.md has it: a module imports only from the left of itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the place of each module, from the ground up.
fn places() -> HashMap<String, usize> {
    let page = std::fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = page.split_once("## The data path is the layout").unwrap();
    let (line, rest) = section.trim_start().strip_prefix('`').unwrap().split_once('`').unwrap();
    let (ground, _) = rest.split_once("stand before all").unwrap();
    let names = |text: &str| -> Vec<String> {
        text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_')
            .filter(|word| !word.is_empty())
            .map(String::from)
            .collect()
    };
    let mut places = HashMap::new();
    for name in ground.split('`').skip(1).step_by(2) {
        places.insert(name.to_string(), 0);
    }
    for (at, step) in line.split('→').enumerate() {
        // Rooms side by side do not import each other, and `info` is right after images.
        for name in names(step) {
            if name == "image" {
                places.insert("info".into(), 2 * at + 3);
            }
            places.insert(name, 2 * at + 2);
        }
    }
    let last = places.values().max().unwrap() + 1;
    places.insert("capi".into(), last);
    places
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !matches!(name, "bin" | "tests") {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !matches!(name, "lib.rs" | "tests.rs" | "hostile.rs") {
            found.push(path);
        }
    }
}

/// Returns the modules that a source names, comments and tests left out.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect()
    };
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        // `crate::{a, b::{c, d}}`: those at the start of the outermost items.
        let (mut depth, mut item) = (0, String::new());
        for letter in group.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(word(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(letter);
        }
        found.insert(word(item.trim()));
    }
    found
}

#[test]
fn a_module_imports_only_from_the_left_of_itself() {
    let places = places();
    let mut files = Vec::new();
    sources(&top().join("src"), &mut files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files {
        let below = file.strip_prefix(top().join("src")).unwrap();
        let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_string();
        let Some(place) = places.get(&module) else {
            // What is no module is ground, and ground is listed.
            wrong.push(format!("{}: {module} has no place in ARCHITECTURE.md", below.display()));
            continue;
        };
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            let Some(other) = places.get(&import) else { continue };
            seen += 1;
            if import != module && *place > 0 && other >= place || *place == 0 && *other > 0 {
                wrong.push(format!("{} imports {import}", below.display()));
            }
        }
    }
    assert!(seen > 1000, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_modules_of_the_python_package_import_in_no_circle() {
    let (dir, mut files) = (top().join("bindings/python/src"), Vec::new());
    sources(&dir, &mut files);
    let mut left = BTreeMap::<String, BTreeSet<String>>::new();
    for file in files {
        let below = file.strip_prefix(&dir).unwrap();
        let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_string();
        // lib.rs lists them all.
        if module != "lib" {
            left.entry(module).or_default().extend(imports(&std::fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(left.len() > 15, "{left:?}");
    // What imports nothing that is left goes; a circle never does.
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|name, imports| imports.iter().any(|import| import != name && names.contains(import)));
        if left.len() == names.len() {
            break;
        }
    }
    assert!(left.is_empty(), "these are in circles, or import what is: {left:#?}");
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let source = "use crate::a;\nuse crate::{b::{x, y}, c, d::z};\n// crate::no\nfn f() { crate::e::g() }\n#[cfg(test)]\nmod t { use crate::no; }";
    assert_eq!(imports(source).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
}
