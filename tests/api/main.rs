//! The public interface of the library, item by item, is what `docs/api.txt` lists, so that no change to it goes unseen.
//!
//! `TREERING_WRITE_API=1 cargo test --all-features --test api` writes the list anew. It is made out of the sources, which rustfmt
//! has in one shape, so it needs no other compiler than the one that builds the library.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// An item of a module, with what belongs to it: fields, variants, methods.
#[derive(Debug, Clone, Default)]
struct Item {
    header: String,
    parts: Vec<String>,
}

/// A source file's content.
#[derive(Debug, Default)]
struct Module {
    items: BTreeMap<String, Item>,
    /// Methods and traits by the type they are for.
    implemented: BTreeMap<String, BTreeSet<String>>,
    /// Names of submodules; whether they are shown.
    modules: BTreeMap<String, bool>,
    /// Where a name comes from, for what is exported of other modules.
    exported: BTreeMap<String, String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a line without its comment. Texts that hold `//` are rare, and stand in no header.
fn code(line: &str) -> &str {
    let end = line.find("//").filter(|&at| !line[..at].contains('"')).unwrap_or(line.len());
    line[..end].trim_end()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Takes lines until a declaration is complete, and gives it as one line without its body. `next` is behind the last one taken.
fn declaration(lines: &[&str], mut at: usize) -> (String, bool, usize) {
    let mut text = String::new();
    loop {
        let line = code(lines[at]).trim();
        at += 1;
        if !text.is_empty() && !text.ends_with('(') && !line.starts_with([')', '>']) {
            text.push(' ');
        }
        text.push_str(line);
        let open = text.matches(['(', '[']).count() > text.matches([')', ']']).count();
        if !open && (text.ends_with([';', '{', '}', ',']) || at == lines.len()) {
            break;
        }
    }
    let body = text.ends_with('{');
    let text = text.trim_end_matches(['{', ';', ',']).trim().to_string();
    // What rustfmt puts behind the last parameter of a long list.
    let text = text.replace(", )", ")").replace(",)", ")");
    (text.split(" = ").next().unwrap_or_default().to_string(), body, at)
}

/// Returns where the block ends that a line at this depth has opened: behind its closing brace.
fn block(lines: &[&str], mut at: usize, depth: usize) -> usize {
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if indent(line) == depth && line.trim_start().starts_with('}') {
            break;
        }
    }
    at
}

/// Returns the first word of a declaration that is the name of what it declares.
fn name_of(declaration: &str) -> String {
    let skip =
        ["pub", "unsafe", "const", "static", "fn", "struct", "enum", "trait", "type", "mod", "async", "mut"];
    let word = declaration
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .find(|word| !word.is_empty() && !skip.contains(word));
    word.unwrap_or_default().to_string()
}

/// Returns the type that an `impl` is for, without its parameters and path, and the trait with its parameters.
fn target_of(header: &str) -> (String, Option<String>) {
    let mut rest = header.trim_start_matches("unsafe ").trim_start_matches("impl").trim();
    if rest.starts_with('<') {
        let mut depth = 0;
        for (at, c) in rest.char_indices() {
            depth += match c {
                '<' => 1,
                '>' if !rest[..at].ends_with('-') => -1,
                _ => 0,
            };
            if depth == 0 {
                rest = rest[at + 1..].trim();
                break;
            }
        }
    }
    let rest = rest.split(" where").next().unwrap().trim();
    let (implemented, target) = match rest.split_once(" for ") {
        Some((of, target)) => (Some(of.to_string()), target),
        None => (None, rest),
    };
    let plain = target.trim_start_matches('&').split('<').next().unwrap();
    (plain.rsplit("::").next().unwrap().trim().to_string(), implemented)
}

fn exports(text: &str) -> Vec<(String, String)> {
    let text = text.trim_start_matches("pub use ").trim_end_matches(';').trim();
    let (path, names) = match text.split_once('{') {
        Some((path, names)) => {
            (path.trim_end_matches("::").to_string(), names.trim_end_matches('}').to_string())
        }
        None => match text.rsplit_once("::") {
            Some((path, name)) => (path.to_string(), name.to_string()),
            None => (String::new(), text.to_string()),
        },
    };
    let one = |name: &str| {
        let (from, shown) = name.split_once(" as ").unwrap_or((name, name));
        (shown.trim().to_string(), format!("{path}::{}", from.trim()))
    };
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(one).collect()
}

fn read_module(text: &str) -> Module {
    let mut out = Module::default();
    let lines: Vec<&str> = text.lines().collect();
    let (mut at, mut attributes) = (0, Vec::<String>::new());
    while at < lines.len() {
        let line = code(lines[at]);
        let trimmed = line.trim();
        if trimmed.starts_with("#[") {
            let (text, _, next) = if trimmed.ends_with(']') {
                (trimmed.to_string(), false, at + 1)
            } else {
                let end = (at..lines.len()).find(|&n| lines[n].trim_end().ends_with(']')).unwrap();
                (lines[at..=end].iter().map(|line| line.trim()).collect(), false, end + 1)
            };
            attributes.push(text);
            at = next;
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with("#![") {
            at += 1;
            continue;
        }
        let depth = indent(line);
        let hidden =
            attributes.iter().any(|it| it.starts_with("#[doc(hidden)") || it.starts_with("#[cfg(test)"));
        let open = attributes.iter().any(|it| it == "#[non_exhaustive]");
        let feature =
            attributes.iter().find_map(|it| it.strip_prefix("#[cfg(feature = \"")?.split('"').next());
        let marks = [open.then(|| "#[non_exhaustive] ".to_string()), feature.map(|it| format!("[{it}] "))];
        let marks: String = marks.into_iter().flatten().collect();
        let derived: Vec<String> = attributes
            .iter()
            .filter_map(|it| it.strip_prefix("#[derive(")?.strip_suffix(")]"))
            .flat_map(|it| it.split(','))
            .map(|it| it.trim().rsplit("::").next().unwrap().to_string())
            .collect();
        attributes.clear();
        let inside =
            trimmed.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(trimmed, |it| it.1);
        if inside.starts_with("pub mod ") || inside.starts_with("mod ") {
            let (text, body, next) = declaration(&lines, at);
            at = if body { block(&lines, next, depth) } else { next };
            out.modules.insert(name_of(inside), text.starts_with("pub ") && !hidden);
        } else if trimmed.starts_with("pub use ") {
            let (text, _, next) = declaration_of_use(&lines, at);
            at = next;
            if !hidden {
                out.exported.extend(exports(&text));
            }
        } else if trimmed.starts_with("impl") || trimmed.starts_with("unsafe impl") {
            let (header, body, next) = declaration(&lines, at);
            let (target, implemented) = target_of(&header);
            at = next;
            let end = if body { block(&lines, at, depth) } else { at };
            let entry = out.implemented.entry(target).or_default();
            match implemented {
                Some(of) if !hidden => drop(entry.insert(format!("impl {of}"))),
                None if !hidden => entry.extend(members(&lines[at..end], depth + 4)),
                _ => {}
            }
            at = end;
        } else if trimmed.starts_with("pub ") && !trimmed.starts_with("pub(") {
            let (text, body, next) = declaration(&lines, at);
            at = next;
            let mut parts = Vec::new();
            if body {
                let end = block(&lines, at, depth);
                let kind = text.trim_start_matches("pub ").split(' ').next().unwrap();
                parts = match kind {
                    // The constants of flags.
                    "struct" if text.contains(": u") => variants(&lines[at..end], depth + 4),
                    "struct" => members(&lines[at..end], depth + 4),
                    "enum" | "trait" => variants(&lines[at..end], depth + 4),
                    _ => Vec::new(),
                };
                at = end;
            }
            if !hidden {
                let name = name_of(&text);
                // Private fields of a tuple are not listed.
                let text = match text.split_once('(') {
                    Some((head, fields)) if head.contains("struct ") && !fields.contains("pub ") => {
                        format!("{head}(_)")
                    }
                    _ => text,
                };
                let derived = derived.into_iter().map(|of| format!("impl {of}"));
                out.implemented.entry(name.clone()).or_default().extend(derived);
                out.items.insert(name, Item { header: format!("{marks}{text}"), parts });
            }
        } else {
            let (_, body, next) = declaration(&lines, at);
            // Macros that make items are looked into.
            let macro_of_items = trimmed.contains("! {");
            at = if body && !macro_of_items { block(&lines, next, depth) } else { next };
        }
    }
    out
}

fn declaration_of_use(lines: &[&str], mut at: usize) -> (String, bool, usize) {
    let mut text = String::new();
    loop {
        text.push_str(code(lines[at]).trim());
        at += 1;
        if text.ends_with(';') {
            return (text, false, at);
        }
        text.push(' ');
    }
}

/// Returns the public fields, functions and constants in a body.
fn members(lines: &[&str], depth: usize) -> Vec<String> {
    let mut out = Vec::new();
    let (mut at, mut hidden) = (0, false);
    while at < lines.len() {
        let line = code(lines[at]);
        let trimmed = line.trim();
        if indent(line) != depth || trimmed.is_empty() {
            at += 1;
            continue;
        }
        if trimmed.starts_with("#[") {
            hidden |= trimmed.starts_with("#[doc(hidden)") || trimmed.starts_with("#[cfg(test)");
            at += 1;
            continue;
        }
        let (text, body, next) = declaration(lines, at);
        at = if body { block(lines, next, depth) } else { next };
        if text.starts_with("pub ") && !hidden {
            out.push(text);
        }
        hidden = false;
    }
    out
}

/// Returns the variants of an enumeration, or the functions of a trait.
fn variants(lines: &[&str], depth: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = code(lines[at]);
        let trimmed = line.trim();
        if indent(line) != depth || trimmed.is_empty() || trimmed.starts_with("#[") {
            at += 1;
            continue;
        }
        let (text, body, next) = declaration(lines, at);
        let end = if body { block(lines, next, depth) } else { next };
        let is_function = text.contains("fn ");
        let fields: Vec<String> = match body && !is_function {
            false => Vec::new(),
            true => lines[next..end]
                .iter()
                .map(|line| code(line).trim())
                .filter(|line| !line.is_empty() && !line.starts_with(['#', '}']))
                .map(|line| line.trim_end_matches(',').to_string())
                .collect(),
        };
        out.push(if fields.is_empty() { text } else { format!("{text} {{ {} }}", fields.join(", ")) });
        at = end;
    }
    out
}

/// All modules of the library by their paths.
struct Crate(BTreeMap<Vec<String>, Module>);

impl Crate {
    fn read() -> Crate {
        let mut out = BTreeMap::new();
        let mut todo = vec![(Vec::<String>::new(), root().join("src/lib.rs"))];
        while let Some((path, file)) = todo.pop() {
            let text =
                std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let module = read_module(&text);
            for name in module.modules.keys() {
                let mut inner = path.clone();
                inner.push(name.clone());
                let dir: PathBuf = inner.iter().fold(root().join("src"), |dir, name| dir.join(name));
                let files = [dir.with_extension("rs"), dir.join("mod.rs")];
                // Modules in the file itself are of no interest: those of tests.
                if let Some(file) = files.into_iter().find(|file| file.exists()) {
                    todo.push((inner, file));
                }
            }
            out.insert(path, module);
        }
        Crate(out)
    }

