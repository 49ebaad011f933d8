//! `docs/parity.md` has the functions of each surface. What it names exists on each surface, and what a surface has is on it.
#![cfg(all(feature = "capi", feature = "cli"))]
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

type Names = BTreeSet<String>;

/// Checks that a path is exported: it compiles; methods are looked for in the sources.
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
        treering::archive::TreeFiles,
        treering::archive::copy_directory,
        treering::archive::copy_file,
        treering::archive::copy_in,
        treering::archive::copy_out,
        treering::archive::copy_tar,
        treering::archive::export,
        treering::archive::import,
        treering::archive::load,
        treering::archive::save,
        treering::build::build,
        treering::build::check,
        treering::build::outline,
        treering::build::targets,
        treering::image::ImageFiles,
        treering::image::TreeDiff,
        treering::image::Report,
        treering::image::apply_layer,
        treering::image::checkout,
        treering::image::clone,
        treering::image::commit,
        treering::image::contents,
        treering::image::diff_image,
        treering::image::diff_overlay,
        treering::image::diff_snapshots,
        treering::image::diff_tree,
        treering::image::diff_trees,
        treering::image::edit,
        treering::info::info,
        treering::image::inspect,
        treering::image::tidy,
        treering::image::unpack,
        treering::sandbox::helper,
        treering::sandbox::run,
        treering::image::write_layer,
        treering::layer::Loss,
        treering::layer::list,
        treering::registry::annotate_list,
        treering::registry::copy,
        treering::registry::create_list,
        treering::registry::login,
        treering::registry::logout,
        treering::registry::pull,
        treering::registry::pull_and_unpack,
        treering::registry::push,
        treering::registry::read_manifest,
        treering::registry::tags,
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

/// Returns all files with an ending below a directory, one after the other.
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

/// Returns what stands in backquotes in a cell.
fn names(cell: &str) -> Vec<String> {
    let names: Vec<String> = cell.split('`').skip(1).step_by(2).map(String::from).collect();
    assert!(!names.is_empty() || cell.trim() == "-", "neither names nor a dash: {cell}");
    names
}

/// Returns the rows of the table under a heading: the names in each cell.
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
        "Options" => rows.iter().map(|row| row.iter().map(|cell| names(cell)).collect()).collect(),
        _ => rows.iter().map(|row| vec![names(&row[0])]).collect(),
    }
}

/// Returns all names of one column.
fn column(rows: &[Vec<Vec<String>>], number: usize) -> Names {
    rows.iter().flat_map(|row| row[number].iter().cloned()).collect()
}

fn page() -> String {
    read("docs/parity.md")
}

/// Returns the functions of the header, without the prefix.
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
    assert!(all.len() > 90, "{all:?}");
    all
}

/// Returns whether a name is what a table has for it: itself, or something with a star in it.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => name == pattern,
    }
}

/// Checks that every name is in the operations' column or in the table of what a surface has alone, and nothing there is
/// for nothing.
fn all_are_there(there: &Names, number: usize, heading: &str) {
    let page = page();
    let named = column(&table(&page, "Operations"), number);
    let alone = column(&table(&page, heading), 0);
    for pattern in &alone {
        assert!(there.iter().any(|name| fits(pattern, name)), "nothing fits {pattern} of {heading}");
    }
    let missing: Vec<_> = there
        .iter()
        .filter(|name| !named.contains(*name) && !alone.iter().any(|pattern| fits(pattern, name)))
        .collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}

/// Returns the members of a structure of options in the header; `changes` and its `changes_len` are one.
fn options_of(structure: &str) -> Names {
    let all: Names =
        members().into_iter().filter_map(|(name, member)| (name == structure).then_some(member)).collect();
    assert!(!all.is_empty(), "{structure}");
    all
}

/// Returns all members of all structures of options, without the prefix of the structure.
fn members() -> Vec<(String, String)> {
    let header = read("include/treering.h");
    let mut all = Vec::new();
    let mut rest = header.as_str();
    while let Some((before, after)) = rest.split_once("\n} treering_") {
        let (name, next) = after.split_once(';').unwrap();
        rest = next;
        if !name.ends_with("_options") {
            continue;
        }
        let (_, body) = before.rsplit_once("typedef struct").expect(name);
        let member = |line: &str| {
            let line = line.trim().strip_suffix(';').filter(|line| !line.starts_with('*'))?;
            line.rsplit([' ', '*']).next().map(String::from)
        };
        let names: Names = body.lines().filter_map(member).collect();
        let is_length =
            |member: &String| member.strip_suffix("_len").is_some_and(|list| names.contains(list));
        all.extend(names.iter().filter(|one| !is_length(one)).map(|one| (name.to_string(), one.clone())));
    }
    assert!(all.len() > 60, "{all:?}");
    all
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
    for pattern in &alone {
        assert!(functions.iter().any(|name| fits(pattern, name)), "nothing fits {pattern}");
    }
    for name in &functions {
        let there = named.contains(name) || alone.iter().any(|pattern| fits(pattern, name));
        assert!(there, "treering_{name} is not on the page");
    }
}

