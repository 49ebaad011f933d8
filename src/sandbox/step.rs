//! A step from its start, by the best rung that works, to its end, with what it left in the ledger.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::MemfdFlags;

use super::helper_process::{First, Process, Signals, greet, read_output, streams, wait};
use super::join::Joined;
use super::more::Commands;
use super::order::{Lending, Order};
use super::points::Points;
use super::prepare::order;
use super::rung::Rung;
use super::{Network, Outcome, StepOptions, helper, network, undo};
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::{OutputStream, StepId};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::hint::Hint;
use crate::progress::Control;
use crate::tree::Ledger;
use crate::tree::journal;

const START: &str = "start command";
const RUN: &str = "run command";

/// A command that runs in a tree.
#[derive(Debug)]
pub struct Step {
    root: Root,
    helper: Process,
    rung: Rung,
    refused: Vec<(Rung, String)>,
    network: Network,
    network_refused: Option<String>,
    journal: File,
    points: Points,
    outputs: Vec<(OutputStream, OwnedFd)>,
    step: StepId,
    terminal: Option<OwnedFd>,
    joined: Option<Joined>,
}

impl Step {
    /// Starts a command in a tree, by the best rung that works here, or the one that was named. The ledger is as it was before.
    pub fn start(root: &Root, ledger: &Ledger, options: &StepOptions) -> Result<Step> {
        Step::start_with(root, ledger, options, Lending::Lend)
    }

    /// Starts a command that leaves no files behind, nor changes any.
    pub(super) fn probe(root: &Root, options: &StepOptions) -> Result<Step> {
        Step::start_with(root, &Ledger::default(), options, Lending::None)
    }

    fn start_with(root: &Root, ledger: &Ledger, options: &StepOptions, lending: Lending) -> Result<Step> {
        if options.arguments.is_empty() {
            return Err(Error::invalid(START, "the command is empty"));
        }
        let program = helper::find(options.helper.as_deref())?;
        let wanted: Vec<Rung> = match options.rung {
            Some(rung) => vec![rung],
            None => preferred(root)?,
        };
        let mut refused = Vec::new();
        let mut last = None;
        for rung in wanted {
            if let Some(reason) = cannot(root, ledger, rung, options, lending)? {
                last = Some(Error::new(ErrorKind::Unsupported, START, format!("{rung}: {reason}")));
                refused.push((rung, reason.to_string()));
                continue;
            }
            match Step::in_network(root, ledger, options, (rung, lending), &program)? {
                Ok(step) => return Ok(Step { refused, ..step }),
                Err(error) => {
                    refused.push((rung, super::probe::plain(rung, error.message())));
                    last = Some(error);
                }
            }
        }
        let reasons: Vec<String> = refused.iter().map(|(rung, why)| format!("{rung}: {why}")).collect();
        match last {
            Some(error) if refused.len() == 1 => Err(error),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                START,
                format!("no way to run it works here ({})", reasons.join("; ")),
            )),
        }
        .map_err(|error: Error| error.with_hint(Hint::ListRungs))
    }

    /// Tries one rung, with the network that was asked for, or the one that does in its place.
    fn in_network(
        root: &Root,
        ledger: &Ledger,
        options: &StepOptions,
        (rung, lending): (Rung, Lending),
        program: &Path,
    ) -> Result<std::result::Result<Step, Error>> {
        let wanted = options.network;
        let own = matches!(wanted, Network::Own | Network::OwnOrHost);
        // pasta joins what a user namespace has, and nothing of real root's.
        let arguments = match own {
            true if !rung.emulates() || !rung.mounts() => {
                Err(format!("the rung {rung} cannot have one of its own"))
            }
            true => network::arguments(&options.ports),
            false => Ok(Vec::new()),
        };
        let why = match arguments {
            Ok(pasta) => {
                let network = if own { Network::Own } else { wanted };
                match Step::try_start(root, ledger, options, (rung, lending), program, (network, pasta))? {
                    Err(error) if own && error.message().starts_with(network::FAILED) => {
                        error.message().to_string()
                    }
                    other => return Ok(other),
                }
            }
            Err(why) => format!("{}: {why}", network::FAILED),
        };
        if wanted == Network::Own {
            return Ok(Err(Error::new(ErrorKind::Unsupported, START, why)));
        }
        let host = (Network::Host, Vec::new());
        let started = Step::try_start(root, ledger, options, (rung, lending), program, host)?;
        Ok(started.map(|step| Step { network_refused: Some(why), ..step }))
    }

    /// Tries one rung. The inner error is one of the rung, after which another one may work.
    fn try_start(
        root: &Root,
        ledger: &Ledger,
        options: &StepOptions,
        (rung, lending): (Rung, Lending),
        program: &Path,
        (network, pasta): (Network, Vec<Vec<u8>>),
    ) -> Result<std::result::Result<Step, Error>> {
        let mut points = match &options.journal {
            Some(journal) => Points::noted(undo::writer(journal)?),
            None => Points::default(),
        };
        let result = (|| -> Result<_> {
            let (order, mut sources) = order(root, options, rung, network, &mut points)?;
            if network == Network::Joined {
                let joined = options.joined.as_ref();
                let joined = joined.ok_or_else(|| Error::invalid(START, "there is no network to join"))?;
                sources.insert(0, joined.namespace.try_clone().at(START, "join network")?);
            }
            let owners = if rung == Rung::Ids { lending } else { Lending::None };
            let order = Order { network, pasta, owners, ..order };
            if let (Lending::Lend, Some(journal)) = (owners, &options.journal) {
                undo::note_lending(&order, journal, program)?;
            }
            let journal = match &options.journal {
                Some(file) => file.try_clone().at(START, "")?,
                None => File::from(
                    rustix::fs::memfd_create("journal", MemfdFlags::CLOEXEC).at(START, "make journal")?,
                ),
            };
            let (streams, outputs) = streams(options)?;
            let first = greet(root, ledger, &order, &journal, &streams, &sources, program)?;
            Ok((first, journal, outputs))
        })();
        let (helper, terminal, namespace, journal, outputs) = match result {
            Ok((First::Started(helper, terminal, namespace), journal, outputs)) => {
                (helper, terminal, namespace, journal, outputs)
            }
            Ok((First::Refused(error), ..)) => {
                points.remove(root)?;
                return match error.kind() {
                    ErrorKind::Unsupported => Ok(Err(error)),
                    _ => Err(error),
                };
            }
            Err(error) => {
                points.remove(root)?;
                return match error.kind() {
                    ErrorKind::Unsupported if !rung.mounts() => Ok(Err(error)),
                    _ => Err(error),
                };
            }
        };
        let theirs = options.joined.as_ref().map(|joined| joined.network);
        let joined = namespace.map(|namespace| Joined {
            namespace,
            network: theirs.filter(|_| network == Network::Joined).unwrap_or(network),
        });
        Ok(Ok(Step {
            root: root.try_clone()?,
            helper,
            rung,
            refused: Vec::new(),
            network,
            network_refused: None,
            journal,
            points,
            outputs,
            step: options.step,
            terminal,
            joined,
        }))
    }

    /// Returns the rung that was chosen.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Returns the better rungs, and why each was not chosen.
    pub fn refused(&self) -> &[(Rung, String)] {
        &self.refused
    }

    /// Returns the network that it has.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Returns why it has the host's network in place of one of its own, where that was to be tried.
    pub fn network_refused(&self) -> Option<&str> {
        self.network_refused.as_deref()
    }

    /// Returns the terminal of a step that has one of its own: what is written to it the command reads, and the other way
    /// round.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Returns the network of a step that has not the host's, where it is one that others can join. It lasts as long as this does; what
    /// leads out of it ends with the step that has it of its own.
    pub fn network_to_join(&mut self) -> Option<Joined> {
        self.joined.take()
    }

    /// Sends signals to the command, as long as it runs.
    pub fn signals(&self) -> Signals {
        Signals(self.helper.channel.clone())
    }

    /// Starts more commands in it, as long as another thread is in [`Step::wait`].
    pub fn commands(&self) -> Commands {
        Commands {
            channel: self.helper.channel.clone(),
            registry: self.helper.registry.clone(),
            rung: self.rung,
            network: self.network,
        }
    }

    /// Waits for the end. The ledger, which must be the one the step was started with, becomes what the step left; after an error, too.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the control was cancelled: the step and all it started are gone then. [`ErrorKind::CommandFailed`] when the
    /// command could not be executed; its exit code says why (126, 127).
    pub fn wait(self, ledger: &mut Ledger, control: &Control) -> Result<Outcome> {
        let Step { root, helper, rung, refused, journal, points, mut outputs, step, .. } = self;
        let result = wait(&helper, &mut outputs, step, control);
        // Now, or after an error: nothing of the step is left when this returns.
        drop(helper);
        for (stream, fd) in &outputs {
            while read_output(fd, *stream, step, control).at(RUN, "read output")? {}
        }
        points.remove(&root)?;
        let mut journal = journal;
        io::Seek::rewind(&mut journal).at(RUN, "read journal")?;
        journal::replay(&mut journal, ledger)?;
        let (code, signal) = result?;
        Ok(Outcome { code, signal, rung, refused })
    }
}

