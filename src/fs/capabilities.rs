//! Capabilities of this thread, one capability at a time (capabilities(7)): root in a container may lack any of them, and a
//! user may have some.

use rustix::thread::CapabilitySet;

/// Returns whether all of these are in effect for the calling thread. Where the kernel does not say, root has all.
pub fn has(wanted: CapabilitySet) -> bool {
    match rustix::thread::capabilities(None) {
        Ok(sets) => sets.effective.contains(wanted),
        Err(_) => rustix::process::geteuid().is_root(),
    }
}

/// Returns whether files can be given to anybody and still be read and changed afterwards.
pub fn owns_all() -> bool {
    has(CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER)
}
