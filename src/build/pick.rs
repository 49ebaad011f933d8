//! Which entries of a source tree an instruction copies.

use super::source::{SourceTree, check_name};
use crate::dockerfile::{Ignore, SourcePattern, clean};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::fs::root::is_below;
use crate::progress::Control;
use crate::tree::builder::ROOT;

const OP: &str = "copy";

/// A file or directory that a source names, with what is below it.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    pub(super) node: u32,
    /// The last component of the source's path: the name of a file that goes into a directory.
    pub(super) name: Vec<u8>,
    /// With `--parents`: the path that is kept, without the name.
    pub(super) parents: Option<Vec<u8>>,
    /// Entries below a directory, by path, parents first.
    pub(super) below: Vec<(Vec<u8>, u32)>,
}

/// Finds what a source names: a path, or a pattern. One that matches nothing copies nothing (`COPY package.json yarn.lock* ./`), as
/// BuildKit has it; a path has to be there.
pub(super) fn pick(
    source: &mut SourceTree,
    text: &str,
    parents: bool,
    exclude: &Ignore,
    control: &Control,
) -> Result<Vec<Pick>> {
    check_name(text.as_bytes(), OP)?;
    // What stands before `/./` is not kept.
    let pivot = text
        .find("/./")
        .filter(|_| parents)
        .map_or(0, |at| clean(format!("/{}", &text[..at]).as_bytes()).len());
    // `..` leads nowhere above the root.
    let path = clean(format!("/{text}").as_bytes())[1..].to_vec();
    let special = path.iter().any(|b| b"*?[\\".contains(b));
    let found: Vec<(Vec<u8>, u32)> = match special {
        false => source.find(&path, control)?.map(|node| (path.clone(), node)).into_iter().collect(),
        true => matching(source, &path, parents, control)?,
    };
    if found.is_empty() && !is_pattern(&path) {
        return Err(not_found(source, text, &path));
    }
    let mut picks = Vec::new();
    for (path, node) in found {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let kept = path.get(pivot.saturating_sub(usize::from(pivot > 0))..).unwrap_or_default();
        let kept = kept.strip_prefix(b"/").unwrap_or(kept);
        let above = kept.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &kept[..at]);
        let kind = source.tree.kind(node);
        let shown = if parents { kept } else { &name[..] };
        if kind != Kind::Directory && exclude.is_ignored(shown) {
            continue;
        }
        let mut pick = Pick { node, name, parents: parents.then(|| above.to_vec()), below: Vec::new() };
        if kind == Kind::Directory {
            source.list_all(node, control)?;
            let prefix = if parents { kept.to_vec() } else { Vec::new() };
            below(source, node, &prefix, exclude, &mut pick.below);
        }
        picks.push(pick);
    }
    Ok(picks)
}

/// Returns whether a path has a character of a pattern that is not escaped.
fn is_pattern(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Finds what a path names, with everything below it. Nothing in it is a pattern.
pub(super) fn exactly(source: &mut SourceTree, text: &str, control: &Control) -> Result<Pick> {
    check_name(text.as_bytes(), OP)?;
    let path = clean(format!("/{text}").as_bytes())[1..].to_vec();
    let node = source.find(&path, control)?.ok_or_else(|| not_found(source, text, &path))?;
    let mut pick = Pick { node, name: Vec::new(), parents: None, below: Vec::new() };
    if source.tree.kind(node) == Kind::Directory {
        source.list_all(node, control)?;
        below(source, node, b"", &Ignore::default(), &mut pick.below);
    }
    Ok(pick)
}

fn not_found(source: &SourceTree, text: &str, path: &[u8]) -> Error {
    let error = Error::not_found(OP, format!("not in {}", source.name)).with_path(text);
    match source.ignore().is_some_and(|ignore| ignore.is_ignored(path)) {
        true => error.with_hint("the ignore file leaves it out"),
        false => error,
    }
}

/// Lists what is below a directory, without what is excluded. An excluded directory stays where something below it does.
fn below(source: &SourceTree, node: u32, prefix: &[u8], exclude: &Ignore, out: &mut Vec<(Vec<u8>, u32)>) {
    let mut todo: Vec<(Vec<u8>, u32, bool)> = vec![(Vec::new(), node, false)];
    let mut all: Vec<(Vec<u8>, u32, bool)> = Vec::new();
    while let Some((path, node, _)) = todo.pop() {
        for (name, child) in source.tree.children(node) {
            let path = if path.is_empty() { name.to_vec() } else { [&path[..], b"/", name].concat() };
            let shown = if prefix.is_empty() { path.clone() } else { [prefix, b"/", &path].concat() };
            let excluded = exclude.is_ignored(&shown);
            if source.tree.kind(child) == Kind::Directory && (!excluded || exclude.may_keep_below(&shown)) {
                todo.push((path.clone(), child, excluded));
            } else if excluded {
                continue;
            }
            all.push((path, child, excluded));
        }
    }
    // Byte order of components, so that the key does not depend on how the tree was walked.
    all.sort_by(|a, b| a.0.split(|b| *b == b'/').cmp(b.0.split(|b| *b == b'/')));
    let kept: Vec<bool> = (0..all.len())
        .map(|at| {
            let (path, _, excluded) = &all[at];
            // What is below it follows at once.
            let mut inside = all[at + 1..].iter().take_while(|(other, ..)| is_below(other, path));
            !excluded || inside.any(|(_, _, excluded)| !excluded)
        })
        .collect();
    out.extend(all.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|((path, node, _), _)| (path, node)));
}

/// Matches a pattern component by component, reading only the directories that can hold a match.
fn matching(
    source: &mut SourceTree,
    path: &[u8],
    double: bool,
    control: &Control,
) -> Result<Vec<(Vec<u8>, u32)>> {
    let wrong = |fault: crate::dockerfile::Fault| fault.argument(OP).with_path(path);
    let whole = SourcePattern::new(path, double).map_err(wrong)?;
    let components: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let deep = double.then(|| components.iter().position(|c| c.windows(2).any(|w| w == b"**"))).flatten();
    let mut found = Vec::new();
    let mut todo: Vec<(Vec<u8>, u32, usize)> = vec![(Vec::new(), ROOT, 0)];
    while let Some((at, node, depth)) = todo.pop() {
        source.list(node, control)?;
        let children: Vec<(Vec<u8>, u32)> =
            source.tree.children(node).map(|(name, child)| (name.to_vec(), child)).collect();
        for (name, child) in children {
            let path = if at.is_empty() { name.clone() } else { [&at[..], b"/", &name].concat() };
            // Links on the way are followed as they are in a plain path.
            let resolved = match source.tree.kind(child) {
                Kind::Symlink => source.find(&path, control)?,
                _ => Some(child),
            };
            let Some(resolved) = resolved else { continue };
            if whole.matches(&path) {
                found.push((path.clone(), resolved));
                continue;
            }
            let is_dir = source.tree.kind(resolved) == Kind::Directory;
            let fits = match deep {
                Some(deep) if depth >= deep => resolved == child,
                _ => {
                    depth + 1 < components.len()
                        && SourcePattern::new(components[depth], double).map_err(wrong)?.matches(&name)
                }
            };
            if is_dir && fits {
                todo.push((path, resolved, depth + 1));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
