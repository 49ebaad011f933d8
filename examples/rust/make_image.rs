//! An image without Docker, in ten lines. usage: make_image ROOTFS NAME
//!
//!     cargo run --example make_image -- rootfs app:v1

use std::path::Path;

use treering::Control;
use treering::image::{CommitOptions, commit};
use treering::store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rootfs, name] = &arguments[..] else { return Err("usage: make_image ROOTFS NAME".into()) };
    let store = Store::open_default()?;
    let options = CommitOptions { changes: vec!["CMD [\"/bin/sh\"]".into()], ..CommitOptions::default() };
    let made = commit(&store, Path::new(rootfs), Some(name), &options, &Control::default())?;
    println!("{}", made.image_id);
    Ok(())
}
