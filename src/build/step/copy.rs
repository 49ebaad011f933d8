//! COPY and ADD: entries of a context, a stage or an image go into the list.

use std::sync::Mutex;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build::address::{AddressFile, Elsewhere, Fact};
use crate::build::chmod::Chmod;
use crate::build::git::Repository;
use crate::build::key;
use crate::build::layer::Tools;
use crate::build::merge::Merge;
use crate::build::pick::{Pick, exactly, pick};
use crate::build::source::SourceTree;
use crate::build::spool::{ContentReader, is_archive, read_tar};
use crate::build::state::State;
use crate::digest::Digest;
use crate::dockerfile::{Copy, CopySource, Fault, GitSource, Ignore, check_commit, is_address, words};
use crate::error::{Error, Result};
use crate::fs::{Kind, Timestamp};
use crate::progress::Control;
use crate::store::Store;
use crate::threads::lock;
use crate::tree::builder::{Builder, ROOT};

const OP: &str = "copy";

/// An instruction with its variables replaced.
#[derive(Debug)]
pub(in crate::build) struct Resolved {
    add: bool,
    paths: Vec<String>,
    inline: Vec<(String, Vec<u8>)>,
    /// Absolute; ends with `/` where it has to be a directory.
    destination: String,
    chown: Option<String>,
    chmod: Option<(String, Chmod)>,
    exclude: Ignore,
    exclude_texts: Vec<String>,
    parents: bool,
    link: bool,
    unpack: bool,
    /// Whether archives from addresses are unpacked, too.
    unpack_all: bool,
    checksum: Option<String>,
    keep_git_dir: bool,
}

/// The entries of one source.
#[derive(Debug)]
enum Part {
    /// In the tree that the instruction copies from.
    Here(Vec<Pick>),
    /// At an address.
    File(AddressFile),
    /// In a repository.
    Repository(Repository),
}

/// The entries that go in, with their files hashed.
#[derive(Debug)]
pub(in crate::build) struct Inputs {
    parts: Vec<Part>,
    key: Value,
}

impl Inputs {
    /// Lists what comes from elsewhere.
    pub(in crate::build) fn facts(&self) -> impl Iterator<Item = Fact> {
        self.parts.iter().filter_map(|part| match part {
            Part::Here(_) => None,
            Part::File(file) => Some(Fact::file(&file.address, &file.digest)),
            Part::Repository(repository) => Some(repository.fact()),
        })
    }
}

impl Resolved {
    pub(in crate::build) fn new(copy: &Copy, add: bool, state: &State) -> Result<Resolved, Fault> {
        let scope = &state.scope;
        let optional = |text: &Option<String>| text.as_deref().map(|text| scope.expand(text)).transpose();
        let (mut paths, mut inline) = (Vec::new(), Vec::new());
        for source in &copy.sources {
            match source {
                CopySource::Path(path) => paths.push(scope.expand(path)?),
                CopySource::Inline(heredoc) => {
                    let mut text = heredoc.content();
                    if heredoc.expand {
                        text = words::expand_body(&text, &|name| scope.get(name))?;
                    }
                    inline.push((heredoc.name.clone(), text.into_bytes()));
                }
            }
        }
        let given = scope.expand(&copy.destination)?;
        if given.is_empty() {
            return Err(Fault::new("the destination is empty"));
        }
        let many = copy.sources.len() > 1;
        let directory = given.ends_with('/') || matches!(given.as_str(), "." | "..") || given.ends_with("/.");
        if many && !directory {
            return Err(Fault::new("with several sources the destination has to be a directory")
                .with_hint(format!("end it with /: {given}/")));
        }
        let joined = if given.starts_with('/') { given } else { format!("{}/{given}", state.working_dir()) };
        let mut destination =
            String::from_utf8_lossy(&crate::dockerfile::clean(joined.as_bytes())).into_owned();
        if directory && !destination.ends_with('/') {
            destination.push('/');
        }
        let chmod = optional(&copy.chmod)?.map(|text| {
            let parsed = Chmod::parse(&text).map_err(|error| Fault::new(error.message()))?;
            Ok::<_, Fault>((text, parsed))
        });
        let exclude_texts =
            copy.exclude.iter().map(|text| scope.expand(text)).collect::<Result<Vec<_>, _>>()?;
        if copy.checksum.is_some() && !paths.iter().any(|path| is_address(path)) {
            return Err(Fault::new("--checksum is for sources that are addresses"));
        }
        Ok(Resolved {
            add,
            paths,
            inline,
            destination,
            chown: optional(&copy.chown)?,
            chmod: chmod.transpose()?,
            exclude: Ignore::patterns(&exclude_texts)?,
            exclude_texts,
            parents: copy.parents,
            link: copy.link,
            unpack: add && copy.unpack != Some(false),
            unpack_all: add && copy.unpack == Some(true),
            checksum: optional(&copy.checksum)?,
            keep_git_dir: copy.keep_git_dir == Some(true),
        })
    }

