//! Advice about the size of an image.

use std::collections::BTreeSet;

use super::tally::{File, Tally};
use super::{ReportAdvice, ReportStep};

/// Less than this is not worth a word, in bytes.
const LEAST: u64 = 1 << 20;
/// More layers than this are more than registries and overlays like.
const MANY: usize = 64;

/// A place that fills while something is installed and is of no use later.
struct Place {
    kind: &'static str,
    prefix: &'static str,
    what: &'static str,
    remedy: &'static str,
}

const PLACES: &[Place] = &[
    Place {
        kind: "package-lists",
        prefix: "var/lib/apt/lists/",
        what: "package lists of apt",
        remedy: "remove /var/lib/apt/lists/* in the step that runs apt-get update, or mount a cache there",
    },
    Place {
        kind: "package-cache",
        prefix: "var/cache/apt/",
        what: "packages that apt downloaded",
        remedy: "run apt-get clean in the same step, or mount a cache there",
    },
    Place {
        kind: "package-cache",
        prefix: "var/cache/apk/",
        what: "packages that apk downloaded",
        remedy: "use apk add --no-cache",
    },
    Place {
        kind: "package-cache",
        prefix: "var/cache/dnf/",
        what: "packages that dnf downloaded",
        remedy: "run dnf clean all in the same step",
    },
    Place {
        kind: "package-cache",
        prefix: "var/cache/yum/",
        what: "packages that yum downloaded",
        remedy: "run yum clean all in the same step",
    },
    Place {
        kind: "tool-cache",
        prefix: "root/.cache/",
        what: "caches of root",
        remedy: "use --no-cache-dir of pip and the like, or RUN --mount=type=cache,target=/root/.cache",
    },
    Place {
        kind: "tool-cache",
        prefix: "root/.npm/",
        what: "packages that npm downloaded",
        remedy: "use RUN --mount=type=cache,target=/root/.npm",
    },
    Place {
        kind: "tool-cache",
        prefix: "usr/local/cargo/registry/",
        what: "sources that cargo downloaded",
        remedy: "use RUN --mount=type=cache,target=/usr/local/cargo/registry, or copy the result into another stage",
    },
    Place {
        kind: "tool-cache",
        prefix: "tmp/",
        what: "files in /tmp",
        remedy: "remove them in the step that makes them, or use RUN --mount=type=tmpfs,target=/tmp",
    },
];

pub(super) fn of(tally: &Tally, steps: &[ReportStep]) -> Vec<ReportAdvice> {
    let mut out = Vec::new();
    let mut add = |kind, files: Vec<&File>, text: &dyn Fn(&str) -> String| {
        let bytes = files.iter().fold(0u64, |sum, file| sum + file.bytes);
        if bytes >= LEAST {
            let steps: BTreeSet<usize> = files.iter().map(|file| file.step).collect();
            let text = text(&size(bytes));
            out.push(ReportAdvice { kind, text, bytes, steps: steps.into_iter().collect() });
        }
    };
    let lost = tally.files.iter().filter(|file| file.lost.is_some()).collect();
    add("overwritten", lost, &|size| {
        format!(
            "{size} are in layers and not in the image, because later steps overwrite or delete them: do so in the step that \
             makes them, use a stage of its own, or make one layer of several with treering edit --squash"
        )
    });
    for place in PLACES {
        let files = tally.files.iter().filter(|file| file.lost.is_none());
        let files = files.filter(|file| file.path.starts_with(place.prefix.as_bytes())).collect();
        add(place.kind, files, &|size| format!("{} take {size}: {}", place.what, place.remedy));
    }
    let layers = steps.iter().filter(|step| step.layer.is_some()).count();
    if layers > MANY {
        let text = format!("{layers} layers: some registries and runtimes take no more than 127; join steps");
        out.push(ReportAdvice { kind: "many-layers", text, bytes: 0, steps: Vec::new() });
    }
    out.sort_by_key(|advice| std::cmp::Reverse(advice.bytes));
    out
}

/// Returns a number of bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
