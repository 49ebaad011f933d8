//! Checkpoint a directory after every step, and go back to any of them.
//!
//! usage: checkpoint DIRECTORY NAME COMMAND...     runs each command in DIRECTORY: NAME:0 is the start, NAME:1 what the first left
//!        checkpoint --back DIRECTORY NAME:STEP    makes DIRECTORY what it was after that step
//!
//!     cargo run --example checkpoint -- work steps 'echo 1 >a' 'echo 2 >b'
//!
//! A sandbox would start its commands isolated; here they run as they are.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

use treering::Control;
use treering::image::{CheckoutOptions, CommitOptions, checkout, commit};
use treering::store::Store;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Keeps the directory as NAME:STEP. Every commit after the first holds only what changed since the one before.
fn keep(store: &Store, dir: &Path, name: &str, step: usize) -> Result<()> {
    let reference = format!("{name}:{step}");
    let made = commit(store, dir, Some(&reference), &CommitOptions::default(), &Control::default())?;
    println!("{reference} +{} ~{} -{}", made.stat.added, made.stat.changed, made.stat.deleted);
    Ok(())
}

/// Goes back, touching only what differs. What was done since and is in no image goes; all that was kept stays in the store.
fn back(store: &Store, dir: &Path, reference: &str) -> Result<()> {
    let options = CheckoutOptions { discard: true, ..CheckoutOptions::default() };
    let made = checkout(store, reference, dir, &options, &Control::default())?;
    println!("{} written, {} removed, {} as they were", made.written, made.removed, made.kept);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let store = Store::open_default()?;
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--back", dir, reference] => back(&store, dir.as_ref(), reference),
        [dir, name, commands @ ..] if !commands.is_empty() => {
            keep(&store, dir.as_ref(), name, 0)?;
            for (step, command) in (1..).zip(commands) {
                if !Command::new("sh").args(["-ec", command]).current_dir(dir).status()?.success() {
                    return Err(format!("step {step} failed; {name}:{} is the one before", step - 1).into());
                }
                keep(&store, dir.as_ref(), name, step)?;
            }
            Ok(())
        }
        _ => {
            Err("usage: checkpoint DIRECTORY NAME COMMAND... | checkpoint --back DIRECTORY NAME:STEP".into())
        }
    }
}
