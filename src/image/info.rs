//! What this build is, what this machine can do, and what a store holds.

use serde_json::{Map, Value, json};

use super::platform::Platform;
use crate::error::{Result, escape};
use crate::fs::probe;
use crate::store::Store;

/// A JSON object with `version`, `platform`, `kernel`, `uid`, `processors`, `abilities` (each with `works` and `remark`) and,
/// with a store, `store` (`root`, `images`, `trees`). Abilities are found out by trying; nothing is left behind, and no
/// process is started.
pub fn info(store: Option<&Store>) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    object.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    object.insert("platform".into(), json!(Platform::host().to_string()));
    object.insert("kernel".into(), json!(rustix::system::uname().release().to_string_lossy()));
    object.insert("uid".into(), json!(rustix::process::geteuid().as_raw()));
    object.insert("processors".into(), json!(crate::tree::scan::default_threads()));
    if let Some(store) = store {
        let root = escape(store.root_path().as_os_str().as_encoded_bytes());
        let (images, trees) = (store.entries()?.len(), store.trees()?.len());
        object.insert("store".into(), json!({ "root": root, "images": images, "trees": trees }));
    }
    let abilities = probe::all(store.map(|store| store.root_path()));
    object.insert("abilities".into(), probe::to_json(&abilities).into());
    Ok(object)
}
