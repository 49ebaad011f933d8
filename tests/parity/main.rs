//! The steps of `tests/data/parity.json`, run from Rust. `tests/data/README.md` says what they mean.
#![allow(clippy::disallowed_methods)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use support::Scratch;
use treering::archive::{self, ExportOptions, ExportSource, ImportOptions, LoadOptions, NamePolicy};
use treering::compress::{Compression, DecodeOptions, Decoder, Profile, write};
use treering::diff::{ChangeKind, CompareMode, all_added};
use treering::fs::{Kind, Root};
use treering::image::{
    Base, CheckoutOptions, CloneOptions, CommitOptions, DiffOptions, HistoryRow, Image, ImageFiles, Platform,
    TidyOptions, TreeDiff, UnpackOptions, checkout, clone, commit, diff_image, diff_overlay, diff_snapshots,
    diff_tree, diff_trees, inspect, tidy, unpack,
};
use treering::info::info;
use treering::layer::EntryKind;
use treering::layer::read::TarEntry;
use treering::layer::{ApplyOptions, LayerOptions, LayerPlan, LayerTar, ListOptions, MtimePrecision, Target};
use treering::store::{FsckLevel, ImageUsage, PruneOptions, Reference, Store, descriptor_digest};
use treering::tree::{OwnerPolicy, OwnerSource, OwnersWanted, ScanOptions, Snapshot, scan};
use treering::{Control, Digest, Error, ErrorKind, Result};

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
        LayerOptions {
            precision: MtimePrecision::nanoseconds(self.flag("nanoseconds")),
            clamp_mtime: self.number("clamp_mtime"),
        }
    }

    fn commit_options(&self) -> Result<CommitOptions> {
        let annotations = self.option("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(CommitOptions {
            base: self.parsed("base")?.unwrap_or_default(),
            compare: self.parsed("compare")?.unwrap_or_default(),
            owners: OwnersWanted {
                policy: self.parsed("owner")?,
                source: self.word("owner_from").map(OwnerSource::parse).transpose()?,
            },
            profile: self.profile()?.unwrap_or_default(),
            layer: self.layer(),
            author: self.word("author").map(String::from),
            message: self.word("message").map(String::from),
            changes: self.option("changes").map(list).unwrap_or_default(),
            created: self.number("created"),
            squash: self.flag("squash"),
            only_if_changed: self.flag("only_if_changed"),
            platform: self.parsed("platform")?,
            annotations: annotations.into_iter().map(|(k, v)| (k, v.as_str().unwrap().into())).collect(),
            one_file_system: self.flag("one_file_system"),
            threads: self.number("threads").unwrap_or(0) as usize,
            lowers: self.lowers(),
            ..CommitOptions::default()
        })
    }

    fn lowers(&self) -> Vec<PathBuf> {
        let names = self.step.get("lowers").map(list).unwrap_or_default();
        names.iter().map(|name| self.scratch.join(name)).collect()
    }

    fn scan(&self, name: &str) -> Result<Snapshot> {
        let owner_from = self.word("owner_from").map(OwnerSource::parse).transpose()?.unwrap_or_default();
        let options = ScanOptions { owner_from: &owner_from, ..ScanOptions::default() };
        Ok(scan(&Root::open(self.path(name))?, &options, &self.control)?.snapshot)
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
            "scan" => Ok(json!({ "entries": entries(&support::scan(&self.path("dir")).snapshot) })),
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
            "clone" | "checkout" | "list_files" | "read_file" => self.in_place(),
            "diff_tree" => {
                let base = self.text("base").map(str::parse::<Base>).transpose()?.unwrap_or_default();
                let options = DiffOptions::default();
                diff_tree(Some(&self.store()?), &self.path("dir"), &base, &options, &self.control)
                    .map(changes)
            }
            "diff_trees" => {
                let options = DiffOptions {
                    owners: OwnerPolicy::Root.into(),
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
                let format: archive::Format = self.need("format").parse()?;
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
            _ => self.entries(),
        }
    }

    /// Trees that become others, and files of images.
    fn in_place(&self) -> Result<Value> {
        let (store, reference) = (self.store()?, self.text("reference"));
        let files = || {
            let image = Image::open(&store, self.need("reference"), None)?;
            ImageFiles::open(&store, &image, &self.control)
        };
        match self.need("op") {
            "clone" => {
                let options = CloneOptions::default();
                let made = clone(&store, &self.path("dir"), &self.path("to"), &options, &self.control)?;
                Ok(json!({ "manifest": made.manifest, "entries": made.entries }))
            }
            "checkout" => {
                let (discard, dry_run) = (self.flag("discard"), self.flag("dry_run"));
                let options = CheckoutOptions { discard, dry_run, ..CheckoutOptions::default() };
                let made = checkout(&store, reference.unwrap(), &self.path("dir"), &options, &self.control)?;
                let line = |(kind, path): &(ChangeKind, Vec<u8>)| {
                    format!("{} {}", kind.letter(), if path.is_empty() { ".".into() } else { escape(path) })
                };
                let changes: Vec<_> = made.changes.iter().map(line).collect();
                Ok(json!({ "manifest": made.manifest, "removed": made.removed, "changes": changes }))
            }
            "list_files" => {
                let files = files()?;
                let list = files.list();
                let directory = files.resolve(unescape(self.need("path")).as_os_str().as_bytes())?;
                if list.meta(directory).kind != Kind::Directory {
                    return Err(Error::new(ErrorKind::InvalidArgument, "list files", "not a directory"));
                }
                let lines: Vec<_> = list.children(directory).map(|at| entry(list, at)).collect();
                Ok(json!({ "entries": lines }))
            }
            _ => {
                let files = files()?;
                let file = files.resolve(unescape(self.need("path")).as_os_str().as_bytes())?;
                Ok(json!({ "sha256": Digest::of(&files.read(file, u64::MAX, &self.control)?).hex() }))
            }
        }
    }

    /// Layers and snapshots by themselves.
    fn entries(&self) -> Result<Value> {
        let decoder = || Decoder::new(Box::new(self.file()), DecodeOptions::default(), self.control.clone());
        match self.need("op") {
            "apply_layer" => {
                std::fs::create_dir(self.path("dir")).unwrap();
                let root = Root::open(self.path("dir"))?;
                let mut target = Target::empty(&root, ApplyOptions::default())?;
                let decoded = target.apply(decoder()?, &self.control)?.finish()?;
                Ok(json!({ "diff_id": decoded.diff_id, "losses": target.finish()?.losses.len() }))
            }
            "list_layer" => {
                let line = |entry: &TarEntry| {
                    let path = if entry.path.is_empty() { ".".into() } else { escape(&entry.path) };
                    let (kind, xattrs) = (word(entry.kind), entry.xattrs.len());
                    let owner = format!("{}:{}", entry.uid, entry.gid);
                    let line = format!("{kind} {:04o} {owner} {} {xattrs} {path}", entry.mode, entry.size);
                    line + &arrow(&entry.link)
                };
                let found = treering::layer::list(decoder()?, &ListOptions::default(), &self.control)?;
                Ok(json!({ "entries": found.iter().map(line).collect::<Vec<_>>() }))
            }
            "save_snapshot" => {
                self.scan("dir")?.save(self.path("file"))?;
                Ok(json!({}))
            }
            "load_snapshot" => Ok(json!({ "entries": entries(&Snapshot::load(self.path("file"))?) })),
            "lookup" => {
                let snapshot = self.scan("dir")?;
                let path = unescape(self.need("path"));
                let index = snapshot
                    .lookup(path.as_os_str().as_bytes())
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, "find entry", "no such entry"))?;
                let xattr = |(name, value): (&[u8], &[u8])| format!("{} {}", escape(name), escape(value));
                let meta = snapshot.meta(index);
                Ok(json!({
                    "entry": entry(&snapshot, index),
                    "owner": format!("{}:{}", meta.uid, meta.gid),
                    "xattrs": snapshot.xattrs(index).into_iter().map(xattr).collect::<Vec<_>>(),
                }))
            }
            "diff_snapshots" => {
                let new = self.scan("after")?;
                Ok(changes(match self.text("before") {
                    Some(_) => diff_snapshots(self.scan("before")?, new, &DiffOptions::default()),
                    None => TreeDiff { old: None, changes: all_added(&new), new, skipped: Vec::new() },
                }))
            }
            "diff_overlay" => {
                diff_overlay(None, &self.path("dir"), &self.lowers(), &DiffOptions::default(), &self.control)
                    .map(|found| changes(found.diff))
            }
            _ => self.facts(),
        }
    }

    /// Returns the facts of a store and its images, and streams that fail.
    fn facts(&self) -> Result<Value> {
        let store = self.store()?;
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        match self.need("op") {
            "documents" => {
                let platform = self.text("platform").map(str::parse::<Platform>).transpose()?;
                let image = Image::open(&store, self.need("reference"), platform.as_ref())?;
                Ok(json!({
                    "id": image.id(),
                    "digest": image.digest(),
                    "platform": image.platform().to_string(),
                    "size": image.size(),
                    "manifest": Digest::of(image.manifest_bytes()).hex(),
                    "config": Digest::of(image.config().bytes()).hex(),
                }))
            }
            "history" => {
                let line = |row: HistoryRow| {
                    let (id, diff_id) =
                        (dash(row.id.map(|id| id.to_string())), dash(row.diff_id.map(|id| id.to_string())));
                    let (created, tar) = (dash(row.created), dash(row.diff_size.map(|n| n.to_string())));
                    format!("{id} {created} {} {tar} {diff_id} {}|{}", row.size, row.created_by, row.comment)
                };
                let rows = Image::open(&store, self.need("reference"), None)?.history(&store)?;
                Ok(json!({ "rows": rows.into_iter().map(line).collect::<Vec<_>>() }))
            }
            "prune" => {
                let dry_run = self.flag("dry_run");
                let prune = PruneOptions { dry_run, ..PruneOptions::default() };
                let (unused_names, lost_trees) = (self.flag("unused_names"), self.flag("lost_trees"));
                let done = tidy(&store, &TidyOptions { unused_names, lost_trees, prune }, &self.control)?;
                Ok(json!({
                    "images": done.pruned.images,
                    "blobs": done.pruned.blobs,
                    "layers": done.pruned.layers.len(),
                    "untagged": done.untagged,
                    "forgotten": done.forgotten.len(),
                }))
            }
            "usage" => {
                let used = store.usage(&self.control)?;
                let line = |image: &ImageUsage| {
                    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
                    let (names, digest) = (names.join(","), &image.digest);
                    format!(
                        "{names} {digest} {} {} {} {}",
                        image.size, image.shared, image.unique, image.layers
                    )
                };
                Ok(json!({
                    "images": used.images.iter().map(line).collect::<Vec<_>>(),
                    "blobs": used.blobs,
                    "blob_bytes": used.blob_bytes,
                    "reclaimable": used.reclaimable,
                    "trees": used.trees,
                }))
            }
            "info" => {
                let facts = info(Some(&store))?.store.unwrap();
                Ok(json!({ "images": facts.images, "trees": facts.trees }))
            }
            "failing_export" => {
                let source = ExportSource::Image(self.need("reference"));
                archive::export(&store, source, &ExportOptions::default(), &mut Failing, &self.control)?;
                Ok(json!({}))
            }
            "failing_load" => {
                archive::load(&store, Box::new(Failing), &LoadOptions::default(), &self.control)?;
                Ok(json!({}))
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
        let new = self.scan("dir")?;
        let plan = LayerPlan::new(&all_added(&new), None, &new, self.layer())?;
        let entries = plan.entry_count();
        let profile = self.profile()?.unwrap_or_default();
        let mut out = Vec::new();
        let written = write(&LayerTar::new(plan, &root), &profile, 2, &mut out, &self.control)?;
        if self.text("file").is_some() {
            std::fs::write(self.path("file"), out).unwrap();
        }
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

fn word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Hardlink => "hardlink",
        _ => "other",
    }
}

fn arrow(target: &[u8]) -> String {
    if target.is_empty() { String::new() } else { format!(" -> {}", escape(target)) }
}

fn entry(snapshot: &Snapshot, index: u32) -> String {
    let meta = snapshot.meta(index);
    let path = if index == 0 { ".".into() } else { escape(&snapshot.path(index)) };
    let arrow = arrow(snapshot.link_target(index));
    format!("{} {:04o} {} {path}{arrow}", meta.kind.name(), meta.mode, meta.size)
}

fn entries(snapshot: &Snapshot) -> Vec<String> {
    std::iter::once(0).chain(snapshot.walk()).map(|index| entry(snapshot, index)).collect()
}

/// A caller's stream that does not work.
struct Failing;

impl Failing {
    fn error<T>() -> std::io::Result<T> {
        Err(Error::new(ErrorKind::Callback, "use stream", "it does not work").into())
    }
}

impl std::io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Failing::error()
    }
}

impl std::io::Write for Failing {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Failing::error()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
        if !["directory", "xattr"].contains(&text("type")) && path.symlink_metadata().is_ok() {
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
            "xattr" => {
                let value = unescape(text("content"));
                let value = value.as_os_str().as_bytes();
                rustix::fs::setxattr(&path, text("name"), value, rustix::fs::XattrFlags::empty()).unwrap();
            }
            "hardlink" => std::fs::hard_link(dir.join(unescape(text("target"))), &path).unwrap(),
            other => panic!("unknown type {other}"),
        }
    }
    if dir.file_name().is_some_and(|name| name != ".") {
        date(dir);
    }
}

fn date(dir: &Path) {
    support::sh(dir, "find . -exec touch -h -d @1700000000 {} +");
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

/// Writes one line for each step, so that a difference shows what changed.
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
