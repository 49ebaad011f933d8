//! A description of this build, this machine and a store.

use std::path::Path;

use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use crate::error::{Result, escape};
use crate::fs::probe;
use crate::image::Platform;
use crate::store::Store;

pub use crate::fs::probe::Ability;

/// A description of the library's build, the machine's abilities and a store. As JSON it is an object with these names;
/// `abilities` are members of an object there, with underscores for blanks, and `store` is left out where there is none.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Info {
    /// The version of the library.
    pub version: String,
    /// The platform of this machine.
    pub platform: Platform,
    /// The release of the kernel.
    pub kernel: String,
    /// The user the process runs as: its effective id.
    pub uid: u32,
    /// How many processors the process may use.
    pub processors: usize,
    /// The content of the store that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreInfo>,
    /// The abilities of this machine, in the order people should read them.
    #[serde(serialize_with = "by_name")]
    pub abilities: Vec<Ability>,
}

/// The contents of a store, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoreInfo {
    /// Its path; bytes that are not text are escaped.
    pub root: String,
    /// How many images its index has, without names included.
    pub images: usize,
    /// How many trees it has a record of.
    pub trees: usize,
}

/// Finds out what this machine can do and, with a store, what that holds and what its filesystem can do.
pub fn info(store: Option<&Store>) -> Result<Info> {
    let mut found = info_at(store.map(|store| store.root_path()));
    if let Some(store) = store {
        let root = escape(store.root_path().as_os_str().as_encoded_bytes());
        found.store = Some(StoreInfo { root, images: store.entries()?.len(), trees: store.trees()?.len() });
    }
    Ok(found)
}

/// Finds out the same for a directory that need not be a store yet: what its filesystem can do, or that of the nearest directory
/// above it.
pub fn info_at(dir: Option<&Path>) -> Info {
    Info {
        version: env!("CARGO_PKG_VERSION").into(),
        platform: Platform::host(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        uid: rustix::process::geteuid().as_raw(),
        processors: crate::threads::processors(),
        store: None,
        abilities: abilities(dir),
    }
}

fn by_name<S: Serializer>(abilities: &[Ability], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(abilities.len()))?;
    for one in abilities {
        map.serialize_entry(
            &one.name.replace(' ', "_"),
            &json!({ "works": one.works, "remark": one.remark }),
        )?;
    }
    map.end()
}

/// Tries what works on this machine, and returns it in the order people should read it. Nothing is left behind, and no process is
/// started. With a directory, also what its filesystem can do; where it does not exist yet, that of the nearest directory
/// above it.
pub fn abilities(dir: Option<&Path>) -> Vec<Ability> {
    probe::all(dir)
}

impl Info {
    /// Returns it as a JSON object, to which a caller can add members.
    pub fn to_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            // A struct of text and numbers is an object.
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ability_is_a_member() {
        let found = info_at(None);
        let json = found.to_json();
        assert_eq!(json["abilities"].as_object().unwrap().len(), found.abilities.len());
        assert!(json["abilities"]["set_owners"]["works"] == crate::fs::capabilities::owns_all());
        assert_eq!(json["platform"], Platform::host().to_string());
        assert!(!json.contains_key("store"));
    }

    #[test]
    fn a_store_is_described() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path().join("s\n")).unwrap();
        let found = info(Some(&store)).unwrap();
        let json = found.to_json();
        assert_eq!(
            json["store"],
            json!({ "root": escape(store.root_path().as_os_str().as_encoded_bytes()), "images": 0, "trees": 0 })
        );
        let names: Vec<&str> = json.keys().map(String::as_str).collect();
        assert_eq!(names, ["version", "platform", "kernel", "uid", "processors", "store", "abilities"]);
    }
}
