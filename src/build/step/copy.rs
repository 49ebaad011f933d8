//! COPY and ADD: entries of a context, a stage or an image go into the list.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build::chmod::Chmod;
use crate::build::key;
use crate::build::layer::{Tools, write_layer};
use crate::build::merge::Merge;
use crate::build::pick::{Pick, pick};
use crate::build::source::SourceTree;
use crate::build::spool::{ContentReader, is_archive, read_tar};
use crate::build::state::State;
use crate::digest::Digest;
use crate::dockerfile::{Copy, CopySource, Fault, Ignore, words};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Kind, Timestamp};
use crate::image::StepLayer;
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Snapshot;
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
}

/// The entries that go in, with their files hashed.
#[derive(Debug)]
pub(in crate::build) struct Inputs {
    picks: Vec<Vec<Pick>>,
    key: Value,
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
                        text = words::expand_body(&text, scope.escape, &|name| scope.get(name))?;
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
        })
    }

    /// The instruction as history and progress show it.
    pub(in crate::build) fn text(&self, from: Option<&str>) -> String {
        let mut words = vec![if self.add { "ADD" } else { "COPY" }.to_string()];
        words.extend(from.map(|from| format!("--from={from}")));
        words.extend(self.chown.as_ref().map(|text| format!("--chown={text}")));
        words.extend(self.chmod.as_ref().map(|(text, _)| format!("--chmod={text}")));
        words.extend(self.link.then(|| "--link".to_string()));
        words.extend(self.parents.then(|| "--parents".to_string()));
        words.extend(self.exclude_texts.iter().map(|text| format!("--exclude={text}")));
        words.extend(self.inline.iter().map(|(name, _)| format!("<<{name}")));
        words.extend(self.paths.iter().cloned());
        words.push(self.destination.clone());
        words.join(" ")
    }

    /// Whether the layer does not depend on what is below it.
    pub(in crate::build) fn is_linked(&self) -> bool {
        self.link
    }

    /// Finds and hashes what goes in.
    pub(in crate::build) fn inputs(
        &self,
        source: &mut SourceTree,
        threads: usize,
        control: &Control,
    ) -> Result<Inputs> {
        let mut picks = Vec::new();
        let mut digests = Vec::new();
        for path in &self.paths {
            if is_address(path) {
                return Err(Error::new(ErrorKind::Unsupported, OP, "ADD of an address is not supported")
                    .with_path(path)
                    .with_hint("download it first and ADD the file, or pass it as a named context"));
            }
            let picked = pick(source, path, self.parents, &self.exclude, control)?;
            let files: Vec<u32> = picked
                .iter()
                .flat_map(|pick| std::iter::once(pick.node).chain(pick.below.iter().map(|(_, node)| *node)))
                .collect();
            source.hash(&files, threads, control)?;
            digests.push(key::of_picks(source, &picked)?);
            picks.push(picked);
        }
        let inline: Vec<Value> =
            self.inline.iter().map(|(name, text)| json!([name, Digest::of(text).to_string()])).collect();
        let key = json!({
            "add": self.add, "to": self.destination, "chown": self.chown,
            "chmod": self.chmod.as_ref().map(|(text, _)| text), "parents": self.parents, "link": self.link,
            "unpack": self.unpack, "paths": digests, "inline": inline,
        });
        Ok(Inputs { picks, key })
    }

    /// The owner of everything that is put in.
    pub(in crate::build) fn owner(
        &self,
        state: &State,
        store: &Store,
        control: &Control,
    ) -> Result<Option<(u32, u32)>> {
        self.chown.as_ref().map(|text| state.owner(text, store, control)).transpose()
    }

    /// Copies, and writes the layer. `None` when nothing goes in. The list is that of the whole tree, unless the layer is
    /// linked.
    pub(in crate::build) fn apply(
        &self,
        state: &State,
        source: &mut SourceTree,
        inputs: &Inputs,
        now: Timestamp,
        tools: Tools<'_>,
    ) -> Result<Option<(StepLayer, Snapshot)>> {
        let Tools { store, control, .. } = tools;
        let tree = match self.link {
            true => Builder::empty(),
            false => Builder::from_snapshot(&state.list(store, control)?),
        };
        let mut merge = Merge::new(tree, now);
        merge.owner = self.owner(state, store, control)?;
        merge.chmod = self.chmod.as_ref().map(|(_, chmod)| chmod.clone());
        let destination = self.destination.as_bytes();
        let all: Vec<u32> = inputs
            .picks
            .iter()
            .flatten()
            .flat_map(|pick| std::iter::once(pick.node).chain(pick.below.iter().map(|(_, node)| *node)))
            .collect();
        source.fetch(&all, store, control)?;
        for picks in &inputs.picks {
            if picks.len() > 1 && !destination.ends_with(b"/") {
                return Err(Error::invalid(
                    OP,
                    "a pattern that matches several files needs a directory to copy to",
                )
                .with_path(&self.destination)
                .with_hint("end the destination with /"));
            }
            for pick in picks {
                self.one(&mut merge, source, pick, destination, tools)?;
            }
        }
        for (name, text) in &self.inline {
            merge.write(name, text, Sha256::digest(text).into(), destination)?;
        }
        if merge.is_unchanged() {
            return Ok(None);
        }
        write_layer(merge, tools).map(Some)
    }

    fn one(
        &self,
        merge: &mut Merge,
        source: &SourceTree,
        pick: &Pick,
        destination: &[u8],
        Tools { store, control, .. }: Tools<'_>,
    ) -> Result<()> {
        let inode = source.tree.inode(pick.node);
        if self.unpack && inode.meta.kind == Kind::File {
            let content = source.content(pick.node)?;
            if is_archive(&content, inode.meta.size)? {
                let name = String::from_utf8_lossy(&source.describe(pick.node)).into_owned();
                let reader = ContentReader::new(content, inode.meta.size);
                let mut tar = read_tar(store, Box::new(reader), &name, control)?;
                tar.list_all(ROOT, control)?;
                let picks = crate::build::pick::pick(&mut tar, "/", false, &Ignore::default(), control)?;
                merge.replaces = true;
                let copied = merge.copy(&tar, &picks, &[destination, b"/"].concat());
                merge.replaces = false;
                return copied;
            }
        }
        merge.copy(source, std::slice::from_ref(pick), destination)
    }
}

impl Inputs {
    /// What of a cache key depends on the instruction and what it copies.
    pub(in crate::build) fn key(&self) -> &Value {
        &self.key
    }
}

fn is_address(path: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| path.starts_with(scheme))
}