    /// Returns the methods and traits of a type, wherever they stand in its room.
    fn implemented(&self, path: &[String], name: &str) -> BTreeSet<String> {
        let room = path.first();
        let same = self.0.iter().filter(|(of, _)| of.first() == room);
        same.filter_map(|(_, module)| module.implemented.get(name)).flatten().cloned().collect()
    }

    fn item(&self, out: &mut String, path: &[String], name: &str, shown: &str) {
        let Some(item) = self.0.get(path).and_then(|module| module.items.get(name)) else {
            let _ = writeln!(out, "{shown}: pub use {}::{name}", path.join("::"));
            return;
        };
        let _ = writeln!(out, "{shown}: {}", item.header);
        let is_type = ["struct ", "enum ", "trait "].iter().any(|word| item.header.contains(word));
        let more = if is_type { self.implemented(path, name) } else { BTreeSet::new() };
        for part in item.parts.iter().chain(&more) {
            let _ = writeln!(out, "    {part}");
        }
    }

    /// Returns everything that is shown below a module.
    fn list(&self, out: &mut String, path: &[String]) {
        let Some(module) = self.0.get(path) else { return };
        let shown = |name: &str| {
            let parts: Vec<&str> = path.iter().map(String::as_str).chain([name]).collect();
            parts.join("::")
        };
        for name in module.items.keys() {
            self.item(out, path, name, &shown(name));
        }
        for (name, from) in &module.exported {
            let parts: Vec<&str> = from.trim_start_matches("::").split("::").collect();
            let (last, dirs) = parts.split_last().unwrap();
            let base: Vec<String> = match dirs.first() {
                Some(&"crate") => dirs[1..].iter().map(ToString::to_string).collect(),
                Some(&"self") => {
                    path.iter().cloned().chain(dirs[1..].iter().map(ToString::to_string)).collect()
                }
                Some(&"super") => {
                    let above = &path[..path.len() - 1];
                    above.iter().cloned().chain(dirs[1..].iter().map(ToString::to_string)).collect()
                }
                Some(first) if module.modules.contains_key(*first) => {
                    path.iter().cloned().chain(dirs.iter().map(ToString::to_string)).collect()
                }
                _ => dirs.iter().map(ToString::to_string).collect(),
            };
            self.follow(out, &base, last, &shown(name));
        }
        for (name, public) in &module.modules {
            if *public {
                let mut inner = path.to_vec();
                inner.push(name.clone());
                self.list(out, &inner);
            }
        }
    }

