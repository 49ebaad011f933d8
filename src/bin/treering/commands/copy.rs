//! `treering copy`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::image::Platform;
use treering::registry::{CopyOptions, copy};

use crate::context::Context;
use crate::{interrupt, json, output, registries, text};

const EXAMPLES: &str = "\
Examples:
  treering copy debian:12 registry.example/base/debian:12
  treering copy --platform linux/arm64 debian:12 registry.example/base/debian:12-arm64";

/// Copy an image from registry to registry, every byte as it is
///
/// Nothing is kept here. All platforms are copied unless one is named.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Copy {
    /// The image at its registry
    #[arg(value_name = "SOURCE")]
    source: String,

    /// Name to copy it to
    #[arg(value_name = "TARGET")]
    target: String,

    /// Only this platform of an image for several, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Copy {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let options = CopyOptions { platform: self.platform, ..CopyOptions::default() };
        let copied = {
            let (control, _progress) = context.transfers("copying", interrupt::control());
            copy(&registries::from_env()?, &self.source, &self.target, &options, &control)?
        };
        if context.json {
            let object = json!({
                "name": copied.name.to_string(),
                "digest": copied.digest,
                "size": copied.size,
                "sent": copied.sent,
                "bytes_sent": copied.bytes_sent,
                "mounted": copied.mounted,
                "present": copied.present,
            });
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let tag = copied.name.tag().map(|tag| format!("{tag}: ")).unwrap_or_default();
        output::lines([format!("{tag}digest: {} size: {}", copied.digest, copied.size)])?;
        let (sent, bytes) = (text::plural(copied.sent, "blob", "blobs"), text::size(copied.bytes_sent));
        let (mounted, present) = (copied.mounted, copied.present);
        context.ui.note(format!("{sent} sent ({bytes}), {mounted} mounted, {present} there already"));
        Ok(ExitCode::SUCCESS)
    }
}
