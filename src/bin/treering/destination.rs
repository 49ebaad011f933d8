//! The destinations of what a build makes: `--output`.

use std::path::{Path, PathBuf};

use treering::Control;
use treering::archive::{self, ExportOptions, ExportSource, copy_out};
use treering::build::Built;
use treering::image::{Image, ImageFiles, LayerApplyOptions, UnpackOptions, unpack};
use treering::store::Store;

use crate::image_layout;
use crate::options::boolean;
use crate::output;
use crate::ui::Usage;

/// The destination of what a build makes.
#[derive(Debug)]
pub struct Destination {
    kind: Kind,
    /// A path, `-` for standard output; none for that as well, or for the directory that the command runs in.
    path: Option<PathBuf>,
    /// Whether an image layout is one archive, and not files in a directory.
    archive: bool,
    /// Names that the image gets.
    pub names: Vec<String>,
    /// Whether the image goes to the registry of its names.
    pub push: bool,
    /// The compression of layers, and its level.
    pub compression: Option<String>,
    pub level: Option<i32>,
    /// Annotations, with the document that each is for.
    pub annotations: Vec<(String, String)>,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Local,
    Tar,
    Oci,
    Docker,
    /// Nothing: the records of the steps are all that stays.
    CacheOnly,
}

impl Destination {
    /// Reads what `--output` takes: a directory, `-` for a tar, or `type=TYPE,dest=PATH` with more fields.
    pub fn parse(text: &str) -> Result<Destination, Usage> {
        let mut out = Destination {
            kind: Kind::Local,
            path: None,
            archive: true,
            names: Vec::new(),
            push: false,
            compression: None,
            level: None,
            annotations: Vec::new(),
        };
        if !text.contains('=') {
            out.kind = if text == "-" { Kind::Tar } else { Kind::Local };
            out.path = Some(text.into());
            return Ok(out);
        }
        let mut kind = None;
        for field in fields(text) {
            let unknown = || {
                Usage::new(format!("--output has no field {field:?}"))
                    .with_hint("as in type=docker,dest=app.tar")
            };
            let (name, value) = field.split_once('=').ok_or_else(unknown)?;
            let switch =
                || boolean(value).map_err(|_| Usage::new(format!("{name} is true or false, not {value:?}")));
            match name {
                "type" => {
                    kind = Some(match value {
                        "image" => Kind::Image,
                        "registry" => {
                            out.push = true;
                            Kind::Image
                        }
                        "local" => Kind::Local,
                        "tar" => Kind::Tar,
                        "oci" => Kind::Oci,
                        "docker" => Kind::Docker,
                        "cacheonly" => Kind::CacheOnly,
                        _ => {
                            return Err(Usage::new(format!("--output has no type {value}"))
                                .with_hint("one of: image, registry, local, tar, oci, docker, cacheonly"));
                        }
                    });
                }
                "dest" => out.path = Some(PathBuf::from(value)),
                "name" => out.names.extend(value.split(',').map(String::from)),
                "push" => out.push |= switch()?,
                "compression" => out.compression = Some(value.into()),
                "compression-level" => {
                    let level = value.parse().map_err(|_| Usage::new(format!("{value:?} is no level")))?;
                    out.level = Some(level);
                }
                "tar" => out.archive = switch()?,
                // What is so in any case.
                "oci-mediatypes" | "rewrite-timestamp" | "store" if switch()? => {}
                "unpack" | "name-canonical" => {
                    switch()?;
                }
                "force-compression" if !switch()? => {}
                "force-compression" => {
                    return Err(Usage::new(
                        "--output has no force-compression=true: layers of a base image stay as they are",
                    )
                    .with_hint("leave it out: compression is for the layers that the build makes"));
                }
                _ => match name.strip_prefix("annotation").and_then(annotation) {
                    Some(key) => out.annotations.push((key, value.into())),
                    None => return Err(unknown()),
                },
            }
        }
        out.kind =
            kind.ok_or_else(|| Usage::new("--output without a type").with_hint("as in type=local,dest=out"))?;
        if out.kind == Kind::Local && out.path.is_none() {
            return Err(Usage::new("--output type=local needs a dest"));
        }
        if out.kind == Kind::CacheOnly && (out.path.is_some() || !out.names.is_empty()) {
            return Err(Usage::new("--output type=cacheonly takes no dest and no name"));
        }
        if !out.archive && !matches!(out.kind, Kind::Oci | Kind::Docker) {
            return Err(Usage::new("tar=false is for type=oci and type=docker"));
        }
        if !out.archive && out.path.as_deref().is_none_or(|path| path == Path::new("-")) {
            return Err(Usage::new("--output with tar=false needs a dest, the directory of an image layout"));
        }
        if out.push && out.kind != Kind::Image {
            return Err(Usage::new("only type=image and type=registry can be pushed"));
        }
        Ok(out)
    }

    /// Returns whether it is the store itself.
    pub fn is_store(&self) -> bool {
        self.kind == Kind::Image
    }

