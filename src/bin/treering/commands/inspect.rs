//! `treering inspect`.

use std::process::ExitCode;

use clap::Args;
use treering::image::{Image, Platform, inspect};
use treering::store::Store;
use treering::{ErrorKind, Result};

use crate::context::Context;
use crate::{json, output};

const EXAMPLES: &str = "\
Examples:
  treering inspect app:v1
  treering inspect app:v1 | jq '.[0].Config.Env'
  treering inspect box | jq '.[0].State.ExitCode'";

/// Show everything about images or containers, as JSON
///
/// Prints a list with one object for each, as docker inspect does. A name that both an image and a container have is the container's.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// The images or containers: names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE|CONTAINER", required = true)]
    images: Vec<String>,

    /// The platform to show of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Only look for images, or only for containers
    #[arg(long, value_name = "image|container", value_parser = ["image", "container"])]
    r#type: Option<String>,
}

impl Inspect {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for name in &self.images {
            let object = self.one(&store, name);
            match object {
                Ok(object) => found.push(object),
                // The others are shown all the same, as docker does.
                Err(error) if error.kind() == ErrorKind::NotFound || self.images.len() > 1 => {
                    context.ui.error(&error.into());
                    code = ExitCode::FAILURE;
                }
                Err(error) => return Err(error.into()),
            }
        }
        output::data(|out| json::document(out, &found))?;
        Ok(code)
    }

    fn one(&self, store: &Store, name: &str) -> Result<serde_json::Value> {
        #[cfg(feature = "sandbox")]
        if self.r#type.as_deref() != Some("image") {
            use treering::container::Container;
            // By its whole name or id, as the image of the same name would be; by the beginning of its id where there is no such image.
            if let Some(container) = Container::find(store, name)? {
                return container.inspect();
            }
            if self.r#type.is_some() {
                return Container::open(store, name)?.inspect();
            }
            return match (Image::open(store, name, self.platform.as_ref()), Container::open(store, name)) {
                (Ok(image), _) => inspect(store, &image),
                (Err(error), Ok(container)) if error.kind() == ErrorKind::NotFound => container.inspect(),
                (Err(error), _) => Err(error),
            };
        }
        Image::open(store, name, self.platform.as_ref()).and_then(|image| inspect(store, &image))
    }
}
