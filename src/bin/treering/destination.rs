//! The destination of what a build makes: `--output`.

use std::path::{Path, PathBuf};

use treering::Control;
use treering::archive::{self, ExportOptions, ExportSource};
use treering::build::Built;
use treering::image::{UnpackOptions, unpack};
use treering::store::Store;

use crate::output;
use crate::ui::Usage;

/// The destination of what a build makes, in place of the store.
#[derive(Debug)]
pub struct Destination {
    kind: Kind,
    /// A path, `-` for standard output; none for that as well, or for the directory that the command runs in.
    pub path: Option<PathBuf>,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Local,
    Tar,
    Oci,
    Docker,
}

impl Destination {
    /// Reads what `--output` takes: a directory, `-` for a tar, or `type=TYPE,dest=PATH`.
    pub fn parse(text: &str) -> Result<Destination, Usage> {
        if !text.contains('=') {
            let kind = if text == "-" { Kind::Tar } else { Kind::Local };
            return Ok(Destination { kind, path: Some(text.into()) });
        }
        let (mut kind, mut path) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => {
                    kind = Some(match value {
                        "image" => Kind::Image,
                        "local" => Kind::Local,
                        "tar" => Kind::Tar,
                        "oci" => Kind::Oci,
                        "docker" => Kind::Docker,
                        _ => {
                            return Err(Usage::new(format!("--output has no type {value}"))
                                .with_hint("one of: image, local, tar, oci, docker"));
                        }
                    });
                }
                Some(("dest", value)) => path = Some(PathBuf::from(value)),
                _ => {
                    return Err(Usage::new(format!("--output has no field {field:?}"))
                        .with_hint("as in type=docker,dest=app.tar"));
                }
            }
        }
        let kind =
            kind.ok_or_else(|| Usage::new("--output without a type").with_hint("as in type=local,dest=out"))?;
        if kind == Kind::Local && path.is_none() {
            return Err(Usage::new("--output type=local needs a dest"));
        }
        Ok(Destination { kind, path })
    }

    /// Writes what was built.
    pub fn write(&self, store: &Store, built: &Built, control: &Control) -> anyhow::Result<()> {
        let reference = match built.names.first() {
            Some(name) => name.clone(),
            None => built.manifest.to_string(),
        };
        // An image for one platform is that one, also in an index beside what is attested of it.
        let only = match built.images.as_slice() {
            [image] => Some(image.platform.clone()),
            _ => None,
        };
        let format = match self.kind {
            Kind::Image => return Ok(()),
            Kind::Local => {
                let path = self.path.as_deref().unwrap_or(Path::new("."));
                if let [image] = built.images.as_slice() {
                    unpack(store, &image.manifest.to_string(), path, &UnpackOptions::default(), control)?;
                    return Ok(());
                }
                // A directory for each platform, as buildx has it.
                for image in &built.images {
                    let options =
                        UnpackOptions { platform: Some(image.platform.clone()), ..Default::default() };
                    let below = path.join(image.platform.to_string().replace('/', "_"));
                    unpack(store, &reference, below, &options, control)?;
                }
                return Ok(());
            }
            Kind::Tar => {
                return output::stream(self.path.as_deref(), |out| {
                    let source = ExportSource::Image(&reference);
                    let options = ExportOptions { platform: only, ..ExportOptions::default() };
                    Ok(archive::export(store, source, &options, out, control)?)
                });
            }
            Kind::Oci => archive::Format::OciArchive,
            Kind::Docker => archive::Format::DockerArchive,
        };
        let references = if built.names.is_empty() { vec![reference] } else { built.names.clone() };
        output::stream(self.path.as_deref(), |out| {
            let platform = only.filter(|_| self.kind == Kind::Docker);
            let options = archive::SaveOptions { format, platform };
            Ok(archive::save(store, &references, options, out, control)?)
        })
    }
}
