//! `treering images`.

use std::collections::HashSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::history::Format;
use crate::context::Context;
use crate::filter::{self, Filter};
use crate::listing::{self, Row};
use crate::table::Table;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering images
  treering images app                              all tags of one repository
  treering images --filter reference='*/app:v*'
  treering rmi $(treering images -q -f dangling=true)";

/// List images
///
/// SIZE is what an image takes in the store; images share layers, see `treering df -v`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Images {
    /// Only images with a matching name; * and ? stop at slashes
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pattern: Option<String>,

    /// Show all: also untagged images that others are built on
    #[arg(short, long)]
    all: bool,

    /// Show the digests of manifests
    #[arg(long)]
    digests: bool,

    /// Only images that pass: reference=PATTERN, dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<Filter>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Show ids in full
    #[arg(long)]
    no_trunc: bool,

    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

impl Images {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let mut rows = listing::rows(&store, &context.ui)?;
        if let Some(pattern) = &self.pattern {
            rows.retain(|row| row.name.as_ref().is_some_and(|name| filter::name_matches(pattern, name)));
        }
        let intermediate = listing::intermediate(&rows);
        let dangling = self.filter.iter().any(|filter| matches!(filter, Filter::Dangling(true)));
        if !self.all || dangling {
            rows.retain(|row| !(row.is_untagged() && intermediate.contains(&row.digest)));
        }
        filter::apply(&store, &self.filter, &mut rows)?;
        if context.json {
            output::data(|out| json::list(out, rows.iter().map(object)))?;
        } else if self.quiet {
            // One line per image, however many names it has.
            let mut seen = HashSet::new();
            output::lines(rows.iter().filter(|row| seen.insert(*row.id())).map(|row| self.id(row)))?;
        } else if self.format == Format::Json {
            output::lines(rows.iter().map(|row| self.dockers(row)))?;
        } else {
            self.table(&rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn id(&self, row: &Row) -> String {
        if self.no_trunc { row.id().to_string() } else { row.id().short() }
    }

    fn table(&self, rows: &[Row]) -> anyhow::Result<()> {
        let mut header = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
        if self.digests {
            header.insert(2, "DIGEST");
        }
        let mut table = Table::new(&header);
        let now = text::now();
        for row in rows {
            let mut cells = vec![row.repository(), row.tag(), self.id(row), row.age(now), size(row)];
            if self.digests {
                cells.insert(2, row.digest.to_string());
            }
            table.row(cells);
        }
        output::data(|out| table.write(out).map_err(|error| output::stdout_error(error).into()))
    }

    /// Returns the object `docker images --format json` prints.
    fn dockers(&self, row: &Row) -> String {
        json!({
            "Containers": "N/A",
            "CreatedAt": row.created.map_or_else(|| "N/A".into(), text::created_at),
            "CreatedSince": row.age(text::now()),
            "Digest": row.digest,
            "ID": self.id(row),
            "Repository": row.repository(),
            "SharedSize": "N/A",
            "Size": size(row),
            "Tag": row.tag(),
            "UniqueSize": "N/A",
        })
        .to_string()
    }
}

fn size(row: &Row) -> String {
    row.image.as_ref().map_or_else(|| "N/A".into(), |image| text::size(image.size()))
}

fn object(row: &Row) -> Value {
    let image = row.image.as_ref();
    json!({
        "id": image.map(|image| image.id()),
        "name": row.text,
        "repository": row.name.as_ref().map(|name| name.familiar_name()),
        "tag": row.name.as_ref().and_then(|name| name.tag()),
        "digest": row.digest,
        "media_type": row.descriptor.media_type().to_string(),
        "created": row.created.map(|time| time.to_string()),
        "platform": image.map(|image| image.platform().to_string()),
        "layers": image.map(|image| image.layers().len()),
        "size": image.map(|image| image.size()),
    })
}
