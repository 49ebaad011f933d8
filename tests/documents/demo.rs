//! The picture of the demo in the README is what `make demo` prints.
//!
//! `TREERING_WRITE_DEMO=1 cargo test --all-features --test documents demo` draws `docs/demo.svg` anew. Sizes, ids, counts and times differ
//! from machine to machine: the test compares everything else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of a character, and of a line, in pixels.
const CELL: (f64, usize) = (7.8, 18);

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/demo.svg")
}

/// Runs the demo; returns its lines, without how long each command took.
fn run() -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo.sh");
    let mut command = Command::new("bash");
    // Both streams as one, in the order of a terminal.
    command.arg("-c").arg("exec bash \"$0\" \"$1\" 2>&1").arg(script).arg(support::program());
    for name in ["SOURCE_DATE_EPOCH", "TREERING_ROOT"] {
        command.env_remove(name);
    }
    let done = command.output().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{out}");
    let took = |line: &str| line.starts_with("  ") && line.ends_with(" s");
    // A slow machine shows progress.
    let progress = |line: &str| {
        let is_verb = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b' ');
        line.split_once(": ")
            .is_some_and(|(verb, how)| is_verb(verb) && how.starts_with(|c: char| c.is_ascii_digit()))
    };
    let lines = out.lines().filter(|line| !took(line) && !progress(line)).map(String::from);
    let mut lines: Vec<String> = lines.skip_while(String::is_empty).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Replaces what differs between machines: digests and ids, numbers with their units, ages, and the note on owners that root gets.
fn masked(line: &str) -> String {
    let line = match (line.find(", ").filter(|_| line.contains(" owner")), line.find("replaced (")) {
        (Some(_), Some(at)) => {
            let begin = line[..at].rfind(", ").unwrap_or(at);
            let end = line[at..].find(')').map_or(line.len(), |end| at + end + 1);
            format!("{}{}", &line[..begin], &line[end..])
        }
        _ => line.to_string(),
    };
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    let mut out = words.join(" ");
    for age in
        ["Less than a second ago", "About a minute ago", "# second ago", "# seconds ago", "# minutes ago"]
    {
        out = out.replace(age, "AGE");
    }
    for unit in ["# ms", "# s"] {
        out = out.replace(unit, "TIME");
    }
    out
}

/// Returns a word with `#` in place of a digest, an id, or a number with its unit.
fn word(word: &str) -> String {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if let Some(digest) = word.strip_prefix("sha256:").filter(|digest| hex(digest)) {
        assert_eq!(digest.len(), 64);
        return "sha256:#".into();
    }
    if word.len() == 12 && hex(word) {
        return "#".into();
    }
    let bare = word.trim_start_matches('(').trim_end_matches([';', ',', ')']);
    let digits = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b',');
    match number && bare.len() - digits.len() <= 2 {
        true => word.replace(bare, "#"),
        false => word.to_string(),
    }
}

/// Returns the lines with what differs replaced. Steps of a build that are next to each other come in the order of their text: which of two
/// stages is first differs.
fn compared(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = lines.map(|line| masked(&line)).collect();
    out.chunk_by_mut(|one, other| one.starts_with('[') && other.starts_with('[')).for_each(<[String]>::sort);
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn drawn(lines: &[String]) -> String {
    let (width, height) = CELL;
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
    let (w, h) = ((longest as f64 * width) as usize + 40, lines.len() * height + 40);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n\
         <title>make demo: commit a tree, unpack it, run commands in it, see the changes, commit them, go back, build twice</title>\n\
         <style>text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #c9d1d9; white-space: pre }} \
         .h {{ fill: #fff; font-weight: bold }} .c {{ fill: #7ee787 }}</style>\n\
         <rect width=\"{w}\" height=\"{h}\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    let mut heading = true;
    for (n, line) in lines.iter().enumerate() {
        let class = match (line.starts_with("$ "), heading && !line.is_empty()) {
            (true, _) => " class=\"c\"",
            (_, true) => " class=\"h\"",
            _ => "",
        };
        heading = line.is_empty();
        let y = (n + 1) * height + 14;
        writeln!(out, "<text x=\"20\" y=\"{y}\" xml:space=\"preserve\"{class}>{}</text>", escaped(line))
            .unwrap();
    }
    out.push_str("</svg>\n");
    out
}

#[test]
fn the_picture_of_the_demo_is_what_it_prints() {
    let lines = run();
    if std::env::var_os("TREERING_WRITE_DEMO").is_some() {
        std::fs::write(picture(), drawn(&lines)).unwrap();
    }
    let page = std::fs::read_to_string(picture()).unwrap();
    let text = |line: &str| {
        let begin = line.strip_prefix("<text ")?.split_once('>')?.1;
        let text = begin.strip_suffix("</text>")?;
        Some(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    };
    let shown = compared(page.lines().filter_map(text));
    let printed = compared(lines.into_iter());
    assert!(printed.len() > 30, "{printed:#?}");
    let first = shown.iter().zip(&printed).find(|(one, other)| one != other);
    assert!(first.is_none(), "the picture and the demo differ: {first:#?}");
    assert_eq!(shown.len(), printed.len());
    assert!(
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
            .unwrap()
            .contains("docs/demo.svg")
    );
}

#[test]
fn what_differs_between_machines_is_masked_and_nothing_else() {
    let same = |one: &str, other: &str| assert_eq!(masked(one), masked(other));
    same(
        "3,535 added (59.3MB); layer of 17.8MB, tar 61.7MB, 2 owners replaced (--owner keep takes them from the disk); 3.6 s",
        "12 added (9kB); layer of 17.8kB, tar 61.7kB; 224 ms",
    );
    same(
        "app   v1   9bbe212a3efe   Less than a second ago   17.8MB",
        "app  v1  000000000000  3 seconds ago  1B",
    );
    same("64M\ttree", "8M tree");
    for (one, other) in [
        ("C /app", "A /app"),
        ("1 added, 2 changed", "1 added, 2 deleted"),
        ("$ treering commit work app:v2", "$ treering commit work app:v3"),
        ("app v1 9bbe212a3efe", "app v1 <none>"),
    ] {
        assert_ne!(masked(one), masked(other));
    }
}
