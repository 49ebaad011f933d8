//! What this build is, what this machine can do, and what a store holds.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Result, escape};
use crate::fs::probe;
use crate::image::Platform;
use crate::store::Store;

pub use crate::fs::probe::Ability;

/// A JSON object with `version`, `platform`, `kernel`, `uid`, `processors`, `abilities` (as [`abilities_json`] gives them) and,
/// with a store, `store` (`root`, `images`, `trees`).
pub fn info(store: Option<&Store>) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    object.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    object.insert("platform".into(), json!(Platform::host().to_string()));
    object.insert("kernel".into(), json!(rustix::system::uname().release().to_string_lossy()));
    object.insert("uid".into(), json!(rustix::process::geteuid().as_raw()));
    object.insert("processors".into(), json!(crate::threads::processors()));
    if let Some(store) = store {
        let root = escape(store.root_path().as_os_str().as_encoded_bytes());
        let (images, trees) = (store.entries()?.len(), store.trees()?.len());
        object.insert("store".into(), json!({ "root": root, "images": images, "trees": trees }));
    }
    let abilities = abilities(store.map(|store| store.root_path()));
    object.insert("abilities".into(), abilities_json(&abilities).into());
    Ok(object)
}

/// What works on this machine, in the order people should read it, found out by trying; nothing is left behind, and no process
/// is started. With a directory, also what its filesystem can do; where it does not exist yet, that of the nearest directory
/// above it.
pub fn abilities(dir: Option<&Path>) -> Vec<Ability> {
    probe::all(dir)
}

/// The same as members of a JSON object: `NAME: {works, remark}`, with underscores for blanks.
pub fn abilities_json(abilities: &[Ability]) -> Map<String, Value> {
    let one = |ability: &Ability| {
        (ability.name.replace(' ', "_"), json!({ "works": ability.works, "remark": ability.remark }))
    };
    abilities.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ability_is_a_member() {
        let there = abilities(None);
        let json = abilities_json(&there);
        assert_eq!(json.len(), there.len());
        assert!(json["set_owners"]["works"] == rustix::process::geteuid().is_root());
    }
}
