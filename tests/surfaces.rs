//! `docs/parity.md` says who can do what. What it names exists on each surface, and what a surface has is on it.
#![cfg(all(feature = "capi", feature = "cli"))]
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

type Names = BTreeSet<String>;

/// What is exported under a path compiles; methods are looked for in the sources.
macro_rules! exported {
    ($($path:path),* $(,)?) => {{
        $({
            #[allow(unused_imports)]
            use $path as _;
        })*
        [$(stringify!($path)),*].map(|path| path.replace(' ', "").replacen("treering::", "", 1)).into()
    }};
}

fn rust() -> Names {
    exported![
        treering::Counters,
        treering::archive::export,
        treering::archive::import,
        treering::archive::load,
        treering::archive::save,
        treering::image::TreeDiff,
        treering::image::apply_layer,
        treering::image::commit,
        treering::image::contents::contents,
        treering::image::diff_image,
        treering::image::diff_overlay,
        treering::image::diff_snapshots,
        treering::image::diff_tree,
        treering::image::diff_trees,
        treering::info::info,
        treering::image::inspect,
        treering::image::tidy,
        treering::image::unpack,
        treering::image::write_layer,
        treering::layer::Loss,
        treering::layer::list,
        treering::tree::scan,
    ]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files with an ending below a directory, one after the other.
fn sources(dir: &str, ending: &str) -> Vec<String> {
    let (mut out, mut dirs) = (Vec::new(), vec![root().join(dir)]);
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                out.push(read(path));
            }
        }
    }
    assert!(!out.is_empty());
    out
}

/// What stands in backquotes in a cell.
fn names(cell: &str) -> Vec<String> {
    let names: Vec<String> = cell.split('`').skip(1).step_by(2).map(String::from).collect();
    assert!(!names.is_empty() || cell.trim() == "-", "neither names nor a dash: {cell}");
    names
}

/// The rows of the table under a heading: the names in each cell.
fn table(page: &str, heading: &str) -> Vec<Vec<Vec<String>>> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(String::from).collect::<Vec<_>>();
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "{heading}");
    match heading {
        "Operations" => rows
            .iter()
            .map(|row| {
                assert_eq!(row.len(), 6, "{row:?}");
                row[1..].iter().map(|cell| names(cell)).collect()
            })
            .collect(),
        _ => rows.iter().map(|row| vec![names(&row[0])]).collect(),
    }
}

/// All names of one column.
fn column(rows: &[Vec<Vec<String>>], number: usize) -> Names {
    rows.iter().flat_map(|row| row[number].iter().cloned()).collect()
}

fn page() -> String {
    read("docs/parity.md")
}

/// The functions of the header, without the prefix.
fn functions() -> Names {
    let header = read("include/treering.h");
    let declared = header.lines().filter(|line| {
        !line.starts_with([' ', '*', '#', '/', '}', 't'].as_slice()) || line.starts_with("treering_")
    });
    let name = |line: &str| {
        let before = line.split_once('(')?.0;
        let name = before.rsplit([' ', '*']).next()?;
        name.strip_prefix("treering_").map(String::from)
    };
    let all: Names = declared.filter_map(name).collect();
    assert!(all.len() > 150, "{all:?}");
    all
}

fn setters() -> Vec<(String, String)> {
    let split = |name: String| {
        let (_, rest) = name.split_once("_options_")?;
        let option = rest.strip_prefix("set_").or(rest.strip_prefix("add_"))?.to_string();
        Some((name, option))
    };
    functions().into_iter().filter_map(split).collect()
}

#[test]
fn rust_has_what_the_page_says() {
    let written = column(&table(&page(), "Operations"), 0);
    let (methods, rest): (Names, Names) = written.into_iter().partition(|path| {
        let mut parts = path.rsplit("::");
        parts.next();
        parts.next().is_some_and(|owner| owner.starts_with(char::is_uppercase))
    });
    assert_eq!(rest, rust());
    let sources = sources("src", ".rs");
    for method in methods {
        let (owner, name) = method.rsplit_once("::").unwrap();
        let owner = owner.rsplit("::").next().unwrap();
        let found = sources.iter().any(|source| {
            let owned = source.lines().any(|line| {
                line.starts_with("impl") && line.split(['<', ' ', '{']).any(|word| word == owner)
            });
            let public = ["(", "<"].iter().any(|next| source.contains(&format!("    pub fn {name}{next}")));
            owned && public
        });
        assert!(found, "{method}");
    }
}