    /// Returns the instruction as history and progress show it.
    pub(in crate::build) fn text(&self, from: Option<&str>) -> String {
        let mut words = vec![if self.add { "ADD" } else { "COPY" }.to_string()];
        words.extend(from.map(|from| format!("--from={from}")));
        words.extend(self.chown.as_ref().map(|text| format!("--chown={text}")));
        words.extend(self.chmod.as_ref().map(|(text, _)| format!("--chmod={text}")));
        words.extend(self.link.then(|| "--link".to_string()));
        words.extend(self.parents.then(|| "--parents".to_string()));
        words.extend(self.checksum.as_ref().map(|text| format!("--checksum={text}")));
        words.extend(self.keep_git_dir.then(|| "--keep-git-dir".to_string()));
        words.extend(self.exclude_texts.iter().map(|text| format!("--exclude={text}")));
        words.extend(self.inline.iter().map(|(name, _)| format!("<<{name}")));
        words.extend(self.paths.iter().cloned());
        words.push(self.destination.clone());
        words.join(" ")
    }

    /// Returns whether the owner is one of names, which the files below have to say.
    pub(in crate::build) fn names_owner(&self) -> bool {
        self.chown
            .as_ref()
            .is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'))
    }

    /// Returns whether the layer does not depend on what is below it.
    pub(in crate::build) fn is_linked(&self) -> bool {
        self.link
    }

    /// Returns the instruction with its words resolved: equal ones take the same files out of the same source.
    pub(in crate::build) fn definition(&self) -> Value {
        let inline: Vec<Value> =
            self.inline.iter().map(|(name, text)| json!([name, Digest::of(text).to_string()])).collect();
        json!({
            "add": self.add, "to": self.destination, "chown": self.chown,
            "chmod": self.chmod.as_ref().map(|(text, _)| text), "parents": self.parents, "link": self.link,
            "unpack": self.unpack, "paths": self.paths, "exclude": self.exclude_texts, "inline": inline,
        })
    }

    /// Finds and hashes what goes in.
    pub(in crate::build) fn inputs(
        &self,
        source: &mut SourceTree,
        elsewhere: Elsewhere<'_>,
    ) -> Result<Inputs> {
        let (threads, control) = (elsewhere.options.threads, elsewhere.control);
        let mut parts = Vec::new();
        let mut digests = Vec::new();
        let mut keeps_modes = false;
        for path in &self.paths {
            if is_address(path) {
                // Whether it is an archive is seen when it is here.
                keeps_modes |= self.unpack_all && self.chmod.is_some();
                let (part, digest) = self.distant(path, elsewhere)?;
                parts.push(part);
                digests.push(digest);
                continue;
            }
            let picked = pick(source, path, self.parents, &self.exclude, control)?;
            let files: Vec<u32> = picked
                .iter()
                .flat_map(|pick| std::iter::once(pick.node).chain(pick.below.iter().map(|(_, node)| *node)))
                .collect();
            source.hash(&files, threads, control)?;
            if self.unpack && self.chmod.is_some() {
                source.fetch(&files, control)?;
                for pick in &picked {
                    keeps_modes |= holds_files(source, pick, control)?;
                }
            }
            digests.push(key::of_picks(source, &picked)?);
            parts.push(Part::Here(picked));
        }
        // What the paths name, in their place and that of what is left out of it.
        let mut key = self.definition();
        key["paths"] = json!(digests);
        if let Some(fields) = key.as_object_mut() {
            fields.shift_remove("exclude");
        }
        if self.unpack_all {
            key["unpack all"] = json!(true);
        }
        // Caches may have records of archives that gave the mode to their entries.
        if keeps_modes {
            key["modes"] = json!("of the archive");
        }
        Ok(Inputs { parts, key })
    }

    /// Finds out what an address has, and what of a cache key depends on it.
    fn distant(&self, path: &str, elsewhere: Elsewhere<'_>) -> Result<(Part, String)> {
        let refuse = |fault: Fault| fault.argument(OP).with_path(path);
        if !self.add {
            return Err(refuse(
                Fault::new("COPY takes files of a context, not an address").with_hint("use ADD"),
            ));
        }
        if let Some(mut source) = GitSource::parse(path, false).map_err(refuse)? {
            if let Some(checksum) = &self.checksum {
                check_commit(checksum).map_err(refuse)?;
                source.checksum = Some(checksum.clone());
            }
            let repository = elsewhere.repository(&source, self.keep_git_dir)?;
            let key = repository.key();
            return Ok((Part::Repository(repository), key));
        }
        if !path.starts_with("http") {
            return Err(refuse(Fault::new("this is not the address of a file or a repository")));
        }
        let checksum = self.checksum.as_ref().map(|text| {
            text.parse::<Digest>().map_err(|_| {
                refuse(
                    Fault::new(format!("--checksum={text} is not a digest"))
                        .with_hint("sha256: and 64 digits"),
                )
            })
        });
        let file = elsewhere.file(path, checksum.transpose()?)?;
        let key = format!("file {} {}", file.digest, file.name);
        Ok((Part::File(file), key))
    }