    /// Follows an export of an export, to where the item is.
    fn follow(&self, out: &mut String, path: &[String], name: &str, shown: &str) {
        let module = self.0.get(path);
        let next = module.filter(|it| !it.items.contains_key(name)).and_then(|it| it.exported.get(name));
        match next {
            None => self.item(out, path, name, shown),
            Some(from) => {
                let (dir, last) = from.rsplit_once("::").unwrap();
                let dir = dir.trim_start_matches("::");
                let base: Vec<String> = match dir.strip_prefix("crate") {
                    Some(rest) => rest.split("::").filter(|it| !it.is_empty()).map(String::from).collect(),
                    None => path.iter().cloned().chain(dir.split("::").map(String::from)).collect(),
                };
                self.follow(out, &base, last, shown);
            }
        }
    }
}

fn listing() -> String {
    let mut out = String::from(
        "# Every public item of the library; tests/api compares, and says how to write this anew.\n",
    );
    Crate::read().list(&mut out, &[]);
    out
}

#[test]
fn the_public_interface_is_the_one_that_is_listed() {
    let path = root().join("docs/api.txt");
    let now = listing();
    if std::env::var_os("TREERING_WRITE_API").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (listed.lines().collect(), now.lines().collect());
    let gone: Vec<&&str> = old.difference(&new).collect();
    let came: Vec<&&str> = new.difference(&old).collect();
    assert!(
        listed == now,
        "docs/api.txt is not the public interface any more.\nGone: {gone:#?}\nNew: {came:#?}\n\
         TREERING_WRITE_API=1 cargo test --all-features --test api writes it anew."
    );
}

/// The list has what there is: if the sources were read wrongly, these would be missing.
#[test]
fn the_list_has_functions_methods_fields_and_variants() {
    let list = listing();
    for line in [
        "image::commit: pub fn commit(",
        "    pub fn kind(&self) -> ErrorKind",
        "    pub squash: bool",
        "    NotFound",
        "    impl Clone",
        "    impl FromStr",
        "image::Committed: #[non_exhaustive] pub struct Committed",
        "progress::Share",
        "store::Store::put_layer_index",
    ] {
        let there = list.lines().any(|it| it.starts_with(line));
        let private = line.starts_with("progress::Share") || line.starts_with("store::Store::");
        assert_eq!(there, !private, "{line}");
    }
    assert!(list.lines().count() > 600, "{}", list.lines().count());
    assert!(!list.contains("pub(crate)"));
}

/// Results that are plain data can be kept, sent and printed.
#[test]
fn results_are_data() {
    fn data<T: Clone + std::fmt::Debug + serde::Serialize>() {}
    data::<treering::image::Committed>();
    data::<treering::image::Unpacked>();
    data::<treering::image::CheckedOut>();
    data::<treering::image::Cloned>();
    data::<treering::image::TidyReport>();
    data::<treering::archive::Loaded>();
    data::<treering::build::Built>();
    data::<treering::registry::Pulled>();
    data::<treering::registry::Pushed>();
    data::<treering::registry::Copied>();
    data::<treering::store::PruneReport>();
    data::<treering::store::FsckReport>();
    data::<treering::store::Usage>();
    data::<treering::info::Info>();
    data::<treering::layer::Loss>();
    let scratch = tempfile::tempdir().unwrap();
    let store = treering::store::Store::open(scratch.path().join("store")).unwrap();
    let options = treering::image::CommitOptions::default();
    std::fs::create_dir(scratch.path().join("tree")).unwrap();
    let tree = scratch.path().join("tree");
    let made = treering::image::commit(&store, tree, Some("app:1"), &options, &treering::Control::default())
        .unwrap();
    let json = serde_json::to_value(&made).unwrap();
    assert_eq!(json["manifest"], made.manifest.to_string());
    assert_eq!(json["stat"]["added"], made.stat.added);
}
