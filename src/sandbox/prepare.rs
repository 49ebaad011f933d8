//! The order of a step, made on the host program's side: what the command is to see, and the places in the tree where that is shown.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::order::{Lending, MOST_MOUNTS, Mount, Order, Shown};
use super::points::Points;
use super::rung::Rung;
use super::{BindMount, FileMount, MemoryMount, Network, StepOptions, names};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};

const START: &str = "start command";

/// Returns the order for the helper; what has to be there for it to be mounted on is made.
pub(super) fn order(
    root: &Root,
    options: &StepOptions,
    rung: Rung,
    network: Network,
    points: &mut Points,
) -> Result<(Order, Vec<OwnedFd>)> {
    let mut files = Vec::new();
    let (mut mounts, mut sources) = (Vec::new(), Vec::new());
    if rung.mounts() || rung.serves() {
        for path in [&b"proc"[..], b"dev", b"sys"].into_iter().filter(|_| rung.mounts()) {
            points.ensure(root, path, Kind::Directory)?;
        }
        for (path, content) in names::files(options, network) {
            if rung.serves() {
                // The directory has to be there; what is in it is the supervisor's answer.
                let (above, _) = crate::fs::root::split(&path);
                if !above.is_empty() && points.ensure(root, above, Kind::Directory)? {
                    files.push((path, content));
                }
            } else if points.ensure(root, &path, Kind::File)? {
                files.push((path, content));
            }
        }
        (mounts, sources) = shown(root, options, rung, points)?;
    } else {
        replaced(root, options, rung, points)?;
    }
    let order = Order { files, mounts, ..bare_order(options, rung) };
    Ok((order, sources))
}

/// Returns the order for a command without what is shown to it.
pub(super) fn bare_order(options: &StepOptions, rung: Rung) -> Order {
    Order {
        rung,
        arguments: options.arguments.clone(),
        environment: options.environment.clone(),
        directory: options.directory.clone(),
        user: options.user.clone(),
        hostname: options.hostname.clone(),
        network: Network::Host,
        pasta: Vec::new(),
        terminal: options.terminal,
        window: options.window,
        read_only: options.read_only,
        files: Vec::new(),
        mounts: Vec::new(),
        shm_size: options.shm_size,
        limits: options.limits.clone(),
        owners: Lending::None,
        places: options.places,
    }
}

/// A file or mount that a step is to see.
enum Wanted<'a> {
    Bind(&'a BindMount),
    Memory(&'a MemoryMount),
    File(&'a FileMount),
}

/// Returns all of them with their targets, outer places first.
fn wanted(options: &StepOptions) -> Result<Vec<(Vec<u8>, Wanted<'_>)>> {
    let binds = options.binds.iter().map(|it| (&it.target, Wanted::Bind(it)));
    let memory = options.memory.iter().map(|it| (&it.target, Wanted::Memory(it)));
    let files = options.files.iter().map(|it| (&it.target, Wanted::File(it)));
    let mut out = Vec::new();
    for (target, what) in binds.chain(memory).chain(files) {
        let path = crate::fs::root::normalise(target)?;
        if path.is_empty() {
            return Err(
                Error::invalid(START, "nothing can be mounted on the root of the tree").with_path(target)
            );
        }
        out.push((path, what));
    }
    if out.len() > MOST_MOUNTS {
        return Err(Error::limit(START, format!("more than {MOST_MOUNTS} mounts for one command")));
    }
    out.sort_by(|a, b| a.0.split(|&c| c == b'/').cmp(b.0.split(|&c| c == b'/')));
    Ok(out)
}

/// Returns the mounts for the helper, and the descriptors of what is on the host.
fn shown(
    root: &Root,
    options: &StepOptions,
    rung: Rung,
    points: &mut Points,
) -> Result<(Vec<Mount>, Vec<OwnedFd>)> {
    let (mut mounts, mut sources) = (Vec::<Mount>::new(), Vec::new());
    for (target, what) in wanted(options)? {
        let mut kind = Kind::File;
        let mut what = match what {
            Wanted::Bind(bind) => {
                let shown = bind.source.as_os_str().as_encoded_bytes();
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = crate::fs::root::open_by_path(&bind.source, flags).at(START, shown)?;
                if stat_fd(&fd).at(START, shown)?.kind == Kind::Directory {
                    kind = Kind::Directory;
                }
                let source = std::path::absolute(&bind.source).at(START, shown)?;
                sources.push(fd);
                Shown::Host {
                    source: source.into_os_string().into_encoded_bytes(),
                    read_only: bind.read_only,
                    private: bind.private.then(|| target.clone()),
                }
            }
            // Such a rung has a directory for it, which has no size of its own, and from which the kernel executes nothing.
            Wanted::Memory(memory) if rung.serves() && memory.size != 0 => {
                return refuse("a filesystem in memory of a given size", rung, &target);
            }
            Wanted::Memory(memory) if rung.serves() && !memory.no_programs => {
                return refuse("a filesystem in memory with programs", rung, &target);
            }
            Wanted::Memory(memory) => {
                kind = Kind::Directory;
                let there = || root.real(&target).ok().flatten().map(|stat| u32::from(stat.mode));
                Shown::Memory {
                    size: memory.size,
                    mode: memory.mode.or_else(there).unwrap_or(0o1777),
                    no_programs: memory.no_programs,
                }
            }
            Wanted::File(file) => Shown::File {
                content: file.content.clone(),
                mode: file.mode,
                uid: file.uid,
                gid: file.gid,
                program: file.program,
            },
        };
        // What is below another mount is made there, by the helper.
        let below = |outer: &[u8]| target.strip_prefix(outer).is_some_and(|rest| rest.starts_with(b"/"));
        let inner = mounts.iter().any(|mount| below(&mount.target))
            || [&b"proc"[..], b"dev", b"sys"].into_iter().any(below);
        if !inner && !points.ensure(root, &target, kind)? {
            return Err(Error::invalid(START, "a symbolic link there leads to nothing").with_path(&target));
        }
        if let Shown::Host { private: Some(at), .. } = &mut what {
            *at = root.real_path(&target).at(START, root.describe(&target))?;
        }
        mounts.push(Mount { target, what });
    }
    Ok((mounts, sources))
}

/// Returns the error that a rung cannot show something.
fn refuse<T>(what: &str, rung: Rung, target: &[u8]) -> Result<T> {
    let message = format!("{what} needs a mount, which the rung {rung} cannot make");
    Err(Error::new(ErrorKind::Unsupported, START, message).with_path([b"/", target].concat()))
}

/// Puts into the tree, for the time of the step, what a rung that cannot mount can show no other way.
fn replaced(root: &Root, options: &StepOptions, rung: Rung, points: &mut Points) -> Result<()> {
    if options.terminal || options.read_only {
        return refuse("a terminal or a read-only root", rung, b"");
    }
    if options.network == Network::None {
        let message = format!("the rung {rung} cannot take the network away");
        return Err(Error::new(ErrorKind::Unsupported, START, message));
    }
    for (target, what) in wanted(options)? {
        match what {
            Wanted::Bind(bind) if bind.private => points.exchange(root, &target, &bind.source)?,
            Wanted::File(file) if !file.secret => points.put(root, &target, file)?,
            Wanted::Bind(_) => return refuse("a file or directory of the host", rung, &target),
            Wanted::Memory(_) => return refuse("a filesystem in memory", rung, &target),
            Wanted::File(_) => return refuse("a secret in a file", rung, &target),
        }
    }
    Ok(())
}