    /// Returns the owner of everything that is put in.
    pub(in crate::build) fn owner(
        &self,
        state: &State,
        store: &Store,
        control: &Control,
    ) -> Result<Option<(u32, u32)>> {
        self.chown.as_ref().map(|text| state.owner(text, store, control)).transpose()
    }

    /// Copies into the list, which is that of the whole tree unless the layer is linked. `None` when nothing goes in.
    pub(in crate::build) fn apply(
        &self,
        state: &State,
        source: &Mutex<SourceTree>,
        inputs: &mut Inputs,
        now: Timestamp,
        tools: Tools<'_>,
        elsewhere: Elsewhere<'_>,
    ) -> Result<Option<Merge>> {
        let Tools { store, control, .. } = tools;
        let tree = match self.link {
            true => Builder::empty(),
            false => state.tree(store, control)?,
        };
        let mut merge = Merge::new(tree, now);
        merge.owner = self.owner(state, store, control)?;
        merge.chmod = self.chmod.as_ref().map(|(_, chmod)| chmod.clone());
        let destination = self.destination.as_bytes();
        // What is needed of layers is read in one pass.
        let here = inputs.parts.iter().filter_map(|part| match part {
            Part::Here(picks) => Some(picks),
            _ => None,
        });
        let all: Vec<u32> = here
            .flatten()
            .flat_map(|pick| std::iter::once(pick.node).chain(pick.below.iter().map(|(_, node)| *node)))
            .collect();
        lock(source).fetch(&all, control)?;
        for part in &mut inputs.parts {
            match part {
                Part::Here(picks) => {
                    let source = lock(source);
                    let many = picks.len() > 1 && !destination.ends_with(b"/");
                    for pick in picks {
                        // The first directory, or archive, makes a directory for those after it.
                        let alone = |pick: &Pick| {
                            pick.parents.is_none() && source.tree.kind(pick.node) != Kind::Directory
                        };
                        if many
                            && alone(pick)
                            && !merge.is_directory(destination)?
                            && !(self.unpack && holds_files(&source, pick, control)?)
                        {
                            // BuildKit writes them one over the other.
                            return Err(Error::invalid(
                                OP,
                                "a pattern that matches several files needs a directory to copy to",
                            )
                            .with_path(&self.destination)
                            .with_hint("end the destination with /"));
                        }
                        self.one(&mut merge, &source, pick, self.unpack, destination, tools)?;
                    }
                }
                Part::File(file) => {
                    let name = file.name.clone();
                    let tree = elsewhere.content(file)?;
                    let pick = Pick { name: name.clone().into_bytes(), ..exactly(tree, &name, control)? };
                    self.one(&mut merge, tree, &pick, self.unpack_all, destination, tools)?;
                }
                Part::Repository(repository) => {
                    let tree = elsewhere.files(repository)?;
                    let picks = pick(tree, "/", false, &self.exclude, control)?;
                    let files: Vec<u32> =
                        picks.iter().flat_map(|pick| pick.below.iter().map(|(_, node)| *node)).collect();
                    tree.hash(&files, elsewhere.options.threads, control)?;
                    merge.copy(tree, &picks, destination)?;
                }
            }
        }
        for (name, text) in &self.inline {
            merge.write(name, text, Sha256::digest(text).into(), destination)?;
        }
        Ok(Some(merge).filter(|merge| !merge.is_unchanged()))
    }

    fn one(
        &self,
        merge: &mut Merge,
        source: &SourceTree,
        pick: &Pick,
        unpack: bool,
        destination: &[u8],
        Tools { store, control, .. }: Tools<'_>,
    ) -> Result<()> {
        if !unpack || !holds_files(source, pick, control)? {
            return merge.copy(source, std::slice::from_ref(pick), destination);
        }
        let name = String::from_utf8_lossy(&source.describe(pick.node)).into_owned();
        let reader = ContentReader::new(source.content(pick.node)?, source.tree.inode(pick.node).meta.size);
        let mut tar = read_tar(store, Box::new(reader), &name, control)?;
        tar.list_all(ROOT, control)?;
        let picks = crate::build::pick::pick(&mut tar, "/", false, &Ignore::default(), control)?;
        // As BuildKit has it: entries get the owner that was named, and keep their modes.
        let chmod = merge.chmod.take();
        merge.replaces = true;
        let copied = merge.copy(&tar, &picks, &[destination, b"/"].concat());
        merge.replaces = false;
        merge.chmod = chmod;
        copied
    }
}

/// Returns whether a file is an archive.
fn holds_files(source: &SourceTree, pick: &Pick, control: &Control) -> Result<bool> {
    let meta = &source.tree.inode(pick.node).meta;
    Ok(meta.kind == Kind::File && is_archive(&source.content(pick.node)?, meta.size, control)?)
}

impl Inputs {
    /// Returns the part of a cache key that depends on the instruction and what it copies.
    pub(in crate::build) fn key(&self) -> &Value {
        &self.key
    }
}