/// Returns what Go exports: `Type.Method`, and names of the package.
fn go() -> Names {
    let mut all = Names::new();
    let exported = |name: &str| name.starts_with(char::is_uppercase);
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_string();
    for entry in root().join("bindings/go").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".go") || name.ends_with("_test.go") {
            continue;
        }
        let mut list = false;
        for line in read(path).lines() {
            if let Some(rest) = line.strip_prefix("func (") {
                let (receiver, rest) = rest.split_once(") ").unwrap();
                let owner = receiver.rsplit([' ', '*']).next().unwrap();
                if exported(owner) && exported(rest) {
                    all.insert(format!("{owner}.{}", word(rest)));
                }
            } else if let Some(rest) =
                ["func ", "type ", "var "].iter().find_map(|key| line.strip_prefix(key))
            {
                if exported(rest) {
                    all.insert(word(rest));
                }
            } else if line == "const (" || line == ")" {
                list = line == "const (";
            } else if let Some(rest) = line.strip_prefix('\t').filter(|rest| list && exported(rest)) {
                all.insert(word(rest));
            }
        }
    }
    assert!(all.len() > 100, "{all:?}");
    all
}

#[test]
fn what_go_exports_is_on_the_page() {
    let there = go();
    for name in column(&table(&page(), "Operations"), 2) {
        assert!(there.contains(&name), "{name}");
    }
    all_are_there(&there, 2, "Names of Go alone");
}

/// Returns the fields of a structure of Go, as options are written elsewhere.
fn go_fields(structure: &str) -> Names {
    let files = sources("bindings/go", ".go").join("\n");
    let (_, rest) = files.split_once(&format!("\ntype {structure} struct {{\n")).expect(structure);
    let lines =
        rest.split("\n}").next().unwrap().lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let snake = |name: &str| {
        let mut out = String::new();
        // Initials stand together.
        let mut lower = false;
        for letter in name.chars() {
            if letter.is_uppercase() && lower {
                out.push('_');
            }
            lower = letter.is_lowercase();
            out.extend(letter.to_lowercase());
        }
        out
    };
    // Several names, and then their type.
    let names = lines.flat_map(|line| {
        let words: Vec<_> = line.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        words[..words.len().saturating_sub(1)].to_vec()
    });
    names.filter(|name| name.starts_with(char::is_uppercase)).map(snake).collect()
}

#[test]
fn options_are_fields_in_go() {
    for row in table(&page(), "Options") {
        let (options, fields) = (options_of(&row[0][0]), go_fields(&row[1][0]));
        assert_eq!(fields, options, "{}", row[1][0]);
    }
}

#[test]
fn go_fills_every_member() {
    let files = sources("bindings/go/internal/ffi", ".go").join("\n");
    for (structure, member) in members() {
        // `options.member =`, `p.member, p.other =`, or `member:` of a literal.
        let set = [format!(".{member}, "), format!(".{member} = "), format!("{member}: ")];
        assert!(set.iter().any(|set| files.contains(set)), "{member} of {structure}");
    }
}

