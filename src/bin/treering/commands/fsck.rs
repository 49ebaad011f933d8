//! `treering fsck`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use treering::Control;
use treering::store::FsckLevel;

use crate::context::Context;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering fsck
  treering fsck --level bytes

Exit codes:
  0  the store is sound
  1  there are problems
  2  it could not be checked";

/// Check the image store
///
/// Changes nothing. Prints one line per problem.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Fsck {
    /// How deep to look
    #[arg(long, value_parser = levels(), default_value = "bytes")]
    level: FsckLevel,
}

/// Returns the levels of the library, with what each is for.
fn levels() -> impl TypedValueParser<Value = FsckLevel> {
    PossibleValuesParser::new([
        PossibleValue::new("structure").help("The layout of the store and its index"),
        PossibleValue::new("reachability")
            .help("Also: everything an image refers to is there, with the right size"),
        PossibleValue::new("bytes").help("Also: every blob has the digest it is named after"),
    ])
    .try_map(|text| text.parse::<FsckLevel>())
}

impl Fsck {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let control = Control::default();
        let report = {
            let _progress = context.progress("checking", &control);
            store.fsck(self.level, &control)?
        };
        if context.json {
            output::data(|out| json::document(out, &report))?;
        } else {
            output::lines(report.problems.iter().map(|problem| {
                let kind = serde_json::to_value(problem.kind).unwrap_or_default();
                let kind = kind.as_str().unwrap_or("problem");
                format!("{kind}: {}: {}", text::tame(&problem.subject), text::tame(&problem.message))
            }))?;
        }
        let looked = text::plural(report.blobs, "blob", "blobs");
        let hashed = match report.bytes {
            0 => String::new(),
            bytes => format!(" ({})", text::size(bytes)),
        };
        let found = match report.problems.len() {
            0 => "no problems".into(),
            n => text::plural(n as u64, "problem", "problems"),
        };
        context.ui.note(format!("checked {looked}{hashed}: {found}"));
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
