//! The steps of `tests/data/parity.json`, run from Rust. `tests/data/README.md` says what they mean.
#![allow(clippy::disallowed_methods)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::Scratch;
use serde_json::{Map, Value, json};
use treering::archive::{self, ExportOptions, ExportSource, ImportOptions, LoadOptions, NamePolicy};
use treering::compress::{Compression, Profile, write};
use treering::diff::CompareMode;
use treering::fs::Root;
use treering::image::all_added;
use treering::image::{
    Base, CommitOptions, DiffOptions, Image, Platform, TreeDiff, UnpackOptions, commit, diff_image,
    diff_tree, diff_trees, inspect, unpack,
};
use treering::layer::{LayerOptions, LayerPlan, LayerTar, MtimePrecision};
use treering::store::{FsckLevel, Reference, Store, descriptor_digest};
use treering::tree::OwnerSource;
use treering::tree::{OwnerPolicy, Snapshot};
use treering::{Control, Digest, Error, Result};

struct Case<'a> {
    scratch: &'a Path,
    step: &'a Map<String, Value>,
    control: Control,
}

fn escape(bytes: &[u8]) -> String {
    let plain = |&b: &u8| (0x21..0x7f).contains(&b);
    bytes.iter().map(|b| if plain(b) { (*b as char).to_string() } else { format!("\\x{b:02x}") }).collect()
}

fn unescape(text: &str) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        out.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap());
        rest = &rest[at + 4..];
    }
    out.extend_from_slice(rest.as_bytes());
    PathBuf::from(OsStr::from_bytes(&out))
}