#[test]
fn every_function_of_c_is_on_the_page() {
    let page = page();
    let named = column(&table(&page, "Operations"), 1);
    let functions = functions();
    for name in &named {
        assert!(functions.contains(name), "treering_{name} is not in the header");
    }
    let alone = column(&table(&page, "Functions of C alone"), 0);
    let fits = |pattern: &str, name: &str| match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == pattern,
    };
    for pattern in &alone {
        assert!(functions.iter().any(|name| fits(pattern, name)), "nothing fits {pattern}");
    }
    let setters: Names = setters().into_iter().map(|(name, _)| name).collect();
    for name in functions.difference(&setters) {
        let there = named.contains(name) || alone.iter().any(|pattern| fits(pattern, name));
        assert!(there, "treering_{name} is not on the page");
    }
}

#[test]
fn go_has_what_the_page_says() {
    let files = sources("bindings/go", ".go").join("\n");
    for name in column(&table(&page(), "Operations"), 2) {
        let found = match name.split_once('.') {
            Some((owner, method)) => files.lines().any(|line| {
                let rest = line.strip_prefix("func (").and_then(|rest| rest.split_once(") "));
                rest.is_some_and(|(receiver, rest)| {
                    receiver.ends_with(&format!("*{owner}")) && rest.starts_with(&format!("{method}("))
                })
            }),
            None => files.lines().any(|line| {
                line.starts_with(&format!("func {name}("))
                    || line.starts_with(&format!("type {name} "))
                    || line.trim_start().starts_with(&format!("{name} Code = "))
            }),
        };
        assert!(found, "{name}");
    }
}

#[test]
fn go_uses_every_setter() {
    let files = sources("bindings/go/internal/ffi", ".go").join("\n");
    for (name, _) in setters() {
        assert!(files.contains(&format!("C.treering_{name}(")), "treering_{name}");
    }
}

/// What the stubs and the Python sources define: `Class.member`, and names of the package.
fn python() -> Names {
    let mut all = Names::new();
    for file in ["_treering.pyi", "_types.py", "_errors.py", "_tree.py", "progress.py"] {
        let mut class = String::new();
        for line in read(format!("bindings/python/python/treering/{file}")).lines() {
            let word = |rest: &str| rest.split(['(', ':', ' ']).next().unwrap().to_string();
            if let Some(rest) = line.strip_prefix("class ") {
                class = word(rest);
                all.insert(class.clone());
            } else if let Some(rest) = line.strip_prefix("    def ") {
                all.insert(format!("{class}.{}", word(rest)));
            } else if let Some(rest) = line.strip_prefix("def ") {
                let module = if file == "progress.py" { "progress." } else { "" };
                all.insert(format!("{module}{}", word(rest)));
            } else if line == "version: str" {
                all.insert("version".into());
            }
        }
    }
    all
}

#[test]
fn python_has_what_the_page_says() {
    let there = python();
    let exported = read("bindings/python/python/treering/__init__.py");
    for name in column(&table(&page(), "Operations"), 3) {
        assert!(there.contains(&name), "{name}");
        let top = name.split('.').next().unwrap();
        assert!(exported.contains(&format!("    \"{top}\",")), "{top} is not in treering.__all__");
    }
}

#[test]
fn python_has_a_keyword_for_every_setter() {
    let stubs = read("bindings/python/python/treering/_treering.pyi");
    let keywords: Names = stubs
        .split([',', '(', '\n'])
        .filter_map(|part| part.split_once(": ").map(|(name, _)| name.trim().to_string()))
        .collect();
    for (name, option) in setters() {
        let there = keywords.contains(&option) || keywords.contains(&format!("{option}s"));
        assert!(there, "{option} of treering_{name}");
    }
}

#[test]
fn every_verb_is_on_the_page() {
    let treering = env!("CARGO_BIN_EXE_treering");
    let dir = tempfile::tempdir().unwrap();
    assert!(Command::new(treering).arg("man").arg(dir.path()).output().unwrap().status.success());
    let page_of = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let verb = name.strip_suffix(".1").unwrap().strip_prefix("treering-")?;
        let group = ["image-", "system-", "layer-"].iter().any(|group| verb.starts_with(group));
        Some(if group { verb.replacen('-', " ", 1) } else { verb.to_string() })
    };
    let mut verbs: Names = dir.path().read_dir().unwrap().filter_map(page_of).collect();
    verbs.insert("help".into());
    let page = page();
    let mut named = column(&table(&page, "Operations"), 4);
    named.append(&mut column(&table(&page, "Verbs of the command alone"), 0));
    let (options, named): (Names, Names) = named.into_iter().partition(|name| name.starts_with("--"));
    assert_eq!(named, verbs);
    let help = Command::new(treering).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in options {
        assert!(help.contains(&option), "{option}");
    }
}
