//! Licences as packages name them, in the words of SPDX (SPDX 2.3, annexes A and D). What has no name there is a reference to the words
//! of the package.

use std::collections::{BTreeMap, BTreeSet};

/// Names of SPDX that packages use as they are.
const NAMES: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-2.0",
    "BlueOak-1.0.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-or-later",
    "GFDL-1.2-only",
    "GFDL-1.2-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "Libpng",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "NCSA",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Ruby",
    "SSH-OpenSSH",
    "TCL",
    "Unicode-3.0",
    "Unlicense",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "Zlib",
    "ZPL-2.1",
];

/// Other names of them in Debian's copyright files (DEP-5, "Short name").
const DEBIAN: &[(&str, &str)] = &[
    ("Expat", "MIT"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("Apache-2", "Apache-2.0"),
    ("Boost-1.0", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("OpenLDAP-2.8", "OLDAP-2.8"),
    ("zlib", "Zlib"),
    ("Artistic-2", "Artistic-2.0"),
];

/// Expressions that were read, and the words behind the references in them.
#[derive(Debug, Default)]
pub(super) struct Licences {
    /// By the identifier of the reference.
    references: BTreeMap<String, String>,
}

impl Licences {
    /// Returns the references, with the words that they stand for.
    pub(super) fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.references.iter().map(|(id, text)| (id.as_str(), text.as_str()))
    }

    /// Reads what a package says, as an expression: names with `AND`, `OR` and parentheses. `None` for no words.
    pub(super) fn read(&mut self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() || text.len() > 1000 || text.contains('\n') {
            return None;
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        if !is_expression(&words) {
            return Some(self.reference(text));
        }
        let one = |word: &&str| match *word {
            "(" | ")" => word.to_string(),
            joins if is_operator(joins) => format!(" {} ", joins.to_ascii_uppercase()),
            name => self.name(name),
        };
        Some(words.iter().map(one).collect())
    }

    /// Reads a copyright file that a program can read (DEP-5): what all its paragraphs name.
    pub(super) fn of_copyright(&mut self, text: &str) -> Option<String> {
        if !text.trim_start().starts_with("Format") {
            return None;
        }
        let named: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("License:")).map(str::trim).collect();
        let mut all: BTreeSet<String> = BTreeSet::new();
        for words in named {
            all.extend(self.read(words));
        }
        let one = |text: &String| if text.contains(" OR ") { format!("({text})") } else { text.clone() };
        match all.len() {
            0 => None,
            1 => all.pop_first(),
            _ => Some(all.iter().map(one).collect::<Vec<_>>().join(" AND ")),
        }
    }

    /// Returns a name in the words of SPDX.
    fn name(&mut self, word: &str) -> String {
        if let Some(known) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
            return known.to_string();
        }
        if let Some((_, known)) = DEBIAN.iter().find(|(name, _)| *name == word) {
            return known.to_string();
        }
        family(word).unwrap_or_else(|| self.reference(word))
    }

    /// Returns a reference to words.
    fn reference(&mut self, words: &str) -> String {
        let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let id = format!("LicenseRef-{}", words.chars().map(keep).take(100).collect::<String>());
        self.references.entry(id.clone()).or_insert_with(|| words.into());
        id
    }
}

fn is_operator(word: &str) -> bool {
    matches!(word, "and" | "AND" | "or" | "OR")
}

/// Returns whether words are names with operators between them, in parentheses that match.
fn is_expression(words: &[&str]) -> bool {
    let (mut depth, mut wants_name) = (0, true);
    for word in words {
        match *word {
            "(" if wants_name => depth += 1,
            ")" if !wants_name && depth > 0 => depth -= 1,
            "(" | ")" => return false,
            word if is_operator(word) == wants_name => return false,
            _ => wants_name = !wants_name,
        }
    }
    !wants_name && depth == 0
}

/// Returns a licence of GNU: `GPL-2+` is version 2 or later, and so is `GPLv2+`, as older packages of rpm have it.
fn family(word: &str) -> Option<String> {
    let (plain, suffix) = match word.strip_suffix('+') {
        Some(plain) => (plain, "or-later"),
        None => (word, "only"),
    };
    let (name, version) = plain.split_once('-').or_else(|| plain.split_once('v'))?;
    let version = if version.contains('.') { version.to_string() } else { format!("{version}.0") };
    let full = format!("{name}-{version}-{suffix}");
    NAMES.contains(&full.as_str()).then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_spdx() {
        for (words, expected) in [
            ("MIT", "MIT"),
            ("Expat", "MIT"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0-or-later", "GPL-2.0-or-later"),
            ("LGPL-2.1", "LGPL-2.1-only"),
            ("AGPL-3+", "AGPL-3.0-or-later"),
            ("GPLv2+ and LGPLv2", "GPL-2.0-or-later AND LGPL-2.0-only"),
            ("GPL-9+", "LicenseRef-GPL-9-"),
            ("GPL-2+ or Artistic-2.0", "GPL-2.0-or-later OR Artistic-2.0"),
            ("(MIT OR Apache-2.0) AND Zlib", "(MIT OR Apache-2.0) AND Zlib"),
            ("MIT BSD", "LicenseRef-MIT-BSD"),
            ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2--with-OpenSSL-exception"),
            ("(MIT", "LicenseRef--MIT"),
            ("and", "LicenseRef-and"),
            ("public-domain", "LicenseRef-public-domain"),
        ] {
            assert_eq!(Licences::default().read(words).as_deref(), Some(expected), "{words}");
        }
        assert_eq!(Licences::default().read(" "), None);
        let mut all = Licences::default();
        all.read("none of these");
        assert_eq!(all.references().collect::<Vec<_>>(), [("LicenseRef-none-of-these", "none of these")]);
    }

    #[test]
    fn copyright_files_name_all_that_is_in_a_package() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
            Files: *\nCopyright: me\nLicense: GPL-2+\n\nFiles: a\nLicense: Expat or Zlib\n\nLicense: GPL-2+\n The text.\n";
        let mut all = Licences::default();
        assert_eq!(all.of_copyright(text).as_deref(), Some("GPL-2.0-or-later AND (MIT OR Zlib)"));
        assert_eq!(all.of_copyright("It is under the GPL.\nLicense: GPL\n"), None);
        assert_eq!(all.references().count(), 0);
    }
}