impl Case<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        Some(self.step.get(name)?.as_str().unwrap())
    }

    fn need(&self, name: &str) -> &str {
        self.text(name).unwrap_or_else(|| panic!("{name} is missing in {:?}", self.step))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(self.need(name))
    }

    fn texts(&self, name: &str) -> Vec<String> {
        list(&self.step[name])
    }

    fn store(&self) -> Result<Store> {
        Store::open(self.scratch.join(self.text("store").unwrap_or("store")))
    }

    fn file(&self) -> std::fs::File {
        std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path("file"))
            .unwrap()
    }

    fn sha256(&self) -> Value {
        let bytes = std::fs::read(self.path("file")).unwrap();
        json!({ "sha256": Digest::of(&bytes).hex() })
    }

    fn option(&self, name: &str) -> Option<&Value> {
        self.step.get("options")?.get(name)
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.option(name).map(|value| value.as_str().unwrap())
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(&self, name: &str) -> Result<Option<T>> {
        self.word(name).map(str::parse).transpose()
    }

    fn flag(&self, name: &str) -> bool {
        self.option(name).is_some_and(|value| value.as_bool().unwrap())
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.option(name).map(|value| value.as_i64().unwrap())
    }

    fn profile(&self) -> Result<Option<Profile>> {
        let Some(compression) = self.parsed::<Compression>("compression")? else { return Ok(None) };
        Profile::new(compression, self.number("level").map(|n| n as i32)).map(Some)
    }

    fn layer(&self) -> LayerOptions {
        let precision = match self.flag("nanoseconds") {
            true => MtimePrecision::Nanoseconds,
            false => MtimePrecision::Seconds,
        };
        LayerOptions { precision, clamp_mtime: self.number("clamp_mtime") }
    }

    fn commit_options(&self) -> Result<CommitOptions> {
        let annotations = self.option("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(CommitOptions {
            base: self.parsed("base")?.unwrap_or_default(),
            compare: self.parsed("compare")?.unwrap_or_default(),
            owner: self.parsed("owner")?,
            owner_from: self.word("owner_from").map(OwnerSource::parse).transpose()?,
            profile: self.profile()?.unwrap_or_default(),
            layer: self.layer(),
            author: self.word("author").map(String::from),
            message: self.word("message").map(String::from),
            changes: self.option("changes").map(list).unwrap_or_default(),
            created: self.number("created"),
            squash: self.flag("squash"),
            platform: self.parsed("platform")?,
            annotations: annotations.into_iter().map(|(k, v)| (k, v.as_str().unwrap().into())).collect(),
            one_file_system: self.flag("one_file_system"),
            threads: self.number("threads").unwrap_or(0) as usize,
            lowers: Vec::new(),
        })
    }

    fn run(&self) -> Result<Value> {
        match self.need("op") {
            "make" => {
                make(&self.path("dir"), self.step["entries"].as_array().unwrap());
                Ok(json!({}))
            }
            "delete" => {
                let path = self.path("dir").join(unescape(self.need("path")));
                let is_dir = path.symlink_metadata().unwrap().is_dir();
                if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
                date(&self.path("dir"));
                Ok(json!({}))
            }
            "scan" => Ok(json!({ "entries": entries(&common::scan(&self.path("dir")).snapshot) })),
            "commit" => self.commit(),
            "cancelled_commit" => {
                self.control.cancel.cancel();
                self.commit()
            }
            "unpack" => {
                let platform = self.text("platform").map(str::parse::<Platform>).transpose()?;
                let options = UnpackOptions { platform, ..UnpackOptions::default() };
                let dir = self.path("dir");
                let made = unpack(&self.store()?, self.need("reference"), &dir, &options, &self.control)?;
                Ok(json!({ "manifest": made.manifest, "entries": made.entries, "losses": made.losses.len() }))
            }
            "diff_tree" => {
                let base = self.text("base").map(str::parse::<Base>).transpose()?.unwrap_or_default();
                let options = DiffOptions::default();
                diff_tree(Some(&self.store()?), &self.path("dir"), &base, &options, &self.control)
                    .map(changes)
            }
            "diff_trees" => {
                let options = DiffOptions {
                    owner: Some(OwnerPolicy::Root),
                    compare: CompareMode::Content,
                    ..DiffOptions::default()
                };
                let (before, after) = (self.path("before"), self.path("after"));
                diff_trees(None, &before, &after, &options, &self.control).map(changes)
            }
            "diff_images" => {
                let (before, after) = (self.text("before"), self.need("after"));
                diff_image(&self.store()?, before, after, &DiffOptions::default(), &self.control).map(changes)
            }
            "write_layer" => self.write_layer(),
            "save" => {
                let format = self.need("format").parse()?;
                let references = self.texts("references");
                archive::save(&self.store()?, &references, format, &mut self.file(), &self.control)?;
                Ok(self.sha256())
            }
            "load" => {
                let names = match self.text("names") {
                    None | Some("keep") => NamePolicy::Keep,
                    Some("move") => NamePolicy::Move,
                    _ => NamePolicy::Ignore,
                };
                let options = LoadOptions { names, ..LoadOptions::default() };
                let loaded = archive::load(&self.store()?, Box::new(self.file()), &options, &self.control)?;
                let line = |one: &archive::Loaded| format!("{} {}", name(one.name.as_ref()), one.image_id);
                Ok(json!({ "loaded": loaded.iter().map(line).collect::<Vec<_>>() }))
            }
            "export" => {
                let dir;
                let source = match self.text("reference") {
                    Some(reference) => ExportSource::Image(reference),
                    None => {
                        dir = self.path("dir");
                        ExportSource::Tree(&dir)
                    }
                };
                let options = ExportOptions::default();
                archive::export(&self.store()?, source, &options, &mut self.file(), &self.control)?;
                Ok(self.sha256())
            }
            "import" => {
                let options = ImportOptions {
                    changes: self.option("changes").map(list).unwrap_or_default(),
                    message: self.word("message").map(String::from),
                    author: self.word("author").map(String::from),
                    platform: self.parsed("platform")?,
                    created: self.number("created"),
                    profile: self.profile()?,
                    ..ImportOptions::default()
                };
                let name = self.text("reference").map(Reference::parse).transpose()?;
                let input = Box::new(self.file());
                let made = archive::import(&self.store()?, input, name.as_ref(), &options, &self.control)?;
                let layer = made.layer.unwrap();
                Ok(json!({
                    "manifest": made.manifest,
                    "image_id": made.image_id,
                    "layer_diff_id": layer.diff_id,
                    "layer_digest": layer.digest,
                }))
            }
            _ => self.names(),
        }
    }

    fn names(&self) -> Result<Value> {
        let store = self.store()?;
        match self.need("op") {
            "layers" => {
                let image = Image::open(&store, self.need("reference"), None)?;
                let line = |layer: &treering::image::Layer| {
                    format!("{} {} {}", layer.diff_id, layer.digest, layer.size)
                };
                Ok(json!({ "layers": image.layers().iter().map(line).collect::<Vec<_>>() }))
            }
            "inspect" => {
                let image = Image::open(&store, self.need("reference"), Some(&"linux/arm64".parse()?))?;
                let all = inspect(&store, &image)?;
                let part =
                    ["Id", "Author", "Architecture", "Os"].map(|key| (key.to_string(), all[key].clone()));
                Ok(Value::Object(part.into_iter().collect()))
            }
            "refs" => {
                let line = |entry: treering::store::Entry| {
                    format!("{} {}", name(entry.name.as_ref()), entry.descriptor.digest())
                };
                Ok(json!({ "refs": store.entries()?.into_iter().map(line).collect::<Vec<_>>() }))
            }
            "resolve" => {
                let found = store.resolve(self.need("reference"))?;
                Ok(json!({ "digest": found.descriptor.digest().to_string() }))
            }
            "tag" => {
                let name = Reference::parse(self.need("name"))?;
                store.tag(&name, &store.resolve(self.need("reference"))?.descriptor)?;
                Ok(json!({}))
            }
            "untag" => {
                store.untag(&Reference::parse(self.need("name"))?)?;
                Ok(json!({}))
            }
            "remove" => {
                store.remove(&descriptor_digest(&store.resolve(self.need("reference"))?.descriptor)?)?;
                Ok(json!({}))
            }
            "fsck" => {
                let report = store.fsck(FsckLevel::Bytes, &self.control)?;
                Ok(json!({ "problems": report.problems.len() }))
            }
            other => panic!("unknown op {other}"),
        }
    }

    fn commit(&self) -> Result<Value> {
        let options = self.commit_options()?;
        let made =
            commit(&self.store()?, &self.path("dir"), self.text("reference"), &options, &self.control)?;
        let digest = |digest: Option<Digest>| digest.map(|digest| digest.to_string()).unwrap_or_default();
        Ok(json!({
            "manifest": made.manifest,
            "image_id": made.image_id,
            "layer_diff_id": digest(made.layer.map(|layer| layer.diff_id)),
            "layer_digest": digest(made.layer.map(|layer| layer.digest)),
            "added": made.stat.added,
            "changed": made.stat.changed,
            "deleted": made.stat.deleted,
        }))
    }

    fn write_layer(&self) -> Result<Value> {
        let root = Root::open(self.path("dir"))?;
        let new = common::scan_with(&self.path("dir"), &treering::tree::ScanOptions::default()).snapshot;
        let plan = LayerPlan::new(&all_added(&new), None, &new, self.layer())?;
        let entries = plan.entry_count();
        let profile = self.profile()?.unwrap_or_default();
        let written = write(&LayerTar::new(plan, &root), &profile, 2, &mut Vec::new(), &self.control)?;
        Ok(json!({
            "diff_id": written.diff_id,
            "digest": written.digest,
            "diff_size": written.diff_size,
            "size": written.size,
            "entries": entries,
        }))
    }
}

