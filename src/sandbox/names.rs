//! /etc/resolv.conf and /etc/hosts of a step: the tree keeps its own, the step has these.

use std::path::Path;

use super::{Network, StepOptions};

/// The longest resolv.conf that is taken over.
const LONGEST: usize = 64 * 1024;

/// Returns the files that a step has in place of the tree's: path below the root, content.
pub fn files(options: &StepOptions, network: Network) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !options.names {
        return Vec::new();
    }
    let network = match &options.joined {
        Some(joined) if network == Network::Joined => joined.network,
        _ => network,
    };
    let mut out = Vec::new();
    if network != Network::None {
        // Of systemd-resolved's two files the one that its own stub is in works with the host's network, and only there.
        if let Ok(text) = crate::fs::root::read_file(Path::new("/etc/resolv.conf"))
            && text.len() <= LONGEST
        {
            let text = if network == Network::Host { text } else { forwarded(&text) };
            out.push((b"etc/resolv.conf".to_vec(), text));
        }
    }
    out.push((b"etc/hosts".to_vec(), hosts(options)));
    out
}

/// Returns the same with the one name server that a network of its own has.
fn forwarded(text: &[u8]) -> Vec<u8> {
    let mut out = format!("nameserver {}\n", super::network::NAME_SERVER).into_bytes();
    for line in text.split_inclusive(|&c| c == b'\n') {
        if line.starts_with(b"search") || line.starts_with(b"options") || line.starts_with(b"domain") {
            out.extend_from_slice(line);
        }
    }
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
