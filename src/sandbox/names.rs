//! /etc/resolv.conf and /etc/hosts of a step: the tree keeps its own, the step sees these.

use std::path::Path;

use super::{Network, StepOptions};

/// The longest resolv.conf that is taken over.
const LONGEST: usize = 64 * 1024;

/// The files that a step sees in place of the tree's: path below the root, content.
pub fn files(options: &StepOptions) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !options.names {
        return Vec::new();
    }
    let mut out = Vec::new();
    if options.network == Network::Host {
        // Of systemd-resolved's two files the one that its own stub is in works with the host's network, and only there.
        if let Ok(text) = crate::fs::root::read_file(Path::new("/etc/resolv.conf"))
            && text.len() <= LONGEST
        {
            out.push((b"etc/resolv.conf".to_vec(), text));
        }
    }
    out.push((b"etc/hosts".to_vec(), hosts(options)));
    out
}

fn hosts(options: &StepOptions) -> Vec<u8> {
    let mut out = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_vec();
    if !options.hostname.is_empty() {
        out.extend_from_slice(b"127.0.1.1\t");
        out.extend_from_slice(&options.hostname);
        out.push(b'\n');
    }
    for (name, address) in &options.hosts {
        out.extend_from_slice(address.as_bytes());
        out.push(b'\t');
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out
}