/// Returns the rungs in the order in which they are tried. Root that may not mount, as in an ordinary container, has its paths resolved by a
/// supervisor before it does without /proc and /dev; and where the disk has the owners of a tree, a rung that keeps them comes before those
/// that have one id in their namespace.
fn preferred(root: &Root) -> Result<Vec<Rung>> {
    let mut all = Rung::ALL.to_vec();
    let real = rustix::process::geteuid().is_root() && super::handle::has_all_ids();
    if real && stat_fd(root).at(START, root.describe(b""))?.uid == 0 {
        all.sort_by_key(|rung| match rung {
            Rung::Root => 0,
            Rung::Paths | Rung::PtracePaths => 1,
            _ => 2,
        });
    }
    Ok(all)
}

/// Returns why a rung cannot give this tree its owners, where that is known before it is tried.
fn cannot(
    root: &Root,
    ledger: &Ledger,
    rung: Rung,
    options: &StepOptions,
    lending: Lending,
) -> Result<Option<&'static str>> {
    let is_root = rustix::process::geteuid().is_root();
    if rung == Rung::Ids && lending == Lending::Lend {
        if options.journal.is_none() {
            return Ok(Some("there is no journal, without which a kill would leave owners on the disk"));
        }
        if options.binds.iter().any(|bind| !bind.read_only && !bind.private) {
            return Ok(Some(
                "a directory of the host can be written to, where files would belong to subordinate ids for good",
            ));
        }
    }
    if rung.emulates() {
        return Ok(None);
    }
    if !is_root {
        return Ok(Some("this is not root"));
    }
    if !super::handle::has_all_ids() {
        return Ok(Some("this is root of a user namespace, and the owners on disk are others"));
    }
    // Owners that are only in the ledger would not be seen.
    let disk = |record: &crate::tree::ledger::Record| {
        record.mode == record.disk_mode
            && (record.kind == Kind::CharDevice || record.uid == 0 && record.gid == 0)
    };
    if !ledger.records().all(disk) || stat_fd(root).at(START, root.describe(b""))?.uid != 0 {
        return Ok(Some(
            "the tree was made without privileges: its owners are in the ledger, not on the disk",
        ));
    }
    Ok(None)
}