    /// Returns whether standard output gets it, so that nothing else may go there.
    pub fn is_standard_output(&self) -> bool {
        let dash = self.path.as_deref().is_none_or(|path| path == Path::new("-"));
        dash && matches!(self.kind, Kind::Tar | Kind::Oci | Kind::Docker)
    }

    /// Writes what was built. Gives how many entries lost their owner or attributes, which the disk does not take.
    pub fn write(&self, store: &Store, built: &Built, control: &Control) -> anyhow::Result<u64> {
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
            Kind::Image | Kind::CacheOnly => return Ok(0),
            Kind::Local => {
                let path = self.path.as_deref().unwrap_or(Path::new("."));
                if let [image] = built.images.as_slice() {
                    return local(store, &image.manifest.to_string(), path, control);
                }
                // A directory for each platform, as buildx has it.
                let mut unkept = 0;
                for image in &built.images {
                    let below = path.join(image.platform.to_string().replace('/', "_"));
                    unkept += local(store, &image.manifest.to_string(), &below, control)?;
                }
                return Ok(unkept);
            }
            Kind::Tar => {
                return output::stream(self.path.as_deref(), |out| {
                    let source = ExportSource::Image(&reference);
                    let options = ExportOptions { platform: only, ..ExportOptions::default() };
                    archive::export(store, source, &options, out, control)?;
                    Ok(0)
                });
            }
            Kind::Oci => archive::Format::OciArchive,
            Kind::Docker => archive::Format::DockerArchive,
        };
        let references = if built.names.is_empty() { vec![reference] } else { built.names.clone() };
        let platform = only.filter(|_| self.kind == Kind::Docker);
        let options = archive::SaveOptions { format, platform };
        match self.path.as_deref().filter(|_| !self.archive) {
            Some(path) => image_layout::write(path, &control.cancel, |out| {
                archive::save(store, &references, options, out, control)
            })?,
            None => output::stream(self.path.as_deref(), |out| {
                Ok(archive::save(store, &references, options, out, control)?)
            })?,
        }
        Ok(0)
    }
}

/// Cuts the fields of `--output` at commas. One in double quotes may hold some, as in `type=image,"name=a,b"`.
fn fields(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => out.last_mut().expect("there is one").push(c),
        }
    }
    out
}

/// Returns the key of an annotation, as `--annotation` has it, out of what stands behind the word: `.KEY` or `-TYPE[PLATFORM].KEY`.
fn annotation(rest: &str) -> Option<String> {
    if let Some(key) = rest.strip_prefix('.') {
        return Some(key.into());
    }
    let (level, key) = rest.strip_prefix('-')?.split_once('.')?;
    Some(format!("{level}:{key}"))
}

/// Puts the files of an image into a directory. One that has files keeps them, but for those that the image has, too.
fn local(store: &Store, image: &str, path: &Path, control: &Control) -> anyhow::Result<u64> {
    let has_files = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if !has_files {
        unpack(store, image, path, &UnpackOptions::default(), control)?;
        return Ok(0);
    }
    let files = ImageFiles::open(store, &Image::open(store, image, None)?, control)?;
    let copied = copy_out(&files, files.resolve("/")?, b"/", path, &LayerApplyOptions::default(), control)?;
    Ok(copied.directory.map_or(0, |directory| directory.unkept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_an_output() {
        let text = "type=image,\"name=a:1,b:2\",push=true,compression=zstd,compression-level=9,oci-mediatypes=true,\
                    annotation.k=v,annotation-index[linux/arm64].l=w";
        let one = Destination::parse(text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(one.names, ["a:1", "b:2"]);
        assert!(one.push && one.is_store() && !one.is_standard_output());
        assert_eq!((one.compression.as_deref(), one.level), (Some("zstd"), Some(9)));
        let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
        assert_eq!(one.annotations, [pair("k", "v"), pair("index[linux/arm64]:l", "w")]);
        for (text, to_stdout) in [
            ("-", true),
            ("out", false),
            ("type=tar", true),
            ("type=oci,tar=true", true),
            ("type=docker,dest=-", true),
            ("type=docker,dest=a.tar", false),
            ("type=local,dest=-", false),
            ("type=oci,tar=false,dest=out", false),
            ("type=cacheonly", false),
            ("type=oci,force-compression=false,unpack=true", true),
        ] {
            let parsed = Destination::parse(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(parsed.is_standard_output(), to_stdout, "{text}");
        }
        for bad in [
            "type=oci,tar=false",
            "type=oci,tar=false,dest=-",
            "type=tar,tar=false,dest=out",
            "type=tar,push=true",
            "type=image,push=yes",
            "type=cacheonly,dest=out",
            "type=oci,dest=a.tar,compression=zstd,force-compression=true",
            "type=image,color=red",
            "type=image,x",
        ] {
            assert!(Destination::parse(bad).is_err(), "{bad}");
        }
    }
}
