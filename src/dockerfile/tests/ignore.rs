//! The ignore file against moby's own cases and a plain statement of its rules.

use proptest::prelude::*;

use crate::ErrorKind;
use crate::dockerfile::{Ignore, SourcePattern};

fn ignored(lines: &str, path: &str) -> bool {
    Ignore::parse(b".dockerignore", lines.as_bytes()).unwrap().is_ignored(path.as_bytes())
}

#[test]
fn paths_match_as_in_moby() {
    // Most are from moby/patternmatcher's own table.
    let table = [
        ("**", "file", true),
        ("**", "file/", true),
        ("**/", "file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/xfile", true),
        ("**/file", "dir/xfile", false),
        ("**/file*txt", "dir/fileAtxt", true),
        ("**/file*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abc/def", false),
        ("abc?def", "abcédef", true),
        ("a\\\\", "a\\", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def", true),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a(b)c/def", "a(b)c/xyz", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", true),
        ("a\\*b/**", "a*b/c", true),
        // A parent that matches, and what is cleaned first.
        ("docs", "docs/a/b", true),
        ("/docs/", "docs/a", true),
        ("./docs/../x//y", "x/y", true),
        ("  docs  ", "docs", true),
        ("#docs", "#docs", false),
        (" #docs", "#docs", true),
        ("docs\r", "docs", true),
        // The last match decides, also below what is left out.
        ("docs\n!docs/README", "docs/README", false),
        ("docs\n!docs/README", "docs/other", true),
        ("!docs/README\ndocs", "docs/README", true),
        ("*\n!src\nsrc/gen", "src/a", false),
        ("*\n!src\nsrc/gen", "src/gen/a", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false),
        ("! docs", "docs", false),
        ("docs\n! docs", "docs", false),
        ("\u{feff}docs", "docs", true),
        ("a\ndocs\n\n", "", false),
    ];
    for (lines, path, expected) in table {
        assert_eq!(ignored(lines, path.trim_end_matches('/')), expected, "{lines:?} {path}");
    }
}

#[test]
fn malformed_patterns_are_errors_each_time_and_name_the_line() {
    for lines in ["!", "a\n!", "a\n[", "[]", "[a-]", "[-a]", "a\\", "[z-a]", "x/[a", "!  "] {
        for _ in 0..2 {
            let error = Ignore::parse(b".dockerignore", lines.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Syntax, "{lines:?}");
            assert_eq!(error.location().unwrap().line as usize, lines.lines().count(), "{lines:?}");
        }
    }
    let many = "a\n".repeat(20_000);
    assert_eq!(Ignore::parse(b"x", many.as_bytes()).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(Ignore::parse(b"x", &vec![b'#'; 2 << 20]).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn directories_that_hold_nothing_that_is_kept_need_not_be_read() {
    let ignore = Ignore::parse(b"x", b"*\n!src/main.c\n!docs/**/x\n").unwrap();
    assert!(ignore.may_keep_below(b"src") && ignore.may_keep_below(b"docs/a/b"));
    assert!(!ignore.may_keep_below(b"target") && !ignore.may_keep_below(b"src/main.c"));
}

#[test]
fn a_pattern_takes_no_more_than_its_length_times_the_path() {
    let pattern = "*a".repeat(400) + "b";
    let path = "a".repeat(2_000);
    let started = std::time::Instant::now();
    assert!(!ignored(&pattern, &path));
    assert!(!ignored(&("**/a".repeat(200) + "b"), &"a/".repeat(300)));
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

/// Matches a path by definition, with a pattern without `**file` at its start.
fn matches(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] | ['*', '*', '/'] => true,
        ['*', '*', '/', rest @ ..] | ['*', '*', rest @ ..] => {
            matches(rest, path) || (1..=path.len()).any(|n| path[n - 1] == '/' && matches(rest, &path[n..]))
        }
        ['*', rest @ ..] => {
            let slash = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=slash).any(|n| matches(rest, &path[n..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && matches(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && matches(rest, &path[1..]),
    }
}

proptest! {
    #[test]
    fn the_last_pattern_that_matches_the_path_or_a_parent_decides(
        lines in prop::collection::vec((any::<bool>(), "([ab*?]|[*][*]/)([ab*?/]|/[*][*]/){0,5}[ab]"), 1..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let clean = |pattern: &str| {
            let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
            parts.join("/")
        };
        // Of more than two stars in a row, two and then one are read; `**x` compares the end only.
        let plain = |p: &str| (p.starts_with("**/") || !p.starts_with("**")) && !p.contains("***");
        prop_assume!(lines.iter().all(|(_, pattern)| plain(&clean(pattern))));
        let text: String =
            lines.iter().map(|(keep, p)| format!("{}{p}\n", if *keep { "!" } else { "" })).collect();
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let all: Vec<Vec<char>> = parents.chain([path.as_str()]).map(|p| p.chars().collect()).collect();
        let mut expected = false;
        for (keep, pattern) in &lines {
            let pattern: Vec<char> = clean(pattern).chars().collect();
            if all.iter().any(|path| matches(&pattern, path)) {
                expected = !keep;
            }
        }
        prop_assert_eq!(ignored(&text, &path), expected, "{:?}", text);
    }
}

#[test]
fn sources_match_as_go_matches_paths() {
    let table = [
        ("*.txt", "a.txt", true),
        ("*.txt", "d/a.txt", false),
        ("d/*", "d/a", true),
        ("d/*/b", "d/x/b", true),
        ("a**b", "axb", true),
        ("a**b", "a/b", false),
        ("[ab]", "b", true),
    ];
    for (pattern, path, expected) in table {
        let pattern = SourcePattern::new(pattern.as_bytes(), false).unwrap();
        assert_eq!(pattern.matches(path.as_bytes()), expected, "{pattern:?} {path}");
    }
    assert!(SourcePattern::new(b"**/b", true).unwrap().matches(b"x/y/b"));
    assert!(SourcePattern::new(b"[", false).is_err());
}