fn name(name: Option<&Reference>) -> String {
    name.map_or("-".into(), ToString::to_string)
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_string()).collect()
}

fn changes(diff: TreeDiff) -> Value {
    let line = |change| {
        let change: &treering::diff::Change = change;
        format!("{} {}", change.kind.letter(), escape(&diff.path(change)))
    };
    json!({ "changes": diff.listed().map(line).collect::<Vec<_>>() })
}

fn entries(snapshot: &Snapshot) -> Vec<String> {
    let line = |index| {
        let meta = snapshot.meta(index);
        let path = if index == 0 { ".".into() } else { escape(&snapshot.path(index)) };
        let arrow = match snapshot.link_target(index) {
            b"" => String::new(),
            target => format!(" -> {}", escape(target)),
        };
        format!("{} {:04o} {} {path}{arrow}", meta.kind.name(), meta.mode, meta.size)
    };
    std::iter::once(0).chain(snapshot.walk()).map(line).collect()
}

fn make(dir: &Path, entries: &[Value]) {
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    if !dir.exists() {
        std::fs::create_dir(dir).unwrap();
        mode(dir, 0o755);
    }
    for entry in entries {
        let text = |name: &str| entry[name].as_str().unwrap();
        let octal = || u32::from_str_radix(text("mode"), 8).unwrap();
        let path = dir.join(unescape(text("path")));
        if text("type") != "directory" && path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path).unwrap();
        }
        match text("type") {
            "directory" => {
                std::fs::create_dir(&path).unwrap();
                mode(&path, octal());
            }
            "file" => {
                std::fs::write(&path, text("content")).unwrap();
                mode(&path, octal());
            }
            "symlink" => std::os::unix::fs::symlink(unescape(text("target")), &path).unwrap(),
            "hardlink" => std::fs::hard_link(dir.join(unescape(text("target"))), &path).unwrap(),
            other => panic!("unknown type {other}"),
        }
    }
    if dir.file_name().is_some_and(|name| name != ".") {
        date(dir);
    }
}

fn date(dir: &Path) {
    common::sh(dir, "find . -exec touch -h -d @1700000000 {} +");
}

#[test]
fn every_step_gives_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity.json");
    let mut table: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(table["format"], 1);
    let writing = std::env::var_os("TREERING_WRITE_PARITY").is_some();
    let mut wrong = Vec::new();
    for case in table["cases"].as_array_mut().unwrap() {
        let scratch = Scratch::new();
        let name = case["name"].as_str().unwrap().to_string();
        for (number, step) in case["steps"].as_array_mut().unwrap().iter_mut().enumerate() {
            let object = step.as_object_mut().unwrap();
            let run = Case { scratch: scratch.path(), step: object, control: Control::default() }.run();
            let got = run.unwrap_or_else(|error| json!({ "error": error.kind().name() }));
            if writing {
                object.insert("expect".into(), got);
                continue;
            }
            let expected = object["expect"].as_object().unwrap().clone();
            if got.get("error").is_some() && !expected.contains_key("error") {
                wrong.push(format!("{name}, step {number} ({}): {got}", object["op"]));
            }
            for (key, value) in expected {
                if got.get(&key) != Some(&value) {
                    wrong.push(format!("{name}, step {number} ({}): {key}: {value} != {got}", object["op"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if writing {
        std::fs::write(path, layout(&table)).unwrap();
    }
}

/// One line for each step, so that a difference shows what changed.
fn layout(table: &Value) -> String {
    let mut out = format!("{{ \"format\": {}, \"cases\": [", table["format"]);
    for (i, case) in table["cases"].as_array().unwrap().iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        out += &format!("{comma}\n{{ \"name\": {}, \"steps\": [", case["name"]);
        for (j, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            out += &format!("{}\n  {step}", if j > 0 { "," } else { "" });
        }
        out += "\n] }";
    }
    out + "\n] }\n"
}