/// Returns what the stubs and the Python sources define: `Class.member`, and names of the package.
fn python() -> Names {
    let mut all = Names::new();
    for file in [
        "_treering.pyi",
        "_types.py",
        "_errors.py",
        "_layers.py",
        "_path.py",
        "_tree.py",
        "_container.py",
        "progress.py",
    ] {
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
fn what_python_exports_is_on_the_page() {
    let init = read("bindings/python/python/treering/__init__.py");
    let (_, all) = init.split_once("__all__ = [").unwrap();
    let all: Names = all.split('"').skip(1).step_by(2).map(String::from).collect();
    let public = |name: &String| !name.contains("._") && all.contains(name.split('.').next().unwrap());
    let mut there: Names = python().into_iter().filter(public).collect();
    there.extend(all.iter().cloned());
    all_are_there(&there, 3, "Names of Python alone");
}

/// Returns the parameters of a function in the stubs, `Class.method` or a name of the module.
fn keywords(function: &str) -> Names {
    let stubs = read("bindings/python/python/treering/_treering.pyi");
    let (scope, name) = match function.split_once('.') {
        Some((class, name)) => {
            (stubs.split_once(&format!("\nclass {class}:")).unwrap().1, format!("\n    def {name}("))
        }
        None => (stubs.as_str(), format!("\ndef {function}(")),
    };
    let (_, rest) = scope.split_once(&name).unwrap_or_else(|| panic!("{function}"));
    let list = rest.split(") -> ").next().unwrap();
    let parameters = list.lines().flat_map(|line| line.split(", "));
    parameters.filter_map(|part| part.split_once(": ").map(|(name, _)| name.trim().to_string())).collect()
}

#[test]
fn options_are_keywords_in_python() {
    let page = page();
    let alone = column(&table(&page, "Keywords of Python alone"), 0);
    let mut used = Names::new();
    for row in table(&page, "Options") {
        let options = options_of(&row[0][0]);
        let there: Names = row[2].iter().flat_map(|function| keywords(function)).collect();
        for option in &options {
            assert!(there.iter().any(|keyword| option == keyword), "{option} of {:?}", row[2]);
        }
        for keyword in there {
            if !options.iter().any(|option| **option == keyword) {
                assert!(alone.contains(&keyword), "{keyword} of {:?} is nothing in C", row[2]);
                used.insert(keyword);
            }
        }
    }
    assert_eq!(used, alone);
}

/// Returns the long options in a help text.
fn flags(verb: &[&str]) -> Names {
    let help = Command::new(support::program()).args(verb).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flag = |line: &str| {
        let line = line.trim_start();
        let long = if line.starts_with("--") { line } else { line.strip_prefix('-')?.split_once(", ")?.1 };
        let name = long.strip_prefix("--")?.split(|c: char| !c.is_alphanumeric() && c != '-').next()?;
        Some(format!("--{name}"))
    };
    // Below the options there are examples.
    let (_, options) = help.split_once("\nOptions:\n").expect(&help);
    options.lines().take_while(|line| line.is_empty() || line.starts_with(' ')).filter_map(flag).collect()
}

/// Returns whether a flag is for an option. One that is repeated is named for what it adds to a list: `--change` for
/// `changes`.
fn is_flag_of(flag: &str, option: &str) -> bool {
    let name = flag[2..].replace('-', "_");
    option == name || option.strip_suffix('s') == Some(&name)
}

#[test]
fn options_are_flags_of_the_command() {
    let page = page();
    let everywhere = flags(&[]);
    assert!(everywhere.contains("--root"));
    let without_flag = column(&table(&page, "Options without a flag"), 0);
    let without_setter = column(&table(&page, "Flags without an option"), 0);
    let (mut unflagged, mut unset) = (Names::new(), Names::new());
    let mut verbs = column(&table(&page, "Operations"), 4);
    verbs.retain(|verb| !verb.starts_with("--"));
    let mut of_options = Vec::new();
    for row in table(&page, "Options") {
        let options = options_of(&row[0][0]);
        let of_verb = |verb: &String| {
            let words: Vec<_> = verb.split(' ').collect();
            flags(&words).difference(&everywhere).cloned().collect::<Vec<_>>()
        };
        let there: Names = row[3].iter().flat_map(of_verb).collect();
        for option in &options {
            if !there.iter().any(|flag| is_flag_of(flag, option)) {
                assert!(without_flag.contains(option), "{option} is no flag of {:?}", row[3]);
                unflagged.insert(option.clone());
            }
        }
        of_options.push((row[3].clone(), options));
    }
    for verb in verbs {
        let words: Vec<_> = verb.split(' ').collect();
        let options: Names = of_options
            .iter()
            .filter(|(verbs, _)| verbs.contains(&verb))
            .flat_map(|(_, o)| o.clone())
            .collect();
        for flag in flags(&words).difference(&everywhere) {
            if !options.iter().any(|option| is_flag_of(flag, option)) {
                assert!(without_setter.contains(flag), "{flag} of {verb} is no option");
                unset.insert(flag.clone());
            }
        }
    }
    assert_eq!((unflagged, unset), (without_flag, without_setter));
}

#[test]
fn every_verb_is_on_the_page() {
    let treering = support::program();
    let dir = tempfile::tempdir().unwrap();
    assert!(Command::new(treering).arg("man").arg(dir.path()).output().unwrap().status.success());
    let page_of = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let verb = name.strip_suffix(".1").unwrap().strip_prefix("treering-")?;
        let group = ["image-", "container-", "system-", "builder-", "layer-", "manifest-"]
            .iter()
            .any(|group| verb.starts_with(group));
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

#[test]
fn cargo_c_installs_what_make_installs() {
    let manifest = read("Cargo.toml");
    let (_, capi) = manifest.split_once("[package.metadata.capi]\n").unwrap();
    let capi = capi.split("\n[lib]").next().unwrap();
    // cargo-c itself is too slow to build for every run of the tests: `make check-cargo-c` is the whole comparison.
    for line in [
        "subdirectory = false",
        "generation = false",
        r#"asset = [{ from = "include/treering.h", to = "" }]"#,
        "version_suffix_components = 2",
    ] {
        assert!(capi.contains(line), "{line}");
    }
    let makefile = read("Makefile");
    for line in [
        "SONAME := libtreering.so.$(basename $(VERSION))",
        "$(DESTDIR)$(INCLUDEDIR)/treering.h",
        "$(DESTDIR)$(LIBDIR)/libtreering.so.$(VERSION)",
        "$(DESTDIR)$(LIBDIR)/libtreering.a",
        "$(DESTDIR)$(LIBDIR)/pkgconfig/treering.pc",
    ] {
        assert!(makefile.contains(line), "{line}");
    }
    let version = env!("CARGO_PKG_VERSION").split('.').count();
    assert_eq!(version, 3, "two components and one more: what `basename` cuts off");
}
