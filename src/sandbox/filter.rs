//! The filter of a step's calls, and the capabilities that its programs can have.

use std::os::fd::OwnedFd;

use super::failure::{Setup, What};
use super::order::{Network, Order};
use super::rung::Rung;
use super::{bpf, credentials, sys, syscalls};

/// Returns the rules for a command's calls.
pub fn rules(order: &Order) -> Vec<bpf::Rule> {
    let rules = syscalls::rules(syscalls::Wanted {
        rung: order.rung,
        as_user: order.user.uid != 0,
        offline: order.network == Network::None,
        named: !order.hostname.is_empty(),
        gives: order.rung.traces() && !sys::has_getfd(),
    });
    match order.rung.listens() {
        true => rules,
        false => rules.into_iter().map(bpf::Rule::traced).collect(),
    }
}

/// The filter of a rung, installed.
#[derive(Debug, Default)]
pub struct Filtered {
    /// Its listener, where there is one.
    pub listener: Option<OwnedFd>,
    /// Whether there is none, so that every call has to be looked at.
    pub every: bool,
}

/// Installs the filter of a rung on this process.
pub fn install(order: &Order) -> Setup<Filtered> {
    let rules = rules(order);
    if !order.rung.listens() {
        // Where none is to be had the tracer reads the same rules. A listener of somebody else comes before the tracer, where both are
        // to hear of a call; unless every call is looked at, which comes before filters.
        let taken = matches!(sys::install_filter(&bpf::assemble(&[], bpf::Verdict::Allow), true),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY));
        let foreign = bpf::Verdict::Foreign;
        let every = taken || sys::install_filter(&bpf::assemble(&rules, foreign), false).is_err();
        return Ok(Filtered { listener: None, every });
    }
    let foreign = if order.rung.emulates() { bpf::Verdict::Notify } else { bpf::Verdict::Allow };
    let listener = listening_filter(order, rules, foreign)?;
    Ok(Filtered { listener, every: false })
}

/// Installs a filter with a listener; without one where none is to be had and the step can do without.
fn listening_filter(order: &Order, rules: Vec<bpf::Rule>, foreign: bpf::Verdict) -> Setup<Option<OwnedFd>> {
    match sys::install_filter(&bpf::assemble(&rules, foreign), true) {
        // Without CAP_SYS_ADMIN it would cost the step its setuid programs; the container it is in has a filter of its own.
        Err(error) if order.rung == Rung::Chroot && error.raw_os_error() == Some(libc::EACCES) => Ok(None),
        // Another tool has the one listener there can be, or there are none. Real root does without: what it loses by that
        // are trusted attributes.
        Err(_) if !order.rung.emulates() => {
            let rules: Vec<bpf::Rule> =
                rules.into_iter().filter(|rule| rule.otherwise != bpf::Verdict::Notify).collect();
            sys::install_filter(&bpf::assemble(&rules, foreign), false).what("install filter")
        }
        other => other.what("install filter"),
    }
}

/// Takes all capabilities but a container's from what a program can have.
pub fn limit_capabilities() -> Setup<()> {
    for capability in 0..=40u64 {
        if credentials::ROOT & 1 << capability == 0 {
            match sys::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong) {
                // One that this kernel does not have.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => other.what("limit capabilities")?,
            }
        }
    }
    sys::clear_inheritable().what("limit capabilities")
}
